"""What is reported to the coordinator: capacity to serve, not the raw meter. Pure arithmetic.

The coordinator skips an agent with less than 512 MB free, more than 90 % of its memory in use or more than 90 % CPU. A
working agent has its model in memory and the processor busy, so the raw meter would hide it whenever it is useful. So
total is the owner's budget, free is what is left of it once *others* have taken theirs, our own model counts as free,
and CPU is the use by others.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from core.engines import LoadedModel
from core.gpu import MIN_USEFUL_VRAM_MB as MIN_USEFUL_VRAM_MB
from core.gpu import GpuSample
from core.snapshot import CapacityView
from core.stats_collector import SystemStats

MemoryKind = Literal["vram", "ram"]

MIN_RESERVE_MB = 1024
RESERVE_SHARE = 0.10
# However much others hold, this much stays free for what the owner does next.
FLOOR_MB, FLOOR_SHARE = 512, 0.05
SYSTEM_MARGIN_MB = 256  # stays free when a model has been loaded: whatever starts meanwhile
# One beat over 90 % makes the coordinator skip us at once, until one is under 70 %. A browser's start or a short
# compile shouldn't: with 10 s, full use by others passes 90 % after 23 s and falls under 70 % 4 s after its end.
CPU_SMOOTHING_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityLimits:
    """The owner's settings, MiB; 0 means automatic."""

    ram_budget_mb: int = 0  # automatic: all but the reserve
    ram_reserve_mb: int = 0  # automatic: the greater of 1 GB and 10 %
    vram_reserve_mb: int = 0  # the same


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnMemory:
    """What our own engine holds, MiB; None means "not known" and counts as nothing."""

    vram_mb: int | None = None
    ram_mb: int | None = None


@dataclass(frozen=True, slots=True)
class _Pool:
    """One kind of memory. `own_mb` is held by us; figures are clamped to what is possible."""

    total_mb: int
    free_mb: int
    own_mb: int
    reserve_mb: int
    budget_mb: int

    @property
    def servable_mb(self) -> int:
        """The budget, less what others hold beyond the reserve. 0 ≤ it ≤ budget."""
        others_mb = max(0, self.total_mb - self.free_mb - self.own_mb)
        return max(0, min(self.budget_mb, self.total_mb - max(others_mb, self.reserve_mb)))


def capacity_to_serve(
    stats: SystemStats | None,
    kind: MemoryKind,
    limits: CapacityLimits,
    *,
    own: OwnMemory,
    is_serving: bool,
    cpu_percent_others: float,
) -> CapacityView:
    """The figures for registration and beats. 0 ≤ free_mb ≤ total_mb, always.

    `is_serving` is False while any reason not to serve holds: then nothing is free, and the total stays.
    `total_mb` is 0 before the first sample, and where the memory isn't measured and our engine holds none of it: with
    nothing to offer, don't register (`why_no_capacity` says it to the owner).
    """
    memory = _pool(stats, kind, limits, own)
    ram = memory if kind == "ram" else _pool(stats, "ram", limits, own)
    return CapacityView(
        kind=kind,
        total_mb=memory.budget_mb,
        free_mb=memory.servable_mb if is_serving else 0,
        free_ram_mb=ram.servable_mb if is_serving else 0,
        cpu_percent_others=cpu_percent_others,
    )


def why_no_capacity(stats: SystemStats | None, view: CapacityView) -> str:
    """One sentence for the owner when there is nothing to offer, "" otherwise."""
    if view.total_mb > 0:
        return ""
    if stats is None:
        return "The machine's memory has not been measured yet."
    if view.kind == "ram":
        return "No RAM is left to offer: lower ram_reserve_mb, or raise ram_budget_mb."
    if stats.total_vram_mb is None:
        return f"The graphics card's memory can't be measured, so none is offered. {stats.gpu_problem}".rstrip()
    return "No graphics memory is left to offer: lower vram_reserve_mb."


def automatic_reserve_mb(total_mb: int) -> int:
    """What stays the owner's when nothing is set: the greater of 1 GB and 10 %."""
    return max(MIN_RESERVE_MB, math.ceil(total_mb * RESERVE_SHARE))


def kept_free_mb(total_mb: int, free_mb: int, *, own_mb: int, reserve_mb: int) -> int:
    """What must stay free: what the owner's programs still have coming of the reserve, or a small floor.

    `own_mb` is held by our models; `reserve_mb` is the owner's setting, 0 for the automatic one.
    """
    others_mb = max(0, total_mb - free_mb - own_mb)
    reserve_mb = reserve_mb or automatic_reserve_mb(total_mb)
    return max(reserve_mb - others_mb, min(FLOOR_MB, int(total_mb * FLOOR_SHARE)))


def least_free_mb(total_mb: int) -> int:
    """What stays free when a model has been loaded, however much others hold."""
    return max(SYSTEM_MARGIN_MB, min(FLOOR_MB, int(total_mb * FLOOR_SHARE)))


