"""The owner's strongest command: pause, end every session now, and give the memory back."""

from __future__ import annotations

import asyncio
import contextlib

from core.agent import Agent
from core.commands import CommandOutcome
from core.engines.names import find_model
from core.logs import get_logger
from core.owner import PauseMode

log = get_logger(__name__)

SESSIONS_END_LIMIT_S = 3.0  # an engine that doesn't let go of a session must not keep the memory too


async def take_back(agent: Agent) -> CommandOutcome:
    """Refuse from now on, stop the running sessions, unload every model; returns what was stopped and unloaded.

    Raises EngineError when the engine doesn't unload: the pause holds, and the sessions are ended, all the same.
    """
    in_use = {session.model for session in agent.admission.sessions}
    stopped = agent.owner.pause(mode=PauseMode.STOP)
    with contextlib.suppress(TimeoutError):  # then unloading is the harder way to end them
        async with asyncio.timeout(SESSIONS_END_LIMIT_S):
            await agent.admission.wait_idle()
    engine = agent.models.engine
    loaded = await engine.loaded_models()
    names = [model.name for model in loaded]
    for name in sorted(in_use):
        if find_model(name, names) is None:  # a session's model may still be loading, and would go on
            await engine.unload(name)
    await agent.models.unload_all()
    agent.publish_now()
    log.info("taken back", stopped=stopped, models=names)
    freed_mb = sum(model.total_mb or 0 for model in loaded)
    outcome = CommandOutcome(_sentence(stopped, names), {"stopped": stopped, "models": names, "freed_mb": freed_mb})
    return await once_kept(agent, outcome)


async def once_kept(agent: Agent, outcome: CommandOutcome) -> CommandOutcome:
    """The outcome of a change of the pause, once it is on disk; or with what a restart would lose, and why."""
    problem = await agent.owner.wait_saved()
    if not problem:
        return outcome
    sentence = f"A restart would forget it: {problem}"
    return CommandOutcome(f"{outcome.message} {sentence}", {**outcome.result, "not_kept": problem})


def _sentence(stopped: int, names: list[str]) -> str:
    parts = ["paused until you resume"]
    if stopped:
        parts.append(f"stopped {stopped} session{'s' if stopped != 1 else ''}")
    parts.append(f"unloaded {', '.join(names)}" if names else "no model was loaded")
    text = ", ".join(parts)
    return f"{text[0].upper()}{text[1:]}."
