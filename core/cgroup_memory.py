"""The memory limit of a container (cgroup v2 or v1): what the machine has is not what this process may have."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_MIB = 1024 * 1024
_NO_LIMIT_BYTES = 1 << 60  # version 1 writes a number near 2⁶³ for "no limit"
RESCAN_S = 60.0  # a limit can be changed while we run, and seldom is


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryAllowance:
    """What the tightest limit leaves, MiB. `free_mb` counts file cache as free, as the kernel's MemAvailable does."""

    total_mb: int
    free_mb: int


@dataclass(frozen=True, slots=True)
class _Version:
    limit_file: str
    usage_file: str
    cache_keys: tuple[str, ...]


_V2 = _Version("memory.max", "memory.current", ("inactive_file", "active_file"))
_V1 = _Version("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))


class CgroupMemory:
    """Reads the limits of this process's cgroup and of those above it. Blocking; free of cost where nothing limits."""

    def __init__(
        self,
        *,
        membership: Path = Path("/proc/self/cgroup"),
        mount: Path = Path("/sys/fs/cgroup"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._membership = membership
        self._mount = mount
        self._clock = clock
        self._limited: tuple[tuple[Path, _Version], ...] = ()
        self._rescan_at = float("-inf")

    def read(self) -> MemoryAllowance | None:
        """The allowance of the level that leaves least; None where no limit holds."""
        if self._clock() >= self._rescan_at:
            self._limited = tuple(self._find_limited())
            self._rescan_at = self._clock() + RESCAN_S
        allowances = [found for level in self._limited if (found := _read_level(*level)) is not None]
        if not allowances:
            return None
        return MemoryAllowance(
            total_mb=min(each.total_mb for each in allowances), free_mb=min(each.free_mb for each in allowances)
        )

    def _find_limited(self) -> Iterator[tuple[Path, _Version]]:
        for root, path, version in self._hierarchies():
            folder = root / path.lstrip("/")
            # A container often sees the host's path in /proc, and its own cgroup at the mount.
            if ".." in folder.parts or not folder.is_dir():
                folder = root
            for level in (folder, *folder.parents):
                if _limit_bytes(level, version) is not None:
                    yield level, version
                if level == root:
                    break

    def _hierarchies(self) -> Iterator[tuple[Path, str, _Version]]:
        try:
            lines = self._membership.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:  # not Linux
            return
        for line in lines:
            number, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if number == "0" and not controllers:
                yield self._mount, path, _V2
            elif "memory" in controllers.split(","):
                yield self._mount / "memory", path, _V1


def _read_level(folder: Path, version: _Version) -> MemoryAllowance | None:
    limit = _limit_bytes(folder, version)
    usage = _first_number(folder / version.usage_file)
    if limit is None or usage is None:
        return None
    used = max(0, usage - sum(_stat_values(folder / "memory.stat", version.cache_keys)))
    return MemoryAllowance(total_mb=limit // _MIB, free_mb=max(0, limit - used) // _MIB)


def _limit_bytes(folder: Path, version: _Version) -> int | None:
    limit = _first_number(folder / version.limit_file)
    return None if limit is None or limit >= _NO_LIMIT_BYTES else limit


def _first_number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None  # "max" is no number, and no limit


def _stat_values(path: Path, keys: tuple[str, ...]) -> Iterator[int]:
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        key, _, value = line.partition(" ")
        if key in keys and value.isdecimal():
            yield int(value)
