"""The machine's RAM and processor, and the part of them that is ours, read through psutil. Blocking, and cheap.

Nothing here enumerates processes at every sample: 84 of them took 3 ms on the machine where this was written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from core.cgroup_memory import CgroupMemory

if TYPE_CHECKING:
    import psutil

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RamReading:
    """RAM that this process may use, MiB: the machine's, or its container's limit where that is lower."""

    total_mb: int
    available_mb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuReading:
    """Seconds since boot, summed over all cores."""

    total_s: float
    busy_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnReading:
    """Our processes: processor seconds since the meter was made, and memory that would come back if they ended."""

    cpu_s: float
    ram_mb: int | None


class Host(Protocol):
    """The machine as the collector reads it. None means "not measured"."""

    def ram(self) -> RamReading | None: ...

    def cpu(self) -> CpuReading | None: ...


class PsutilHost:
    """The real machine."""

    def __init__(self, cgroup: CgroupMemory | None = None) -> None:
        self._cgroup = cgroup or CgroupMemory()

    def ram(self) -> RamReading | None:
        import psutil

        memory = psutil.virtual_memory()
        total_mb, available_mb = memory.total // _MIB, memory.available // _MIB
        limit = self._cgroup.read()
        if limit is not None:
            total_mb, available_mb = min(total_mb, limit.total_mb), min(available_mb, limit.free_mb)
        return RamReading(total_mb=total_mb, available_mb=available_mb)

    def cpu(self) -> CpuReading | None:
        """None where the system counts no time (some sandboxes)."""
        import psutil

        times = psutil.cpu_times()
        # Linux counts a guest's time in `user` as well, so it isn't added again.
        total_s = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        if total_s <= 0:
            return None
        return CpuReading(total_s=total_s, busy_s=total_s - times.idle - getattr(times, "iowait", 0.0))


class OwnProcesses:
    """Adds up this process and those whose pids `own_pids` gives. It is called on a worker thread."""

    def __init__(self, own_pids: Callable[[], Iterable[int]] = tuple) -> None:
        self._own_pids = own_pids
        self._processes: dict[int, psutil.Process] = {}
        self._cpu_s: dict[int, float] = {}
        self._total_cpu_s = 0.0
        self._read_at = time.time()

    def read(self) -> OwnReading:
        """Sum over our processes. One that ended keeps the time counted so far; one that can't be read is left out."""
        pids = {os.getpid(), *self._own_pids()}
        for pid in self._processes.keys() - pids:
            self._forget(pid)
        ram_mb = sum(self._read_one(pid) for pid in pids)
        self._read_at = time.time()
        return OwnReading(cpu_s=self._total_cpu_s, ram_mb=ram_mb)

    def _read_one(self, pid: int) -> int:
        """Count one process's time since the last reading; returns its memory, MiB."""
        import psutil

        try:
            process = self._processes.get(pid) or psutil.Process(pid)
            with process.oneshot():
                times, memory = process.cpu_times(), process.memory_info()
            cpu_s = times.user + times.system
            before_s = self._cpu_s.get(pid)
            if before_s is None or cpu_s < before_s:  # a new process, or the pid's next owner
                process = psutil.Process(pid)
                before_s = 0.0 if process.create_time() >= self._read_at else cpu_s
        except psutil.Error:  # gone, or another user's
            self._forget(pid)
            return 0
        self._processes[pid], self._cpu_s[pid] = process, cpu_s
        self._total_cpu_s += cpu_s - before_s
        return _private_mb(memory)

    def _forget(self, pid: int) -> None:
        self._processes.pop(pid, None)
        self._cpu_s.pop(pid, None)


def held_mb(pid: int) -> int:
    """What would come back if this process ended, MiB; 0 where it is gone, or another user's."""
    import psutil

    try:
        return _private_mb(psutil.Process(pid).memory_info())
    except psutil.Error:
        return 0


def _private_mb(memory: Any) -> int:
    """A model file that is mapped into memory is file cache, which "available" counts already: only the rest is new."""
    return int(memory.rss - getattr(memory, "shared", 0)) // _MIB


class NamedProcesses:
    """Pids of every program with one of these names, for an engine that we didn't start ("ollama" and its runners).

    Only pids that weren't there at the last look are asked for their name, and a look is taken every `rescan_s`.
    """

    def __init__(
        self,
        *names: str,
        helpers: Iterable[str] = (),
        rescan_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`helpers` are names that count only where a program with one of `names` has started it."""
        self._names = frozenset(names)
        self._helpers = frozenset(helpers)
        self._rescan_s = rescan_s
        self._clock = clock
        self._is_match: dict[int, bool] = {}
        self._look_at = float("-inf")

    def __call__(self) -> tuple[int, ...]:
        if self._clock() >= self._look_at:
            self._look()
        return tuple(pid for pid, is_match in self._is_match.items() if is_match)

    def refresh(self) -> None:
        """Look again at the next call: the engine has just loaded a model, in a process of its own."""
        self._look_at = float("-inf")

    def _look(self) -> None:
        import psutil

        self._look_at = self._clock() + self._rescan_s
        self._is_match = {
            pid: self._is_match[pid] if pid in self._is_match else self._has_name(pid) for pid in psutil.pids()
        }

    def _has_name(self, pid: int) -> bool:
        import psutil

        try:
            process = psutil.Process(pid)
            name = _plain_name(process)
            if name in self._helpers:
                parent = process.parent()
                return parent is not None and _plain_name(parent) in self._names
            return name in self._names
        except psutil.Error:
            return False


def _plain_name(process: psutil.Process) -> str:
    return process.name().lower().removesuffix(".exe")
