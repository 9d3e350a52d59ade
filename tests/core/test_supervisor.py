"""A child that can't be kept alive: what its owner is told, once it is no longer started by itself."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from core.engines.supervisor import FAILURES_BEFORE_ATTENTION, EngineSupervisor, RunningModel
from core.errors import EngineError, EngineFailed, EngineNeedsAttention


async def test_attention_names_the_last_failure_its_remedy_and_what_starts_the_engine_again() -> None:
    async def fail(_: object) -> Any:
        raise EngineFailed("the file is cut", hint="Download the file again.")

    supervisor = EngineSupervisor(fail, load_limit_s=1, sleep=lambda _: asyncio.sleep(0), draw=lambda: 0.5)
    for _ in range(FAILURES_BEFORE_ATTENTION):
        with pytest.raises(EngineError):
            async with supervisor.use(cast(Any, None)):
                raise AssertionError("there is no child")
    with pytest.raises(EngineNeedsAttention) as told:
        supervisor.raise_if_attention()
    assert told.value.detail == "the engine failed 3 times in a row; the last time: the file is cut"
    assert told.value.hint == "Download the file again. Then start the engine again: titan retry"


async def test_session_of_a_child_that_was_ended_for_being_stuck_hears_that_and_not_of_unloading() -> None:
    process = FakeProcess()
    running = RunningModel(file=cast(Any, FakeFile()), process=cast(Any, process), ready=cast(Any, None))
    supervisor = EngineSupervisor(never, load_limit_s=1, sleep=lambda _: asyncio.sleep(0), draw=lambda: 0.5)
    supervisor._running = running
    supervisor._failures = FAILURES_BEFORE_ATTENTION - 1  # so that no other one is started
    await supervisor.fail(running, "it no longer answered")
    assert process.was_ended
    assert running.why_gone() == "the engine stopped: it no longer answered"
    assert supervisor.running is None
    assert supervisor.needs_attention


async def never(_: object) -> Any:
    raise AssertionError("nothing is started here")


class FakeFile:
    name = "tiny"


class FakeProcess:
    """A child that lives until it is ended."""

    is_alive = True
    was_ended = False

    async def end(self) -> None:
        self.is_alive, self.was_ended = False, True
