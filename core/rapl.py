"""The processor's own energy counters (RAPL, Linux's powercap). Most systems let only root read them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class Rapl:
    """Watts of all processor packages together, between two readings. Blocks for microseconds: on a worker thread."""

    def __init__(self, root: Path = POWERCAP, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._clock = clock
        self._counters: tuple[tuple[Path, int], ...] | None = None  # with where each begins anew, microjoules
        self._before: tuple[float, tuple[int, ...]] | None = None

    @property
    def is_readable(self) -> bool:
        """Whether this system has such counters, and lets this user read them."""
        if self._counters is None:
            self._counters = self._find()
        return bool(self._counters)

    def read(self) -> float | None:
        """None where nothing can be read, and at the first reading."""
        if not self.is_readable or self._counters is None:
            return None
        try:
            now = self._clock(), tuple(int(path.read_text()) for path, _ in self._counters)
        except (OSError, ValueError):
            self._before = None
            return None
        before, self._before = self._before, now
        if before is None or now[0] <= before[0]:
            return None
        passed_s = now[0] - before[0]
        pairs = zip(now[1], before[1], self._counters, strict=True)
        microjoules = sum((later - earlier) % (limit + 1) for later, earlier, (_, limit) in pairs)
        return microjoules / 1e6 / passed_s

    def _find(self) -> tuple[tuple[Path, int], ...]:
        """Packages only: their parts (core, uncore) are in them, and "psys" has them in itself."""
        found = []
        try:
            for folder in sorted(self._root.glob("*rapl:*")):
                if (folder / "name").read_text().startswith("package"):
                    int((folder / "energy_uj").read_text())
                    found.append((folder / "energy_uj", int((folder / "max_energy_range_uj").read_text())))
        except (OSError, ValueError):
            return ()
        return tuple(found)
