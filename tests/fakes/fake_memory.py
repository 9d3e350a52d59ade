"""A machine's memory under a test's control: what is loaded takes some, and leaves it when it is unloaded."""

from __future__ import annotations

from collections.abc import Callable, Collection

from core.give_back import MemoryReading

ENGINE_PID = 4711


class FakeMemory:
    """A MemoryMeter. `model_mb` for each loaded model, of RAM or (`on_gpu`) of VRAM; nothing at all by default."""

    def __init__(self, loaded: Callable[[], int], *, model_mb: int = 0, on_gpu: bool = False) -> None:
        self._loaded = loaded
        self.model_mb = model_mb
        self.on_gpu = on_gpu
        self.total_mb = 24_000
        self.taken_mb = 0  # by other programs
        self.knows_processes = True  # what the engine's processes hold is measured, too
        self.stays_mb = 0  # of the engine's, whatever is unloaded
        self.programs: dict[str, int] = {}
        self.readings = 0

    def find(self) -> frozenset[int]:
        return frozenset({ENGINE_PID}) if self._loaded() else frozenset()

    def read(self, pids: Collection[int]) -> MemoryReading:
        self.readings += 1
        engine_mb = max(self.stays_mb, self.model_mb * self._loaded())
        free_mb = self.total_mb - engine_mb - self.taken_mb
        known = engine_mb if self.knows_processes and pids else None
        if self.on_gpu:
            return MemoryReading(
                free_ram_mb=8_000, free_vram_mb=free_mb, engine_vram_mb=known, vram_by_program=dict(self.programs)
            )
        return MemoryReading(free_ram_mb=free_mb, engine_ram_mb=known)
