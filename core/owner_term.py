"""The time that the owner named for a pause, or for sharing now: it ends by the wall clock, but not because that was
set."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LONGEST_SLEEP_S = 30.0  # it follows the wall clock: looked at this often, in case that was set
CLOCK_STEP_S = 60.0  # more than this between the wall clock and the time that really passed: somebody set the clock


class Term:
    """One time at most. Everything on the loop thread."""

    def __init__(
        self,
        *,
        on_end: Callable[[], object],
        on_moved: Callable[[], object],
        clock: Callable[[], float],
        since_boot_s: Callable[[], float | None],
    ) -> None:
        """`on_end` is called when it is over, `on_moved` when another `until` says its end by a clock that was set.

        `since_boot_s` tells how much time really passes, sleep included, where the system tells it.
        """
        self._on_end = on_end
        self._on_moved = on_moved
        self._clock = clock
        self._since_boot_s = since_boot_s
        self._ends_since_boot_s: float | None = None  # when its time has really passed
        self._is_at_most = False
        self._timer: asyncio.TimerHandle | None = None
        self.until: float | None = None  # seconds since the epoch; None: there is none

    def begin(self, until: float | None, *, is_at_most: bool = False) -> None:
        """From now until then; one that is over already ends at once.

        A clock set forward never shortens it. One set back lengthens it (in doubt it goes on), but for one that
        `is_at_most` so long.
        """
        now = self._since_boot_s()
        self.until, self._is_at_most = until, is_at_most
        self._ends_since_boot_s = None if until is None or now is None else now + until - self._clock()
        self.check()

    def stop(self) -> None:
        """There is none any more; nobody is called."""
        self.until = None
        self.close()

    def close(self) -> None:
        """Look at it no more; `until` still says when it ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def check(self) -> None:
        """End it where its time has come; called by the timer, and after the machine slept."""
        self.close()
        if self.until is None:
            return
        if (until := self._mind_set_clock(self.until)) != self.until:
            self.until = until
            self._on_moved()
        left_s = until - self._clock()
        if left_s <= 0:
            self._on_end()
        else:
            self._timer = asyncio.get_running_loop().call_later(min(left_s, LONGEST_SLEEP_S), self.check)

    def _mind_set_clock(self, until: float) -> float:
        """A clock set forward by a day (a machine without one of its own, at its first contact) ends nothing: it lasts
        as long as it was meant to, and says when that is by the new clock.
        """
        now = self._since_boot_s()
        if now is None or self._ends_since_boot_s is None:
            return until
        really_until = self._clock() + self._ends_since_boot_s - now
        moved_s = really_until - until
        return really_until if (abs(moved_s) if self._is_at_most else moved_s) > CLOCK_STEP_S else until
