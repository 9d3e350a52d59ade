"""Take a changed settings file into a running agent: what can change at once does, the rest is named."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from core import logs
from core.agent import Agent
from core.commands import CommandOutcome
from core.config import DECLARATIONS, Settings
from core.config_reload import reload_settings
from core.config_rules import RULE_SETTINGS
from core.model_names import named_files, parse_model_names
from core.public_door import request_limits, session_limits

log = logs.get_logger(__name__)

# Takes one setting in; True when it counts from now on, False when it needs a restart after all.
Apply = Callable[[Agent, Settings], bool]


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of the difference between the running settings and the new ones: names, as declared."""

    at_once: tuple[str, ...] = ()
    on_restart: tuple[str, ...] = ()


async def apply_settings_outcome(agent: Agent) -> CommandOutcome:
    """The owner's command: read the settings again. Raises ConfigError and StorageError; then nothing has changed."""
    loaded = await asyncio.to_thread(reload_settings, agent.loaded)
    applied = await apply_settings(agent, loaded.settings)
    result = {"applied": list(applied.at_once), "restart": list(applied.on_restart)}
    return CommandOutcome(_sentence(applied), result)


async def apply_settings(agent: Agent, new: Settings) -> Applied:
    """Make the agent work by `new` as far as it can without a restart."""
    if not new.agent_id:
        new = replace(new, agent_id=agent.settings.agent_id)  # generated, and no setting of the file
    changed = [name for name in DECLARATIONS if getattr(new, name) != getattr(agent.settings, name)]
    at_once = [name for name in changed if name in LIVE and LIVE[name](agent, new)]
    if at_once:
        agent.use_settings(replace(agent.settings, **{name: getattr(new, name) for name in at_once}))
        if "supported_models" in at_once or "model_names" in at_once:
            await agent.keeper.refresh()
        agent.switch.tell_coordinator()
        log.info("settings applied", settings=at_once)
    return Applied(tuple(at_once), tuple(name for name in changed if name not in at_once))


def _max_jobs(agent: Agent, new: Settings) -> bool:
    """The embedded engine has as many places as it was started with; fewer sessions are no problem anywhere."""
    if agent.models.engine.name == "embedded" and new.max_concurrent_jobs > agent.loaded.settings.max_concurrent_jobs:
        return False
    agent.rules.keeper.use_max_jobs(new.max_concurrent_jobs)
    return True


def _queue_size(agent: Agent, new: Settings) -> bool:
    agent.admission.queue_size = new.queue_size
    return True


def _session_limits(agent: Agent, new: Settings) -> bool:
    agent.admission.limits = session_limits(new)
    return True


def _output_limit(agent: Agent, new: Settings) -> bool:
    """Only the answer's length: the server's message size follows max_prompt_bytes, the engine's load the context."""
    if agent.public.service is not None:
        limits = agent.public.service.limits
        agent.public.service.limits = replace(limits, max_output_tokens=request_limits(new).max_output_tokens)
    return True


def _drain_limit(agent: Agent, new: Settings) -> bool:
    agent.drain_limit_s = new.drain_limit_s
    return True


def _finish_limit(agent: Agent, new: Settings) -> bool:
    agent.owner.finish_limit_s = new.finish_limit_s
    return True


def _unload_after_idle(agent: Agent, new: Settings) -> bool:
    agent.keeper.unload_after_idle(new.unload_after_idle_s)
    return True


def _supported_models(agent: Agent, new: Settings) -> bool:
    agent.models.supported = new.supported_models
    return True


def _model_names(agent: Agent, new: Settings) -> bool:
    """A file in a folder of its own is looked for only when the embedded engine is made."""
    names = parse_model_names(new.model_names)
    agent.models.names = dict(names)
    known = set(named_files(parse_model_names(agent.loaded.settings.model_names)))
    return agent.models.engine.name != "embedded" or set(named_files(names)) <= known


def _log_level(_: Agent, new: Settings) -> bool:
    logs.set_level(new.log_level)
    return True


def _by_agent(_: Agent, __: Settings) -> bool:
    """The agent looks at its settings when it comes to that."""
    return True


def _by_report(_: Agent, __: Settings) -> bool:
    """The reporter works by the settings themselves (Agent.use_settings), and a window reads its own."""
    return True


LIVE: Mapping[str, Apply] = MappingProxyType(
    {
        "supported_models": _supported_models,
        "model_names": _model_names,
        "max_concurrent_jobs": _max_jobs,
        "queue_size": _queue_size,
        "queue_wait_s": _session_limits,
        "max_output_tokens": _output_limit,
        "max_session_s": _session_limits,
        "slow_client_s": _session_limits,
        "first_token_timeout_s": _session_limits,
        "token_gap_timeout_s": _session_limits,
        "gpus": _by_agent,
        "ram_budget_mb": _by_report,
        "vram_reserve_mb": _by_report,
        "ram_reserve_mb": _by_report,
        "drain_limit_s": _drain_limit,
        "finish_limit_s": _finish_limit,
        "unload_after_idle_s": _unload_after_idle,
        "preload_on_resume": _by_agent,
        "preload_at_start": _by_agent,
        "preload_models": _by_agent,
        "keep_awake": _by_agent,
        "notifications": _by_report,
        "update_index_url": _by_agent,
        "hub_endpoint": _by_agent,
        "download_limit_mb_s": _by_agent,
        "models_disk_budget_gb": _by_agent,
        "log_level": _log_level,
        **dict.fromkeys(RULE_SETTINGS, _by_agent),
    }
)


def _sentence(applied: Applied) -> str:
    if not applied.at_once and not applied.on_restart:
        return "Nothing has changed."
    parts = []
    if applied.at_once:
        parts.append(f"Applied at once: {', '.join(applied.at_once)}.")
    if applied.on_restart:
        parts.append(f"Applies on restart: {', '.join(applied.on_restart)}.")
    return " ".join(parts)
