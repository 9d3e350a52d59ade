"""Looks that need no exact instant come at the same ones."""

from __future__ import annotations

import asyncio

import pytest

from core.shared_beat import BEAT_S, SHORT_BEAT_S, sleep_to_beat


class Timetable:
    """Stands in for asyncio: a loop's clock, and what was slept by it."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.slept: list[float] = []

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def timetable(monkeypatch: pytest.MonkeyPatch) -> Timetable:
    timetable = Timetable(now=100.07)
    monkeypatch.setattr(asyncio, "sleep", timetable.sleep)
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: timetable)
    return timetable


@pytest.mark.parametrize(
    ("seconds", "beat_s"), [(0.25, SHORT_BEAT_S), (0.5, SHORT_BEAT_S), (0.99, BEAT_S), (1.0, BEAT_S), (2.0, BEAT_S)]
)
async def test_sleeps_end_on_a_beat_half_of_one_off_at_most(
    timetable: Timetable, seconds: float, beat_s: float
) -> None:
    await sleep_to_beat(seconds)
    assert timetable.now / beat_s == pytest.approx(round(timetable.now / beat_s))
    assert timetable.slept == [pytest.approx(seconds, abs=beat_s / 2)]


async def test_a_period_of_whole_beats_is_kept(timetable: Timetable) -> None:
    for _ in range(10):
        await sleep_to_beat(1.0)
        timetable.now += 0.004  # what is done each time
    assert timetable.now == pytest.approx(110.0, abs=0.01)


async def test_less_than_the_shortest_beat_is_slept_exactly(timetable: Timetable) -> None:
    await sleep_to_beat(0.1)
    assert timetable.slept == [0.1]
