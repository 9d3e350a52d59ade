"""The owner's rules of one running agent: signals in, what follows out, and hours and energy counted beside it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, Protocol

from core.capacity import OwnMemory
from core.config import Settings
from core.energy_log import EnergyLog
from core.gpu_look import GpuLook
from core.host_meter import RamReading
from core.own_work import OwnWork
from core.reasons import ReasonBook
from core.reasons.of_rules import going_to_sleep
from core.rules import Own
from core.rules.settings import rule_settings
from core.rules_keeper import GiveBack, RulesKeeper
from core.sessions import Admission
from core.signals import ProcessorHeat, Signals, Unknown
from core.snapshot import ProcessorHeatView
from core.stats_collector import SystemStats


class SignalSource(Protocol):
    """What core/signals/watch.SignalWatch does for the rules."""

    @property
    def current(self) -> Signals: ...

    def want(self, names: Collection[str]) -> None: ...

    def use_apps(self, lines: Iterable[str]) -> None: ...

    def take_stats(self, stats: SystemStats, cpu_percent_others: float) -> None: ...

    def take_ram(self, total_mb: int, free_mb: int) -> None: ...

    def take_engine_use(self, model: str) -> None: ...

    def note_own_work(self) -> None: ...

    async def look(self) -> None: ...

    async def read_now(self, name: str) -> object: ...

    async def run(self) -> None: ...

    async def close(self) -> None: ...


OpenSignals = Callable[[Callable[[Signals], None]], SignalSource]


class OwnerRules:
    """Ties the parts together. No rule is looked at before `begin`."""

    def __init__(
        self,
        settings: Settings,
        *,
        open_signals: OpenSignals,
        reasons: ReasonBook,
        admission: Admission,
        energy: EnergyLog,
        own_memory: Callable[[], OwnMemory],
        least_ram_mb: Callable[[], int | None] = lambda: None,
        engine_name: Callable[[], str],
        owner_use: Callable[[], str],
        give_back: GiveBack,
        sample: Callable[[], Awaitable[None]],
        on_change: Callable[[], None],
        on_pace: Callable[[], None],
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`open_signals` makes the source that calls what it is given at each change. `owner_use` names the model with
        which the owner's own work uses a shared engine (core/engine_keeper.py). `sample` takes a sample of the machine
        now, which comes by `take_sample`. The others are as in RulesKeeper.
        """
        self.energy = energy
        self._reasons = reasons
        self._admission = admission
        self._own_memory = own_memory
        self._least_ram_mb = least_ram_mb
        self._owner_use = owner_use
        self._is_serving = False
        self._is_kept = False  # never before the setup is done
        self._settings = settings
        self._seen = Signals()  # as the rules have it
        self.signals = open_signals(self._on_signals)
        self._own_work = OwnWork(
            own_memory=own_memory, engine_name=engine_name, on_card=self.signals.note_own_work, monotonic=monotonic
        )
        self.keeper = RulesKeeper(
            rule_settings(settings),
            reasons=reasons,
            admission=admission,
            own=self._own,
            give_back=give_back,
            want=self.signals.want,
            on_change=on_change,
            on_pace=on_pace,
            wall=wall,
            monotonic=monotonic,
        )
        self.gpu_look = GpuLook(
            admission=admission,
            reasons=reasons,
            use=lambda: self._seen.gpu_use_by_others,
            settings=lambda: self._settings,
            sample=sample,
            monotonic=monotonic,
        )
        self.signals.use_apps(settings.listed_apps)

    def begin(self) -> None:
        """From now on the rules hold: hours, budget and doubt at once, the rest as soon as it is known."""
        self._is_kept = True
        self.keeper.step()

    async def look(self) -> None:
        """What the machine tells now; after `begin`, and before anybody may be let in. Takes a second at most."""
        if self._is_kept:
            await self.signals.look()

    def use_settings(self, settings: Settings) -> None:
        """Work by changed settings from now on."""
        self._settings = settings
        self.energy.use_figures(tariff_per_kwh=settings.tariff_per_kwh, owners_figure_w=settings.serving_power_w)
        self.keeper.use_settings(rule_settings(settings))
        self.signals.use_apps(settings.listed_apps)
        if self._is_kept:
            self.keeper.step()

    def share_until(self, until: float | None) -> None:
        """Whatever the rules of comfort say, share until then (seconds since the epoch); None: every rule counts."""
        self.keeper.share_until(until)
        if self._is_kept:
            self.keeper.step()

    def take_sample(self, stats: SystemStats, cpu_percent_others: float) -> None:
        """A sample of the machine; `cpu_percent_others` is smoothed."""
        self._own_work.take_sample(is_at_work=self._admission.running_jobs > 0 or "model_loading" in self._reasons)
        self.energy.take_gpu_power(stats.gpu_power_w)
        self.signals.take_engine_use(self._owner_use())
        self.signals.take_stats(stats, cpu_percent_others)
        if (
            self._own_work.leave_out(self.signals.current) != self._seen
        ):  # nothing else has changed but that we are quiet
            self._on_signals(self.signals.current)
        self.gpu_look.step()

    def take_ram(self, ram: RamReading) -> None:
        """The RAM between two samples."""
        self.signals.take_ram(ram.total_mb, ram.available_mb)

    def sessions_changed(self) -> None:
        """A session has perhaps begun or ended."""
        was_serving, self._is_serving = self._is_serving, self._admission.running_jobs > 0
        if was_serving != self._is_serving:
            self._own_work.note()
            self.energy.serve(self._is_serving)
        self.keeper.sessions_changed()
        if self.gpu_look.is_holding:  # it waits for the last one's end; it begins with a sample
            self.gpu_look.step()

    def snapshot_fields(self) -> Mapping[str, Any]:
        return {
            "rules": self.keeper.views,
            "energy": self.energy.view(),
            "processor_heat": _heat_view(self.signals.current.processor_heat),
        }

    async def run(self) -> None:
        """Look at the signals and keep the rules, for ever. After `begin`."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.signals.run(), name="signals")
            tasks.create_task(self.keeper.run(), name="rules")

    async def close(self) -> None:
        await self.gpu_look.close()
        await self.keeper.close()
        await self.signals.close()
        await self.energy.close()

    def _on_signals(self, signals: Signals) -> None:
        if not self._is_kept:
            return
        self._reasons.put_or_drop("going_to_sleep", going_to_sleep() if signals.is_going_to_sleep else None)
        self._seen = self._own_work.leave_out(signals)
        self.keeper.take_signals(self._seen)

    def _own(self) -> Own:
        memory = self._own_memory()
        return Own(
            vram_mb=memory.vram_mb or 0,
            ram_mb=memory.ram_mb or 0,
            least_ram_mb=self._least_ram_mb(),
            served_s_today=self.energy.served_s_today,
            kwh_today=self.energy.kwh_today,
            measured_kwh_today=self.energy.measured_kwh_today,
        )


def _heat_view(heat: ProcessorHeat | Unknown) -> ProcessorHeatView:
    if isinstance(heat, Unknown):
        return ProcessorHeatView(problem=heat.cause)
    return ProcessorHeatView(celsius=heat.celsius, sensor=heat.sensor, high_c=heat.high_c, critical_c=heat.critical_c)
