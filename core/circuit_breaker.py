"""Stop asking an engine that keeps failing.

Closed → open after 3 faults in a row → half-open, one probe at a time → closed, or open for twice as long.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from math import ceil
from types import TracebackType

from core.errors import EngineError, EngineUnreachable

FAULTS_TO_OPEN = 3
FIRST_OPEN_S = 30.0
LONGEST_OPEN_S = 300.0


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"  # refused until `retry_at`
    HALF_OPEN = "half-open"  # the next request, or the one that runs, is the probe


class Attempt:
    """One request to the engine, as the breaker sees it: `async with breaker.guard() as attempt`."""

    __slots__ = ("_breaker", "_is_probe", "_period")

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker
        self._period = -1
        self._is_probe = False

    def succeed(self) -> None:
        """The first token is there: a probe lets the others in before its long answer ends. May be called again.

        Earlier faults are forgotten only once an answer is whole: an engine that breaks off each time is at fault.
        """
        self._breaker._answered(self)

    async def __aenter__(self) -> Attempt:
        self._breaker._begin(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._breaker._end(self, error)  # no await in here: a cancel can't keep the probe's slot


class CircuitBreaker:
    """Guard the engine from requests while it is at fault. All on the loop thread; never sleeps, has no timer.

    Only EngineError counts as a fault: a client's cancel, deadline or bad argument is neither fault nor success. What
    an attempt tells counts only for the period (closed, or one opening) in which it began: a crash that ends 30
    sessions is one reason to open, not 30 reasons to stay open longer. Durations are measured with `monotonic`;
    `clock` (seconds since the epoch) is for show.
    """

    def __init__(self, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._faults_in_a_row = 0
        self._retry_time: float | None = None  # monotonic seconds; None while closed
        self._open_s = FIRST_OPEN_S  # how long the present or next opening lasts
        self._period = 0
        self._probe: Attempt | None = None

    @property
    def state(self) -> BreakerState:
        if self._retry_time is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self.retry_in_s > 0 else BreakerState.HALF_OPEN

    @property
    def retry_in_s(self) -> float:
        """Seconds until a probe is allowed; 0 when one is allowed, runs, or none is needed."""
        return 0.0 if self._retry_time is None else max(0.0, self._retry_time - self._monotonic())

    @property
    def retry_at(self) -> float | None:
        """When a probe is allowed, in seconds since the epoch, while open; None otherwise."""
        return self._clock() + self.retry_in_s if self.state is BreakerState.OPEN else None

    @property
    def faults_in_a_row(self) -> int:
        return self._faults_in_a_row

    def check(self) -> None:
        """Raise EngineUnreachable, with when it is tried again, unless a request may go to the engine now.

        Takes nothing: between this and `guard` another request may become the probe.
        """
        state = self.state
        if state is BreakerState.OPEN:
            retry_in_s = ceil(self.retry_in_s)
            raise EngineUnreachable(
                f"the engine failed {self._faults_in_a_row} times in a row; it is tried again in {retry_in_s} s",
                hint=f"Ask the coordinator for another agent, or try again in {retry_in_s} s.",
            )
        if state is BreakerState.HALF_OPEN and self._probe is not None:
            raise EngineUnreachable(
                f"the engine failed {self._faults_in_a_row} times in a row; one request tries it at the moment",
                hint="Ask the coordinator for another agent, or try again in a few seconds.",
            )

    def guard(self) -> Attempt:
        """Let one request through to the engine and learn from how it ends; entering raises as `check` does.

        Enter it before the token is spent: a refusal here burns no token, and one inside counts for nothing.
        """
        return Attempt(self)

    def reset(self) -> None:
        """Close, and forget all faults: another engine, or the owner has acted."""
        self._close()

    def _begin(self, attempt: Attempt) -> None:
        self.check()
        attempt._period = self._period
        attempt._is_probe = self._retry_time is not None
        if attempt._is_probe:
            self._probe = attempt

    def _end(self, attempt: Attempt, error: BaseException | None) -> None:
        if error is None and attempt._period == self._period:
            self._answered(attempt)
            self._faults_in_a_row = 0
        elif isinstance(error, EngineError):
            self._failed(attempt)
        if self._probe is attempt:
            self._probe = None

    def _answered(self, attempt: Attempt) -> None:
        if attempt._is_probe and attempt._period == self._period:
            self._close()
            attempt._period = self._period  # the probe goes on as an ordinary request of the closed period
            attempt._is_probe = False

    def _failed(self, attempt: Attempt) -> None:
        if attempt._period != self._period:
            return
        self._faults_in_a_row += 1
        if attempt._is_probe:
            self._open_s = min(self._open_s * 2, LONGEST_OPEN_S)
            self._open()
        elif self._faults_in_a_row >= FAULTS_TO_OPEN:
            self._open()

    def _open(self) -> None:
        self._retry_time = self._monotonic() + self._open_s
        self._period += 1

    def _close(self) -> None:
        self._retry_time, self._probe = None, None
        self._faults_in_a_row, self._open_s = 0, FIRST_OPEN_S
        self._period += 1
