"""The rules of one agent tied together: what its signals hear of its own work, and what a sleep does to the door."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.capacity import OwnMemory
from core.config import Settings
from core.energy_log import EnergyLog
from core.owner_rules import OwnerRules
from core.reasons import ReasonBook
from core.reasons.of_engine import model_loading
from core.sessions import Admission
from core.signals import ProcessorHeat, Signals, Unknown
from core.snapshot import ProcessorHeatView
from core.stats_collector import SystemStats
from tests.fakes.calm_signals import FakeSignals
from tests.fakes.manual_clock import ManualClock

STATS = SystemStats()


class CountingSignals(FakeSignals):
    """Counts how often it was told of our own work on a card."""

    def __init__(self, on_change: Callable[[Signals], None]) -> None:
        super().__init__(on_change)
        self.own_work = 0

    def note_own_work(self) -> None:
        self.own_work += 1

    def take_stats(self, stats: SystemStats, cpu_percent_others: float) -> None:
        """Nothing has changed, so nothing is said, as the real one does."""


class House:
    def __init__(self, folder: Path) -> None:
        self.memory = OwnMemory(vram_mb=4_000)
        self.clock = ManualClock()
        self.engine = "ollama"
        self.reasons = ReasonBook()
        self.admission = Admission(max_jobs=2, closed_because=self.reasons.closed_because)
        self.rules = OwnerRules(
            Settings(),
            open_signals=self._open,
            reasons=self.reasons,
            admission=self.admission,
            energy=EnergyLog(folder / "energy.json"),
            own_memory=lambda: self.memory,
            engine_name=lambda: self.engine,
            owner_use=lambda: "",
            give_back=self._give_back,
            sample=self._sample,
            on_change=lambda: None,
            on_pace=lambda: None,
            wall=self.clock.wall,
            monotonic=self.clock.monotonic,
        )
        self.rules.begin()

    def _open(self, on_change: Callable[[Signals], None]) -> CountingSignals:
        self.signals = CountingSignals(on_change)
        return self.signals

    async def _sample(self) -> None:
        self.rules.take_sample(STATS, 0.0)

    async def _give_back(self, models: object) -> None:
        raise AssertionError("nothing here gives memory back")


@pytest.fixture
async def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def test_card_is_ours_while_a_session_runs_and_when_it_has_just_ended(house: House) -> None:
    house.rules.take_sample(STATS, 0.0)
    assert house.signals.own_work == 0
    async with house.admission.slot(model="m", client="c", job_id="1", spend=lambda: None):
        house.rules.sessions_changed()
        house.rules.take_sample(STATS, 0.0)
        assert house.signals.own_work == 2
    house.rules.sessions_changed()
    assert house.signals.own_work == 3
    house.rules.take_sample(STATS, 0.0)
    house.rules.sessions_changed()
    assert house.signals.own_work == 3


async def test_a_model_that_came_and_served_between_two_samples_was_our_work(house: House) -> None:
    house.memory = OwnMemory(vram_mb=0)
    house.rules.take_sample(STATS, 0.0)
    async with house.admission.slot(model="m", client="c", job_id="1", spend=lambda: None):
        house.rules.sessions_changed()
    house.rules.sessions_changed()
    assert house.signals.own_work == 0
    house.memory = OwnMemory(vram_mb=4_000)
    house.rules.take_sample(STATS, 0.0)
    assert house.signals.own_work == 1


async def test_card_is_ours_while_a_model_loads(house: House) -> None:
    house.reasons.put(model_loading("m"))
    house.rules.take_sample(STATS, 0.0)
    assert house.signals.own_work == 1


@pytest.mark.parametrize(("memory", "told"), [(OwnMemory(vram_mb=0), 0), (OwnMemory(), 1), (OwnMemory(vram_mb=9), 1)])
async def test_card_is_not_ours_while_our_models_lie_in_ram_alone(house: House, memory: OwnMemory, told: int) -> None:
    house.memory = memory
    house.reasons.put(model_loading("m"))
    house.rules.take_sample(STATS, 0.0)
    assert house.signals.own_work == told


async def test_a_server_of_unknown_programs_is_told_apart_once_it_is_quiet(house: House) -> None:
    """The card's figure is clean after two seconds, the processor's smoothed one later; no signal changes meanwhile."""
    house.engine = "openai"
    async with house.admission.slot(model="m", client="c", job_id="1", spend=lambda: None):
        house.rules.sessions_changed()
    house.rules.sessions_changed()
    seen = []
    for _ in range(9):
        house.rules.take_sample(STATS, 0.0)
        signals = house.rules._seen
        told = [not isinstance(use, Unknown) for use in (signals.gpu_use_by_others, signals.cpu_percent_others)]
        seen.append(tuple(told))
        await house.clock.advance(2.0)
    assert seen == [(False, False), *[(True, False)] * 7, (True, True)]
    use = house.rules._seen.gpu_use_by_others
    assert use == house.signals.current.gpu_use_by_others


async def test_nobody_is_let_in_from_the_moment_that_the_machine_is_about_to_sleep(house: House) -> None:
    house.signals.show()
    assert not house.reasons.is_blocked
    house.signals.show(is_going_to_sleep=True)
    assert [reason.code for reason in house.reasons.all] == ["going_to_sleep"]
    assert house.reasons.is_blocked
    house.signals.show()
    assert house.reasons.all == ()


async def test_snapshot_says_how_hot_the_processor_is_or_why_nothing_tells_it(house: House) -> None:
    house.signals.show(processor_heat=ProcessorHeat(celsius=71.0, mean_c=69.0, sensor="k10temp, Tdie", critical_c=95.0))
    shown = house.rules.snapshot_fields()["processor_heat"]
    assert shown == ProcessorHeatView(celsius=71.0, sensor="k10temp, Tdie", critical_c=95.0)
    house.signals.show(processor_heat=Unknown("The processor's sensor could not be read."))
    shown = house.rules.snapshot_fields()["processor_heat"]
    assert shown == ProcessorHeatView(problem="The processor's sensor could not be read.")
