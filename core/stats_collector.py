"""Samples of the machine, taken off the loop. (Skeleton: the collector follows.)"""

from __future__ import annotations

from dataclasses import dataclass

from core.gpu import GpuSample


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemStats:
    """The machine at one instant. None means "not measured", never 0. Memory in MiB."""

    taken_at: float = 0.0  # seconds since the epoch
    total_ram_mb: int | None = None
    free_ram_mb: int | None = None  # "available": what programs can still get
    cpu_percent: float | None = None  # all cores together, 0 to 100
    cpu_percent_ours: float | None = None  # the agent and its engine child, same scale
    total_vram_mb: int | None = None  # sum over cards; None without a card
    free_vram_mb: int | None = None
    gpu_temperature: float | None = None  # the hottest card, °C
    gpu_utilisation_percent: float | None = None  # the busiest card
    gpu_power_w: float | None = None  # sum over cards
    gpus: tuple[GpuSample, ...] = ()
    gpu_problem: str = ""  # why no card can be read, "" when fine
