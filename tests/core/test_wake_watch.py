from __future__ import annotations

import asyncio

import pytest

from core.wake_watch import ClockReading, WakeWatch, slept_s
from tests.fakes.manual_clock import ManualClock

START = ClockReading(wall_s=100.0, monotonic_s=10.0)


@pytest.mark.parametrize(
    ("wall_passed", "monotonic_passed", "slept"),
    [
        (2.0, 2.0, 0.0),  # an ordinary tick
        (3602.0, 2.0, 3600.0),  # Linux, macOS: the monotonic clock stood still
        (3602.0, 3602.0, 3600.0),  # Windows, or a stopped process: both went on
        (4.0, 2.0, 0.0),  # an NTP step
        (6.5, 6.5, 0.0),  # a busy machine
        (-3600.0, 2.0, 0.0),  # the wall clock was set back
        (7.0, 2.0, 5.0),  # exactly at the threshold
    ],
)
def test_slept_time_is_told_from_the_two_clocks(wall_passed: float, monotonic_passed: float, slept: float) -> None:
    after = ClockReading(START.wall_s + wall_passed, START.monotonic_s + monotonic_passed)
    assert slept_s(START, after, tick_s=2.0) == pytest.approx(slept)


async def test_watch_reports_a_sleep_once_and_goes_on() -> None:
    clock = ManualClock()
    naps: list[float] = []
    watch = WakeWatch(naps.append, wall=clock.wall, monotonic=clock.monotonic, sleep=clock.sleep)
    watching = asyncio.create_task(watch.run())
    await clock.wait_for_sleep(2.0)
    await clock.advance(20.0)
    assert naps == []
    clock.suspend(600.0)
    await clock.advance(10.0)
    assert naps == [pytest.approx(600.0)]
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
