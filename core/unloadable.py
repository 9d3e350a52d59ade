"""Models that failed: which are not served now, why, and when they are tried again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from core.errors import ModelError, NotEnoughMemory

RETRY_UNLOADABLE_S = 600.0  # a model that failed is tried again after this long, whatever was wrong with it
# One that found too little memory is tried again once there is room, but not at once: another program may still be
# growing. Each further failure doubles this, up to RETRY_UNLOADABLE_S.
RETRY_WITH_ROOM_S = 20.0
_MOST_DOUBLINGS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    why: str
    hint: str  # what to do about it, "" where nothing is known
    failed_at: float  # monotonic seconds
    times_short: int = 0  # how often in a row for want of memory; 0: something else was wrong

    @property
    def is_of_memory(self) -> bool:
        return self.times_short > 0

    @property
    def least_wait_s(self) -> float:
        if not self.is_of_memory:
            return RETRY_UNLOADABLE_S
        return min(RETRY_UNLOADABLE_S, RETRY_WITH_ROOM_S * 2.0 ** min(self.times_short - 1, _MOST_DOUBLINGS))

    def is_over(self, name: str, now: float, has_room: Callable[[str], bool]) -> bool:
        """Whether the model deserves a new try. `has_room` says whether it would be loaded now."""
        waited_s = now - self.failed_at
        if waited_s > RETRY_UNLOADABLE_S:
            return True
        return self.is_of_memory and waited_s >= self.least_wait_s and has_room(name)


class Unloadable:
    """The failures by the engine's name of the model, the first one first; iterates over those that hold now."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._now: dict[str, Failure] = {}
        self._last: dict[str, Failure] = {}  # also of those that are tried again; until the model gives a token

    def __contains__(self, name: object) -> bool:
        return name in self._now

    def __iter__(self) -> Iterator[str]:
        return iter(self._now)

    def __len__(self) -> int:
        return len(self._now)

    @property
    def first(self) -> tuple[str, Failure] | None:
        """The one that the owner is told of where nothing is left to offer."""
        return next(iter(self._now.items()), None)

    def get(self, name: str) -> Failure | None:
        return self._now.get(name)

    @property
    def lately(self) -> frozenset[str]:
        """What failed in the last minutes, also where it may be tried again: no reason to give up one that serves."""
        since = self._monotonic() - RETRY_UNLOADABLE_S
        return frozenset(name for name, failure in self._last.items() if failure.failed_at >= since)

    def note(self, name: str, error: ModelError) -> None:
        """It failed. The same failure may be told by several: only one after a new try counts as another."""
        times = 0
        if isinstance(error, NotEnoughMemory):
            before = self._last.get(name)
            times = before.times_short if before is not None else 0
            times = times if times and name in self._now else times + 1
        failure = Failure(why=error.detail, hint=error.hint, failed_at=self._monotonic(), times_short=times)
        self._now[name] = self._last[name] = failure

    def try_again(self, has_room: Callable[[str], bool]) -> None:
        """Let go of those that have waited long enough."""
        now = self._monotonic()
        for name, failure in tuple(self._now.items()):
            if failure.is_over(name, now, has_room):
                del self._now[name]

    def note_loaded(self, name: str) -> None:
        """It is in memory, and may still fail to answer."""
        self._now.pop(name, None)

    def note_answered(self, name: str) -> None:
        """It gave a token: the next failure is the first one again."""
        self._last.pop(name, None)

    def clear(self) -> None:
        self._now.clear()
        self._last.clear()
