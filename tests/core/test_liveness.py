"""A child that doesn't answer is stuck, unless it is seen to work; what works for ever is stuck, too."""

from __future__ import annotations

from typing import Any, cast

import pytest

from core.engines.http import EngineHttp
from core.engines.liveness import BUSY_LIMIT_S, WORKING_CPU_S, LivenessCheck
from core.engines.supervisor import RunningModel
from core.errors import EngineTimeout, EngineUnreachable


class Process:
    pid = 4711
    api_key = "key"


def running_model() -> RunningModel:
    return RunningModel(file=cast(Any, None), process=cast(Any, Process()), ready=cast(Any, None))


class Child:
    """What the check sees of a child: whether it answers, and the processor time that it uses meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: Exception | None = EngineTimeout("no answer in 5 s")
        self.cpu_s = 100.0
        self.uses_s = 0.0
        self.now_s = 1000.0
        self.check = LivenessCheck(cpu_s=self._cpu_of, monotonic=lambda: self.now_s)
        self.running = running_model()
        monkeypatch.setattr(EngineHttp, "call", self._call)

    async def is_working(self) -> bool:
        return await self.check.is_working(self.running, "http://127.0.0.1:1")

    def _cpu_of(self, pid: int) -> float:
        assert pid == Process.pid
        return self.cpu_s

    async def _call(self, *_: object) -> None:
        self.cpu_s += self.uses_s
        self.now_s += 5
        if self.error is not None:
            raise self.error


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Child:
    return Child(monkeypatch)


async def test_child_that_neither_answers_nor_works_is_stuck(child: Child) -> None:
    child.uses_s = WORKING_CPU_S / 2
    assert not await child.is_working()


async def test_child_that_computes_a_long_prompt_is_not_ended(child: Child) -> None:
    child.uses_s = 5.0
    while child.now_s < 1000 + BUSY_LIMIT_S - 5:
        assert await child.is_working()
    child.error = None
    assert await child.is_working()
    child.error = EngineTimeout("the next prompt")
    assert await child.is_working()


async def test_child_that_turns_in_circles_is_stuck(child: Child) -> None:
    child.uses_s = 5.0
    assert await child.is_working()
    child.now_s += BUSY_LIMIT_S
    assert not await child.is_working()
    child.running = running_model()  # the one that was started in its place
    assert await child.is_working()


async def test_what_cannot_be_asked_is_the_callers_to_explain(child: Child) -> None:
    child.error = EngineUnreachable("nothing listens")
    with pytest.raises(EngineUnreachable):
        await child.is_working()
