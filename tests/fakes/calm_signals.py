"""Signals that only a test changes, and the environment of an agent whose rules leave the tests' machine alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any

from core.config_rules import EFFECT_SETTINGS
from core.signals import FullScreen, GpuUse, Power, ProcessorHeat, Signals
from core.stats_collector import SystemStats

CALM = Signals(
    idle_s=3600.0,
    power=Power(on_mains=True, battery_percent=90.0),
    listed_apps=(),
    full_screen=FullScreen(is_on=False),
    gpu_use_by_others=GpuUse(percent=0.0),
    gpu_temperature_c=50.0,
    gpu_power_w=100.0,
    processor_heat=ProcessorHeat(celsius=55.0, mean_c=55.0, sensor="k10temp, Tdie"),
    free_vram_mb=20_000,
    total_vram_mb=24_000,
    free_ram_mb=20_000,
    total_ram_mb=32_000,
    cpu_percent_others=5.0,
    is_metered=False,
)

# A machine that builds and tests is busy, and may run on its battery: nothing of that belongs into a test's result.
NO_RULES = {f"TITAN_{name.upper()}": "off" for name in EFFECT_SETTINGS}


class FakeSignals:
    """As core/signals/watch.SignalWatch towards the rules; `show` is the machine."""

    def __init__(self, on_change: Callable[[Signals], None]) -> None:
        self.current = CALM
        self.wanted: frozenset[str] = frozenset()
        self.apps: tuple[str, ...] = ()
        self.is_closed = False
        self._on_change = on_change

    def show(self, **values: Any) -> None:
        """The machine is calm but for these from now on; told at once, as a change is."""
        self.current = replace(CALM, **values)
        self._on_change(self.current)

    def want(self, names: Collection[str]) -> None:
        self.wanted = frozenset(names)

    def use_apps(self, lines: Iterable[str]) -> None:
        self.apps = tuple(lines)

    def take_stats(self, stats: SystemStats, cpu_percent_others: float) -> None:
        self._on_change(self.current)  # also where nothing has changed: a rule must not mind

    def take_ram(self, total_mb: int, free_mb: int) -> None:
        pass

    def take_engine_use(self, model: str) -> None:
        if model != self.current.engine_used_by_owner:
            self.show(engine_used_by_owner=model)

    def note_own_work(self) -> None:
        pass

    async def look(self) -> None:
        pass

    async def read_now(self, name: str) -> object:
        return getattr(self.current, name)

    async def run(self) -> None:
        self._on_change(self.current)
        await asyncio.Event().wait()

    async def close(self) -> None:
        self.is_closed = True
