"""The last give-backs on disk: one small JSON file, so that the median outlives a restart."""

from __future__ import annotations

import json
import math
from collections import deque
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from core.atomic_file import write_atomically
from core.errors import StorageError
from core.logs import get_logger
from core.snapshot import GiveBack, GiveBackView

log = get_logger(__name__)

KEPT = 50
MOST_MB = 2**31
MOST_BYTES = 64 * 1024


class GiveBackFile:
    """`read` and `add` block; `view` doesn't. A file that can't be used is begun anew: it holds nothing but figures."""

    def __init__(self, path: Path | None) -> None:
        """`path` None keeps everything in memory only."""
        self._path = path
        self._kept: deque[GiveBack] = deque(maxlen=KEPT)
        self.view: GiveBackView | None = None

    def read(self) -> None:
        if self._path is None:
            return
        try:
            with self._path.open("rb") as file:
                kept = [_parse(entry) for entry in json.loads(file.read(MOST_BYTES))]
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            log.warning("kept give-backs not read", error=type(error).__name__)
            return
        self._kept.extend(kept)
        self._show()

    def add(self, result: GiveBack) -> None:
        """Keep one more. A disk that doesn't take it costs the median after a restart, no more."""
        self._kept.append(result)
        self._show()
        if self._path is None:
            return
        try:
            write_atomically(self._path, json.dumps([asdict(kept) for kept in self._kept]).encode())
        except StorageError as error:
            log.warning("give-back not kept", error=error.detail, hint=error.hint)

    def _show(self) -> None:
        if not self._kept:
            return
        times = [kept.seconds for kept in self._kept if kept.ok]
        last = self._kept[-1]
        self.view = GiveBackView(
            last=last, sentence=last.sentence, median_s=round(median(times), 2) if times else None, count=len(times)
        )


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
