"""Free memory, and what the engine's processes hold of it, read in a few milliseconds: ten times a second is fine."""

from __future__ import annotations

from collections.abc import Callable, Collection

from core.engine_processes import EngineProcesses
from core.give_back import MemoryReading
from core.gpu import GpuSample
from core.host_meter import held_mb
from core.stats_collector import MemorySample


class SystemMemoryMeter:
    """The real machine. Blocks: on a worker thread."""

    def __init__(
        self, memory: Callable[[], MemorySample], processes: EngineProcesses, engine_name: Callable[[], str]
    ) -> None:
        """`memory` samples the machine (StatsCollector.memory)."""
        self._memory = memory
        self._processes = processes
        self._engine_name = engine_name

    def find(self) -> frozenset[int]:
        """An embedded engine's child; of Ollama those processes that another one of Ollama's has started: its own
        server holds no model, and stays.
        """
        self._processes.refresh()
        pids = frozenset(self._processes.look())
        return frozenset(pid for pid in pids if _parent(pid) in pids) if self._engine_name() == "ollama" else pids

    def read(self, pids: Collection[int]) -> MemoryReading:
        sample = self._memory()
        return MemoryReading(
            free_ram_mb=sample.free_ram_mb,
            free_vram_mb=sample.free_vram_mb,
            engine_ram_mb=sum(held_mb(pid) for pid in pids) if pids else None,
            engine_vram_mb=_vram_of(sample.gpus, pids),
            vram_by_program=_vram_of_others(sample.gpus, pids),
        )


def _parent(pid: int) -> int | None:
    import psutil

    try:
        return int(psutil.Process(pid).ppid())
    except psutil.Error:
        return None


def _vram_of(gpus: Collection[GpuSample], pids: Collection[int]) -> int | None:
    """None where the driver doesn't say how much a process of ours uses, or there is no card, or none any more."""
    here = [card for card in gpus if not card.is_lost]
    sizes = [process.used_mb for card in here for process in card.processes if process.pid in pids]
    known = [used_mb for used_mb in sizes if used_mb is not None]
    return sum(known) if here and len(known) == len(sizes) else None


def _vram_of_others(gpus: Collection[GpuSample], pids: Collection[int]) -> dict[str, int]:
    found: dict[str, int] = {}
    for card in gpus:
        for process in card.processes:
            if process.used_mb is not None and process.pid not in pids:
                name = process.name or f"process {process.pid}"
                found[name] = found.get(name, 0) + process.used_mb
    return found
