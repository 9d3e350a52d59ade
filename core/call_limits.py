"""Bounds on calls that don't serve yet, so that a flood leaves room for sessions, health and GetStatus."""

from __future__ import annotations

from collections.abc import Callable

from core.errors import AtCapacity


class CallCounter:
    """At most `limit` calls at once; the next one is refused before anything of it is read."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.count = 0

    @property
    def is_full(self) -> bool:
        return self.count >= self._limit

    def enter(self) -> None:
        """Count one call more, until `leave`. Raises AtCapacity."""
        if self.is_full:
            raise AtCapacity("this agent has too many calls at the moment", hint="Try again in a moment.")
        self.count += 1

    def leave(self) -> None:
        self.count -= 1


class WaitingRoom:
    """Calls that have sent their headers and not yet their request.

    An honest client sends both together. When the room is full the one that waits longest has to go, not the newest:
    otherwise a client that opens calls and sends nothing would keep the door shut for everybody.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._leave: dict[object, Callable[[], None]] = {}  # in the order of arrival

    def __len__(self) -> int:
        return len(self._leave)

    def enter(self, call: object, turn_out: Callable[[], None]) -> None:
        """Wait in here; `turn_out` is called at most once, when the call has to go."""
        if len(self._leave) >= self._size:
            oldest = next(iter(self._leave))
            self._leave.pop(oldest)()
        self._leave[call] = turn_out

    def leave(self, call: object) -> None:
        """The request is there, or the call is over; one that was turned out is no error."""
        self._leave.pop(call, None)
