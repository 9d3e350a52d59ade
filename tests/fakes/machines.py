"""Machines as the collector samples them: cards, figures, and snapshots that hold them."""

from __future__ import annotations

from dataclasses import replace

from core.engines import LoadedModel
from core.gpu import GpuProcess, GpuSample
from core.snapshot import AgentSnapshot, Reason
from core.state import AgentState
from core.stats_collector import SystemStats
from tests.fakes.snapshots import busy_snapshot

ENGINE_PID = 999


def card(
    uuid: str = "GPU-1",
    *,
    used_mb: int | None = 6000,
    ours_mb: int | None = 4000,
    load: float | None = 50.0,
    temperature: float | None = 60.0,
) -> GpuSample:
    """A card of 8 GB. `ours_mb` None: the driver doesn't list our engine's process."""
    ours = (GpuProcess(pid=ENGINE_PID, used_mb=ours_mb, name="ollama"),) if ours_mb is not None else ()
    return GpuSample(
        uuid=uuid,
        name=f"Card {uuid}",
        total_mb=8192,
        used_mb=used_mb,
        free_mb=None if used_mb is None else 8192 - used_mb,
        utilisation_percent=load,
        temperature_c=temperature,
        processes=(*ours, GpuProcess(pid=7, used_mb=500, name="game")),
    )


def machine(at: float, *cards: GpuSample, **figures: float | None) -> SystemStats:
    values: dict[str, object] = {
        "total_ram_mb": 16_000,
        "free_ram_mb": 10_000,
        "own_ram_mb": 1_000,
        "cpu_percent": 40.0,
        "cpu_percent_ours": 10.0,
        **figures,
    }
    return SystemStats(taken_at=at, gpus=cards, **values)  # type: ignore[arg-type]


def measured(at: float, *cards: GpuSample, reasons: tuple[Reason, ...] = (), **figures: float | None) -> AgentSnapshot:
    """A running agent whose engine is process ENGINE_PID and holds 4,000 MB of VRAM."""
    base = busy_snapshot()
    return replace(
        base,
        state=AgentState.PAUSED if any(reason.blocks for reason in reasons) else AgentState.READY,
        reasons=reasons,
        engine=replace(base.engine, pids=(ENGINE_PID,)),
        loaded_models=(LoadedModel(name="llama3.1:8b", total_mb=4000, vram_mb=4000),),
        machine=machine(at, *cards, **figures),
    )
