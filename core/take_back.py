"""The owner's strongest command: pause, end every session now, and give the memory back."""

from __future__ import annotations

import asyncio
import contextlib

from core.agent import Agent
from core.commands import CommandOutcome
from core.owner import PauseMode

SESSIONS_END_LIMIT_S = 3.0  # an engine that doesn't let go of a session must not keep the memory too


async def take_back(agent: Agent) -> CommandOutcome:
    """Refuse from now on, stop the running sessions, unload every model; returns what was stopped and unloaded.

    Raises EngineError when the engine doesn't unload: the pause holds, and the sessions are ended, all the same.
    """
    stopped = agent.owner.pause(mode=PauseMode.STOP)
    with contextlib.suppress(TimeoutError):  # then unloading is the harder way to end them
        async with asyncio.timeout(SESSIONS_END_LIMIT_S):
            await agent.admission.wait_idle()
    loaded = await agent.models.engine.loaded_models()
    await agent.models.unload_all()
    agent.publish_now()
    await agent.owner.wait_saved()
    names = [model.name for model in loaded]
    return CommandOutcome(
        _sentence(stopped, names),
        {"stopped": stopped, "models": names, "freed_mb": sum(model.total_mb or 0 for model in loaded)},
    )


def _sentence(stopped: int, names: list[str]) -> str:
    parts = ["paused until you resume"]
    if stopped:
        parts.append(f"stopped {stopped} session{'s' if stopped != 1 else ''}")
    parts.append(f"unloaded {', '.join(names)}" if names else "no model was loaded")
    text = ", ".join(parts)
    return f"{text[0].upper()}{text[1:]}."
