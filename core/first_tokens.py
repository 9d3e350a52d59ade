"""How long sessions waited for their first token, with the model in memory and when it had to be loaded first.

From real sessions, by model: the last 20 of each kind, in one small file. Kept in memory, written now and then and at
the end; what a crash loses is measured again.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.delayed_writer import DelayedWriter
from core.engines.names import same_model
from core.json_file import JsonFile

KEPT = 20
MOST_MODELS = 200
LONGEST_MS = 3_600_000.0
_KINDS = ("cold_ms", "warm_ms")
_Times = dict[str, dict[str, deque[float]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstToken:
    """The median of a model's last sessions, from admission on. None: there was no such session."""

    model: str  # the engine's name
    warm_ms: float | None = None  # the model was in memory
    warm_sessions: int = 0
    cold_ms: float | None = None  # it had to be loaded
    cold_sessions: int = 0


def first_token_words(found: FirstToken | None) -> str:
    """ "First token after 0.2 s, 4.1 s when it is loaded first"; "" without a measurement."""
    if found is None or (found.warm_ms is None and found.cold_ms is None):
        return ""
    if found.cold_ms is None:
        return f"First token after {_seconds(found.warm_ms)}"
    loaded = f"{_seconds(found.cold_ms)} when it is loaded first"
    return f"First token after {loaded if found.warm_ms is None else f'{_seconds(found.warm_ms)}, {loaded}'}"


def find_first_token(found: tuple[FirstToken, ...], model: str) -> FirstToken | None:
    return next((each for each in found if same_model(each.model, model)), None)


class FirstTokens:
    """One file's worth. All on the loop thread; the disk is used on a worker thread."""

    def __init__(self, path: Path, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._file = JsonFile(path, "times to the first token", _all_times)
        self._writer = DelayedWriter("How long first tokens took", self._write, sleep=sleep)
        self._kept: _Times = {}  # the model used last is the last one
        self._views: tuple[FirstToken, ...] | None = ()  # None: changed since

    @property
    def views(self) -> tuple[FirstToken, ...]:
        if self._views is None:
            self._views = tuple(_view(model, times) for model, times in self._kept.items())
        return self._views

    async def load(self) -> None:
        """Read what was kept; a damaged file is begun anew."""
        kept = await asyncio.to_thread(self._file.load)
        self._kept = kept or {}
        self._views = None

    def take(self, model: str, milliseconds: float, *, is_cold: bool) -> None:
        """A session of `model` (the engine's name) has had its first token."""
        times = self._kept.pop(model, None) or _nothing()
        times[_KINDS[0] if is_cold else _KINDS[1]].append(min(max(0.0, milliseconds), LONGEST_MS))
        self._kept[model] = times
        while len(self._kept) > MOST_MODELS:
            del self._kept[next(iter(self._kept))]
        self._views = None
        self._writer.note_change()

    async def close(self) -> None:
        """Write what isn't yet."""
        await self._writer.close()

    async def _write(self) -> None:
        entries = {model: {kind: list(times[kind]) for kind in _KINDS} for model, times in self._kept.items()}
        await asyncio.to_thread(self._file.write, {"first_tokens": entries})


def _nothing() -> dict[str, deque[float]]:
    return {kind: deque(maxlen=KEPT) for kind in _KINDS}


def _view(model: str, times: dict[str, deque[float]]) -> FirstToken:
    return FirstToken(
        model=model,
        warm_ms=_median(times["warm_ms"]),
        warm_sessions=len(times["warm_ms"]),
        cold_ms=_median(times["cold_ms"]),
        cold_sessions=len(times["cold_ms"]),
    )


def _median(times: deque[float]) -> float | None:
    return round(sorted(times)[len(times) // 2], 1) if times else None


def _all_times(document: Any) -> _Times:
    return {str(model): _times(times) for model, times in list(document["first_tokens"].items())[:MOST_MODELS]}


def _times(entry: dict[str, list[float]]) -> dict[str, deque[float]]:
    """Raises ValueError, KeyError or TypeError for what is none of ours."""
    times = _nothing()
    for kind in _KINDS:
        for value in entry[kind][-KEPT:]:
            if isinstance(value, bool) or not math.isfinite(value) or not 0 <= value <= LONGEST_MS:
                raise ValueError(kind)
            times[kind].append(float(value))
    return times


def _seconds(milliseconds: float | None) -> str:
    seconds = (milliseconds or 0.0) / 1000
    return f"{seconds:.1f} s" if seconds >= 0.95 else f"{seconds:.2f} s"
