"""Whether the setup may offer "when I am away": a machine that tells, one that does not, one that only says zero."""

from __future__ import annotations

from typing import Any

import pytest

import core.idle_check
from core.idle_check import idle_problem
from core.signals import Unknown
from core.signals.idle import ZEROES_IN_A_ROW


class FakeIdle:
    """A local probe: it says these, one after the other, the last one for ever."""

    name = "idle_s"

    def __init__(self, *values: float | Unknown) -> None:
        self._values = list(values)
        self.reads = 0
        self.is_closed = False

    def read(self) -> float | Unknown:
        self.reads += 1
        return self._values.pop(0) if len(self._values) > 1 else self._values[0]

    def close(self) -> None:
        self.is_closed = True


def use(monkeypatch: pytest.MonkeyPatch, probe: FakeIdle) -> None:
    monkeypatch.setattr(core.idle_check, "idle_probe", lambda *_, **__: probe)


async def no_pause(_: float) -> None:
    pass


async def test_without_a_desktop_it_says_why() -> None:
    assert await idle_problem({}) == "No desktop session: nothing tells when mouse or keyboard were last used."


async def test_a_machine_that_tells_is_asked_until_it_says_something(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = FakeIdle(0.0, 0.0, 1.5)
    use(monkeypatch, probe)

    assert await idle_problem({}, sleep=no_pause) == ""
    assert (probe.reads, probe.is_closed) == (3, True)


async def test_zero_is_asked_often_enough_for_the_probe_to_see_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    never = Unknown("This desktop doesn't tell when mouse or keyboard were last used.")
    probe = FakeIdle(*([0.0] * (ZEROES_IN_A_ROW - 1)), never)
    use(monkeypatch, probe)

    assert await idle_problem({}, sleep=no_pause) == never.cause


async def test_a_probe_that_breaks_is_a_problem_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(FakeIdle):
        def read(self) -> Any:
            raise OSError("gone")

    use(monkeypatch, Broken(0.0))

    assert "could not be read" in await idle_problem({}, sleep=no_pause)
