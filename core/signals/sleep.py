"""Hearing that the machine is about to sleep, from logind, so that nobody is let in who would be cut off."""

from __future__ import annotations

import time
from collections.abc import Callable

from core.signals import Unknown
from core.signals.bus import Body, Bus, BusProblem

_LOGIND = "org.freedesktop.login1"
# A wake-up that we weren't told of (the bus broke meanwhile) mustn't close the door for good. To suspend takes seconds.
FORGET_S = 60.0


class SleepSignal:
    """Whether the machine is going to sleep. `on_change` is called on the loop the moment that logind says so."""

    name = "is_going_to_sleep"

    def __init__(
        self, bus: Bus, on_change: Callable[[bool], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bus = bus
        self._on_change = on_change
        self._clock = clock
        self._told_at: float | None = None

    async def read(self) -> bool | Unknown:
        """Also listens, from the first reading on and again over a new connection."""
        try:
            await self._bus.listen(
                _LOGIND, "/org/freedesktop/login1", f"{_LOGIND}.Manager", "PrepareForSleep", self._on_signal
            )
        except BusProblem as problem:
            return Unknown(f"The system can't tell before it sleeps: {problem}.")
        return self._told_at is not None and self._clock() - self._told_at < FORGET_S

    def woke_up(self) -> None:
        """The clocks say so (core/wake_watch.py), which needs no bus."""
        self._set(False)

    def _on_signal(self, body: Body) -> None:
        self._set(body == (True,))

    def _set(self, is_going: bool) -> None:
        self._told_at = self._clock() if is_going else None
        self._on_change(is_going)
