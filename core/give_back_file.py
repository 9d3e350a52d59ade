"""The last give-backs on disk: one small JSON file, so that the median outlives a restart."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from core.json_file import JsonFile
from core.snapshot import GiveBack, GiveBackView

KEPT = 50
MOST_MB = 2**31


class GiveBackFile:
    """`read` and `add` block; `view` doesn't. A file that can't be used is begun anew: it holds nothing but figures."""

    def __init__(self, path: Path | None) -> None:
        """`path` None keeps everything in memory only."""
        self._file = None if path is None else JsonFile(path, "give-backs", _parse_all)
        self._kept: deque[GiveBack] = deque(maxlen=KEPT)
        self.view: GiveBackView | None = None

    def read(self) -> None:
        if self._file is not None:
            self._kept.extend(self._file.load() or ())
            self._show()

    def add(self, result: GiveBack) -> None:
        """Keep one more. A disk that doesn't take it costs the median after a restart, no more."""
        self._kept.append(result)
        self._show()
        if self._file is not None:
            self._file.save([asdict(kept) for kept in self._kept])

    def _show(self) -> None:
        if not self._kept:
            return
        times = [kept.seconds for kept in self._kept if kept.ok]
        last = self._kept[-1]
        self.view = GiveBackView(
            last=last, sentence=last.sentence, median_s=round(median(times), 2) if times else None, count=len(times)
        )


def _parse_all(entries: list[dict[str, Any]]) -> list[GiveBack]:
    return [_parse(entry) for entry in entries]


def _parse(entry: dict[str, Any]) -> GiveBack:
    """Raises ValueError, TypeError or KeyError for anything that we would not have written."""
    held_mb, freed_mb, ok = entry["held_mb"], entry["freed_mb"], entry["ok"]
    seconds, at = float(entry["seconds"]), float(entry["at"])
    kind, holder = str(entry["kind"]), str(entry["holder"])[:200]
    if type(held_mb) is not int or type(freed_mb) is not int or type(ok) is not bool:
        raise TypeError("a figure of another type")
    if not 0 <= freed_mb <= held_mb <= MOST_MB or not 0 <= seconds < 1e6 or not 0 <= at < 1e11:
        raise ValueError("a figure that can't be")
    if kind not in ("vram", "ram") or not math.isfinite(seconds):
        raise ValueError("another kind of memory")
    return GiveBack(held_mb=held_mb, freed_mb=freed_mb, seconds=seconds, kind=kind, ok=ok, holder=holder, at=at)
