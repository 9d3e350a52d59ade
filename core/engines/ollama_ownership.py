"""Whose work brought each of a shared Ollama's models into memory: ours, or the owner's own.

Ollama doesn't say who asked. So a model counts as ours when /api/ps didn't list it before our first request for it,
until it is listed no more; everything else is the owner's, and neither unloaded nor given another keep_alive.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from core.engines.names import normalize_model


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedEntry:
    """One model of /api/ps. `expires_at` as Ollama writes it: it moves with each use, and only then."""

    name: str
    expires_at: str
    is_ours: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedLook:
    """What a shared engine holds at one instant, and how much of its work was ours."""

    entries: tuple[LoadedEntry, ...]
    requests: int  # of ours so far; each counts at its beginning and at its end
    is_busy: bool  # one of ours runs


class OwnLoads:
    """Which loaded models are ours. Names in any spelling; all on the loop thread."""

    def __init__(self) -> None:
        self._ours: set[str] = set()
        self._in_use: Counter[str] = Counter()
        self.requests = 0

    @property
    def is_busy(self) -> bool:
        return self._in_use.total() > 0

    @property
    def names(self) -> tuple[str, ...]:
        """Our models, as far as is known; in the form of `normalize_model`."""
        return tuple(sorted(self._ours))

    def is_ours(self, name: str) -> bool:
        return normalize_model(name) in self._ours

    def claim(self, name: str) -> None:
        """It was not listed, and our request loads it now."""
        self._ours.add(normalize_model(name))

    def leave_to_owner(self, name: str) -> None:
        """The owner's own work uses a model that we had loaded: from now on it is not ours to unload."""
        self._ours.discard(normalize_model(name))

    def saw(self, listed: Iterable[str], *, asked_at: int) -> None:
        """What is listed no more is nobody's. A list that was asked for (`requests` was `asked_at` then) before a
        request of ours began or ended says nothing of what that one loaded.
        """
        if self.requests != asked_at:
            return
        there = {normalize_model(name) for name in listed}
        self._ours = {name for name in self._ours if name in there or self._in_use[name]}

    @contextmanager
    def using(self, name: str) -> Iterator[None]:
        """A request of ours runs on this model."""
        key = normalize_model(name)
        self._in_use[key] += 1
        self.requests += 1
        try:
            yield
        finally:
            self.requests += 1
            self._in_use[key] -= 1
            if not self._in_use[key]:
                del self._in_use[key]
