"""A real agent around a fake engine, in a home of its own, for tests of the owner's commands."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from core.agent import Agent
from core.app import identified
from core.config_load import load_settings
from core.config_values import Value
from core.engines import Engine
from core.gpu import GpuSample
from core.stats_collector import StatsCollector, SystemStats
from tests.fakes.calm_signals import FakeSignals


class FixedStats(StatsCollector):
    """A machine that never changes: 32 GB of RAM, and a card where `vram_mb` says so."""

    def __init__(self, vram_mb: int | None = None) -> None:
        super().__init__()
        self.sample = SystemStats(
            taken_at=1.0,
            total_ram_mb=32_000,
            free_ram_mb=20_000,
            total_vram_mb=vram_mb,
            free_vram_mb=vram_mb,
            gpus=() if vram_mb is None else (GpuSample(uuid="gpu-1", name="RTX 4090", total_mb=vram_mb),),
        )

    def collect(self) -> SystemStats:
        return self.sample


@asynccontextmanager
async def small_agent(
    engine: Engine, overrides: Mapping[str, Value] | None = None, *, vram_mb: int | None = None
) -> AsyncIterator[Agent]:
    """Started on a free port of this machine; its settings come from the (isolated) home, then from `overrides`."""
    given = {"agent_port": 0, "engine": "ollama", **(overrides or {})}
    loaded = identified(load_settings(overrides=given))
    stats = FixedStats(vram_mb)
    agent = Agent(loaded, factories={"ollama": lambda: engine}, stats=stats, open_signals=FakeSignals)
    async with agent:
        yield agent
