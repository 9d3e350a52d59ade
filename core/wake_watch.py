"""Noticing that the machine slept: the wall clock against the monotonic one.

On Linux and macOS the monotonic clock stands still in a suspend and the wall clock doesn't, so the two drift apart. On
Windows both go on, but then a tick comes far too late. A process that was stopped for long (SIGSTOP, a frozen virtual
machine) looks the same, and what follows is right for it as well: its connections are as dead.
A wall clock set forward by hand or by NTP is taken for a sleep too. That costs one registration, and happens rarely.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from core.shared_beat import sleep_to_beat

TICK_S = 2.0
# Shorter sleeps harm no connection; and an ordinary NTP step, or a busy machine's late tick, stays below it.
THRESHOLD_S = 5.0


@dataclass(frozen=True, slots=True)
class ClockReading:
    """Both clocks at one instant, in seconds."""

    wall_s: float
    monotonic_s: float


def slept_s(before: ClockReading, after: ClockReading, *, tick_s: float, threshold_s: float = THRESHOLD_S) -> float:
    """Seconds that the machine slept between two readings that should lie `tick_s` apart; 0.0 when it didn't."""
    monotonic_passed = after.monotonic_s - before.monotonic_s
    wall_ahead = (after.wall_s - before.wall_s) - monotonic_passed
    tick_late = monotonic_passed - tick_s
    slept = max(wall_ahead, tick_late)
    return slept if slept >= threshold_s else 0.0


class WakeWatch:
    """Call `on_wake(seconds slept)` within one tick after the machine woke up. `run()` ends only by being cancelled."""

    def __init__(
        self,
        on_wake: Callable[[float], None],
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = sleep_to_beat,
        tick_s: float = TICK_S,
        threshold_s: float = THRESHOLD_S,
    ) -> None:
        self._on_wake = on_wake
        self._wall = wall
        self._monotonic = monotonic
        self._sleep = sleep
        self._tick_s = tick_s
        self._threshold_s = threshold_s

    async def run(self) -> None:
        before = self._read()
        while True:
            await self._sleep(self._tick_s)
            after = self._read()
            slept = slept_s(before, after, tick_s=self._tick_s, threshold_s=self._threshold_s)
            before = after
            if slept:
                self._on_wake(slept)

    def _read(self) -> ClockReading:
        return ClockReading(wall_s=self._wall(), monotonic_s=self._monotonic())
