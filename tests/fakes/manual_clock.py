"""A clock that moves only when a test says so."""

from __future__ import annotations

import asyncio
import heapq
import itertools


class ManualClock:
    """Wall and monotonic time in seconds, and a sleep that ends when `advance` passes it."""

    def __init__(self, *, wall_s: float = 1_700_000_000.0, monotonic_s: float = 1_000.0) -> None:
        self._wall_s = wall_s
        self._monotonic_s = monotonic_s
        self._sleepers: list[tuple[float, int, float, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._changed = asyncio.Event()
        self.slept: list[float] = []  # every length asked for, in order

    def wall(self) -> float:
        return self._wall_s

    def monotonic(self) -> float:
        return self._monotonic_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic_s + seconds, next(self._order), seconds, future))
        self._changed.set()
        try:
            await future
        finally:
            future.cancel()  # no effect on one that is done
            self._changed.set()

    @property
    def sleeping(self) -> list[float]:
        """The lengths of the sleeps that are going on."""
        return sorted(seconds for _, _, seconds, future in self._sleepers if not future.done())

    async def wait_for_sleep(self, seconds: float) -> None:
        """Until somebody sleeps for exactly that long."""
        while seconds not in self.sleeping:
            self._changed.clear()
            await self._changed.wait()

    async def wait_for_no_sleep(self, seconds: float) -> None:
        """Until nobody sleeps for exactly that long any more."""
        while seconds in self.sleeping:
            self._changed.clear()
            await self._changed.wait()

    async def advance(self, seconds: float) -> None:
        """Move both clocks, ending each sleep at its own time; whoever woke may sleep again meanwhile."""
        end_s = self._monotonic_s + seconds
        while self._sleepers and self._sleepers[0][0] <= end_s:
            due_s, _, _, future = heapq.heappop(self._sleepers)
            if future.done():
                continue
            self._move_to(max(due_s, self._monotonic_s))
            future.set_result(None)
            for _ in range(10):  # let those who woke go on, as far as no socket is involved
                await asyncio.sleep(0)
        self._move_to(end_s)

    def suspend(self, seconds: float) -> None:
        """The machine sleeps: the wall clock goes on, the monotonic one stands still (Linux, macOS)."""
        self._wall_s += seconds

    def _move_to(self, monotonic_s: float) -> None:
        self._wall_s += monotonic_s - self._monotonic_s
        self._monotonic_s = monotonic_s
