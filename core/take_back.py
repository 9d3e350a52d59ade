"""The owner's strongest command: pause, end every session now, and give the memory back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from core.agent import Agent
from core.commands import CommandOutcome
from core.errors import AgentError, EngineFailed
from core.logs import get_logger
from core.owner import PauseMode
from core.plurals import counted
from core.snapshot import GiveBack

log = get_logger(__name__)

SESSIONS_END_LIMIT_S = 3.0  # an engine that doesn't let go of a session must not keep the memory too


async def take_back(agent: Agent) -> CommandOutcome:
    """Refuse from now on, stop the running sessions, unload every model of ours; returns what came back, and how fast.

    Raises EngineError when the engine doesn't unload: the pause holds, and the sessions are ended, all the same.
    """
    in_use = {*(session.model for session in agent.admission.sessions), *agent.models.loading}
    stopped = agent.owner.pause(mode=PauseMode.STOP)
    agent.memory.keep()  # a pause gives it back in its own time: here somebody waits for the answer
    with contextlib.suppress(TimeoutError):  # then unloading is the harder way to end them
        async with asyncio.timeout(SESSIONS_END_LIMIT_S):
            await agent.admission.wait_idle()
    try:
        loaded = await agent.models.engine.loaded_models()
        given = await agent.memory.give_back(also=in_use)
    except AgentError as error:
        agent.memory.give_back_when_idle(also=in_use, until_done=True)
        raise EngineFailed(
            f"Paused, but the memory is not back yet: {error.detail.rstrip('.')}. It is tried again by itself",
            hint=error.hint,
        ) from error
    names = [model.name for model in loaded if not model.is_owners]
    left = [model.name for model in loaded if model.is_owners]
    agent.publish_now()
    log.info("taken back", stopped=stopped, models=names, left=left)
    result = {"stopped": stopped, "models": names, "left": left, "freed_mb": given.freed_mb if given else None}
    return await once_kept(agent, CommandOutcome(_sentence(stopped, names, left, given), result))


@contextlib.contextmanager
def memory_as_found(agent: Agent) -> Iterator[None]:
    """Around a test of the owner's own, which is served also while nothing is shared: what it loaded then leaves again,
    and so does everything when a pause or a rule began meanwhile: between two answers of the test it was given back,
    and the test took it again.
    """
    was_empty, was_blocked = not agent.models.loaded, agent.reasons.is_blocked
    try:
        yield
    finally:
        if agent.reasons.is_blocked and (was_empty or not was_blocked):
            agent.memory.give_back_when_idle(until_done=agent.owner.is_paused)


async def once_kept(agent: Agent, outcome: CommandOutcome) -> CommandOutcome:
    """The outcome of a change of the pause, once it is on disk; or with what a restart would lose, and why."""
    problem = await agent.owner.wait_saved()
    if not problem:
        return outcome
    sentence = f"A restart would forget it: {problem}"
    return CommandOutcome(f"{outcome.message} {sentence}", {**outcome.result, "not_kept": problem})


def _sentence(stopped: int, names: list[str], left: list[str], given: GiveBack | None) -> str:
    parts = ["paused until you resume"]
    if stopped:
        parts.append(f"stopped {counted(stopped, 'session')}")
    parts.append(f"unloaded {', '.join(names)}" if names else "no model was loaded")
    text = ", ".join(parts)
    sentences = [f"{text[0].upper()}{text[1:]}."]
    if given is not None:
        sentences.append(f"{given.sentence}.")
    if left:
        sentences.append(f"Your own work keeps {', '.join(left)}, which stays.")
    return " ".join(sentences)