def memory_kind(engine: str, stats: SystemStats | None, loaded: Iterable[LoadedModel], device: str = "") -> MemoryKind:
    """Which memory the engine's models live in.

    What the engine says about a loaded model decides; else the device that it reports; else what the machine has. The
    embedded engine runs on the processor unless it reports another device.
    """
    known = [model.vram_mb for model in loaded if model.vram_mb is not None]
    if known:
        return "vram" if any(known) else "ram"
    if device:
        return "ram" if device.lower().startswith("cpu") else "vram"
    if engine == "embedded" or stats is None:
        return "ram"
    is_lost = any(card.is_lost and card.is_lent for card in stats.gpus)  # the engine doesn't move to the RAM with it
    return "vram" if is_lost or (stats.total_vram_mb or 0) >= MIN_USEFUL_VRAM_MB else "ram"


def own_memory(stats: SystemStats | None, loaded: Iterable[LoadedModel], engine_pids: Collection[int]) -> OwnMemory:
    """What our engine holds: as the driver and the system measure it, else as the engine says.

    VRAM is the greater of the two: an engine leaves out its context's overhead, and a driver's per-process list is
    empty on some systems and shows other pids inside a container. RAM comes from the processes where the engine's are
    known: a model file that is mapped counts as available already, and adding the model's size would count it twice.
    A model of the owner's own in the same engine is not ours; the engine's processes then can't be told apart.
    Cards that the owner keeps count for nothing: where the engine is seen on one, only the driver's word on the others
    does.
    """
    listed = tuple(loaded)
    models = tuple(model for model in listed if not model.is_owners)
    model_vram = [model.vram_mb for model in models if model.vram_mb is not None]
    model_ram = sum(
        max(0, model.total_mb - model.vram_mb) for model in models if model.total_mb and model.vram_mb is not None
    )
    if stats is None:
        return OwnMemory(vram_mb=sum(model_vram) if model_vram else None, ram_mb=model_ram)
    measured = [
        process.used_mb
        for card in stats.gpus
        for process in card.processes
        if card.is_lent and process.pid in engine_pids and process.used_mb is not None and len(models) == len(listed)
    ]
    if kept_cards_in_use(stats, engine_pids):
        model_vram = []
    vram_mb = max(sum(measured), sum(model_vram)) if measured or model_vram else None
    ram_mb = stats.own_ram_mb if engine_pids else max(stats.own_ram_mb or 0, model_ram)
    return OwnMemory(vram_mb=vram_mb, ram_mb=ram_mb)


def kept_cards_in_use(stats: SystemStats, engine_pids: Collection[int]) -> tuple[GpuSample, ...]:
    """Cards that the owner keeps and that the engine uses all the same: it chooses by itself."""
    return tuple(
        card
        for card in stats.gpus
        if not card.is_lent and any(process.pid in engine_pids and process.used_mb for process in card.processes)
    )


class CpuOfOthers:
    """The processor use that isn't ours, smoothed. One per agent; fed with every sample.

    It starts at 0 and not at its first sample: an agent that starts at login finds every other program starting too.
    """

    def __init__(self, smoothing_s: float = CPU_SMOOTHING_S) -> None:
        self._smoothing_s = smoothing_s
        self._value = 0.0
        self._taken_at: float | None = None

    @property
    def percent(self) -> float:
        """0 to 100 over all cores."""
        return round(self._value, 1)

    def update(self, stats: SystemStats) -> float:
        """Take one sample in; returns `percent`. A sample without a figure changes nothing."""
        before, self._taken_at = self._taken_at, stats.taken_at
        if stats.cpu_percent is None or stats.cpu_percent_ours is None or before is None:
            return self.percent
        others = min(100.0, max(0.0, stats.cpu_percent - stats.cpu_percent_ours))
        passed_s = max(0.0, stats.taken_at - before)
        self._value = others + (self._value - others) * math.exp(-passed_s / self._smoothing_s)
        return self.percent


def _pool(stats: SystemStats | None, kind: MemoryKind, limits: CapacityLimits, own: OwnMemory) -> _Pool:
    if kind == "vram":
        total_mb, free_mb = (stats.total_vram_mb, stats.free_vram_mb) if stats else (None, None)
        own_mb, reserve_setting_mb, budget_setting_mb = own.vram_mb or 0, limits.vram_reserve_mb, 0
    else:
        total_mb, free_mb = (stats.total_ram_mb, stats.free_ram_mb) if stats else (None, None)
        own_mb, reserve_setting_mb, budget_setting_mb = own.ram_mb or 0, limits.ram_reserve_mb, limits.ram_budget_mb
    if total_mb is None or free_mb is None:
        return _unmeasured_pool(kind, own_mb)
    reserve_mb = reserve_setting_mb or automatic_reserve_mb(total_mb)
    budget_mb = max(0, total_mb - reserve_mb)  # the reserve stays the owner's, whatever the budget says
    if budget_setting_mb:
        budget_mb = min(budget_mb, budget_setting_mb)
    return _Pool(total_mb=total_mb, free_mb=free_mb, own_mb=own_mb, reserve_mb=reserve_mb, budget_mb=budget_mb)


def _unmeasured_pool(kind: MemoryKind, own_mb: int) -> _Pool:
    """No meter. VRAM that our engine's loaded models hold is proven to be there, and ours: that much, and no more.

    RAM that isn't measured never happens on a system that psutil knows; nothing is offered then.
    """
    proven_mb = own_mb if kind == "vram" else 0
    return _Pool(total_mb=proven_mb, free_mb=0, own_mb=proven_mb, reserve_mb=0, budget_mb=proven_mb)
