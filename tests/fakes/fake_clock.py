"""One time in seconds that a test sets, for code that only reads a clock; tests/fakes/manual_clock.py sleeps, too."""

from __future__ import annotations


class FakeClock:
    """Call it for the time; set `now` to move it."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
