"""Capacity to serve: what others hold lowers it, what we hold doesn't, and a serving agent stays visible."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.capacity import (
    CapacityLimits,
    CpuOfOthers,
    MemoryKind,
    OwnMemory,
    automatic_reserve_mb,
    capacity_to_serve,
    memory_kind,
    own_memory,
    why_no_capacity,
)
from core.engines import LoadedModel
from core.gpu import GpuProcess, GpuSample
from core.snapshot import CapacityView
from core.stats_collector import SystemStats


def machine(kind: MemoryKind, total_mb: int, others_mb: int, own_mb: int, **more: Any) -> tuple[SystemStats, OwnMemory]:
    """A machine of one kind of memory in which others and our engine hold something."""
    free_mb = max(0, total_mb - others_mb - own_mb)
    if kind == "vram":
        stats = SystemStats(total_vram_mb=total_mb, free_vram_mb=free_mb, total_ram_mb=32000, free_ram_mb=28000, **more)
        return stats, OwnMemory(vram_mb=own_mb)
    return SystemStats(total_ram_mb=total_mb, free_ram_mb=free_mb, **more), OwnMemory(ram_mb=own_mb)


NO_LIMITS = CapacityLimits()


def view_of(
    kind: MemoryKind,
    total_mb: int,
    others_mb: int,
    own_mb: int = 0,
    *,
    is_serving: bool = True,
    limits: CapacityLimits = NO_LIMITS,
) -> CapacityView:
    stats, own = machine(kind, total_mb, others_mb, own_mb)
    return capacity_to_serve(stats, kind, limits, own=own, is_serving=is_serving, cpu_percent_others=3.0)


sizes = st.integers(0, 200_000)
kinds: st.SearchStrategy[MemoryKind] = st.sampled_from(["vram", "ram"])
limit_sets = st.builds(
    CapacityLimits,
    ram_budget_mb=st.just(0) | sizes,
    ram_reserve_mb=st.just(0) | sizes,
    vram_reserve_mb=st.just(0) | sizes,
)


@given(kinds, sizes, sizes, sizes, limit_sets)
def test_free_is_never_negative_and_never_above_the_total(
    kind: MemoryKind, total_mb: int, others_mb: int, own_mb: int, limits: CapacityLimits
) -> None:
    view = view_of(kind, total_mb, others_mb, own_mb, limits=limits)
    assert 0 <= view.free_mb <= view.total_mb <= total_mb
    assert view.free_ram_mb >= 0


@given(kinds, sizes, sizes, sizes, limit_sets)
def test_loading_our_own_model_never_lowers_what_is_free(
    kind: MemoryKind, total_mb: int, others_mb: int, own_mb: int, limits: CapacityLimits
) -> None:
    others_mb = min(others_mb, total_mb)
    own_mb = min(own_mb, total_mb - others_mb)
    unloaded = view_of(kind, total_mb, others_mb, 0, limits=limits)
    assert view_of(kind, total_mb, others_mb, own_mb, limits=limits) == unloaded


@given(kinds, sizes, sizes, sizes, limit_sets)
def test_more_use_by_others_never_raises_what_is_free(
    kind: MemoryKind, total_mb: int, one: int, other: int, limits: CapacityLimits
) -> None:
    less, more = sorted((one, other))
    assert view_of(kind, total_mb, more, limits=limits).free_mb <= view_of(kind, total_mb, less, limits=limits).free_mb


@given(kinds, sizes, sizes, sizes, limit_sets)
def test_not_serving_leaves_nothing_free_and_keeps_the_total(
    kind: MemoryKind, total_mb: int, others_mb: int, own_mb: int, limits: CapacityLimits
) -> None:
    serving = view_of(kind, total_mb, others_mb, own_mb, limits=limits)
    paused = view_of(kind, total_mb, others_mb, own_mb, is_serving=False, limits=limits)
    assert paused == dataclasses.replace(serving, free_mb=0, free_ram_mb=0)


@pytest.mark.parametrize(("total_mb", "reserve_mb"), [(4096, 1024), (10240, 1024), (10250, 1025), (24000, 2400)])
def test_automatic_reserve_is_a_gigabyte_or_a_tenth(total_mb: int, reserve_mb: int) -> None:
    assert automatic_reserve_mb(total_mb) == reserve_mb
    assert view_of("vram", total_mb, others_mb=0).total_mb == total_mb - reserve_mb


def test_others_use_up_the_reserve_before_they_lower_what_is_free() -> None:
    assert view_of("ram", 16000, others_mb=1600).free_mb == 14400
    assert view_of("ram", 16000, others_mb=1700).free_mb == 14300


def test_budget_is_the_total_and_stays_free_while_there_is_room_for_it() -> None:
    view = view_of("ram", 16000, others_mb=9000, limits=CapacityLimits(ram_budget_mb=6000))
    assert (view.total_mb, view.free_mb) == (6000, 6000)
    assert view_of("ram", 16000, others_mb=11000, limits=CapacityLimits(ram_budget_mb=6000)).free_mb == 5000


def test_reserve_holds_against_a_greater_budget() -> None:
    assert view_of("ram", 16000, 0, limits=CapacityLimits(ram_budget_mb=99999, ram_reserve_mb=4000)).total_mb == 12000


def test_budget_for_ram_does_not_limit_a_card() -> None:
    assert view_of("vram", 24000, 0, limits=CapacityLimits(ram_budget_mb=100)).total_mb == 21600


def test_processor_only_agent_offers_its_ram_budget_as_its_total() -> None:
    view = view_of("ram", 16000, 0, limits=CapacityLimits(ram_budget_mb=6000))
    assert (view.kind, view.total_mb, view.free_mb, view.free_ram_mb) == ("ram", 6000, 6000, 6000)


def test_agent_with_a_card_reports_its_ram_beside_it() -> None:
    view = view_of("vram", 8192, 0)
    assert (view.free_mb, view.free_ram_mb) == (7168, 28000)
    assert view.cpu_percent_others == 3.0


def unmeasured(own: OwnMemory) -> CapacityView:
    stats = SystemStats(total_ram_mb=32000, free_ram_mb=30000, gpu_problem="The driver is away.")
    return capacity_to_serve(stats, "vram", CapacityLimits(), own=own, is_serving=True, cpu_percent_others=0.0)


def test_card_without_a_meter_offers_what_our_loaded_model_proves() -> None:
    view = unmeasured(OwnMemory(vram_mb=5000))
    assert (view.total_mb, view.free_mb) == (5000, 5000)


def test_card_without_a_meter_and_without_a_model_offers_nothing_and_says_why() -> None:
    view = unmeasured(OwnMemory())
    assert (view.total_mb, view.free_mb) == (0, 0)
    assert why_no_capacity(SystemStats(gpu_problem="The driver is away."), view).endswith("The driver is away.")


def test_before_the_first_sample_nothing_is_offered() -> None:
    view = capacity_to_serve(None, "ram", CapacityLimits(), own=OwnMemory(), is_serving=True, cpu_percent_others=0.0)
    assert (view.total_mb, view.free_mb) == (0, 0)
    assert "not been measured" in why_no_capacity(None, view)


def test_nothing_is_said_where_there_is_something_to_offer() -> None:
    assert why_no_capacity(SystemStats(), CapacityView(total_mb=1)) == ""
    assert "ram_reserve_mb" in why_no_capacity(SystemStats(), CapacityView(kind="ram"))
    assert "vram_reserve_mb" in why_no_capacity(SystemStats(total_vram_mb=900), CapacityView(kind="vram"))


ON_CARD = LoadedModel(name="m", total_mb=6000, vram_mb=6000)
ON_BOTH = LoadedModel(name="m", total_mb=6000, vram_mb=2500)
IN_RAM = LoadedModel(name="m", total_mb=6000, vram_mb=0)
CARD = SystemStats(total_vram_mb=8192, free_vram_mb=8000)


@pytest.mark.parametrize(
    ("engine", "stats", "loaded", "device", "kind"),
    [
        ("ollama", CARD, (), "", "vram"),
        ("ollama", CARD, (IN_RAM,), "", "ram"),  # Ollama found the card unusable
        ("ollama", SystemStats(), (ON_CARD,), "", "vram"),  # a card that we can't read
        ("ollama", SystemStats(), (ON_BOTH,), "", "vram"),
        ("ollama", SystemStats(), (), "", "ram"),
        ("ollama", None, (), "", "ram"),
        ("ollama", SystemStats(total_vram_mb=512, free_vram_mb=500), (), "", "ram"),  # built-in graphics
        ("ollama", CARD, (LoadedModel(name="m"),), "", "vram"),
        ("embedded", CARD, (), "", "ram"),
        ("embedded", CARD, (), "CPU", "ram"),
        ("embedded", CARD, (), "Metal", "vram"),
        ("openai", CARD, (), "", "vram"),
    ],
)
def test_memory_kind_follows_what_the_engine_really_uses(
    engine: str, stats: SystemStats | None, loaded: tuple[LoadedModel, ...], device: str, kind: MemoryKind
) -> None:
    assert memory_kind(engine, stats, loaded, device) == kind


def test_card_that_is_gone_does_not_turn_its_engine_into_one_in_ram() -> None:
    """For the seconds until the rule holds, the coordinator heard of all the RAM."""
    lost = GpuSample(uuid="GPU-a", name="RTX 4090", is_lost=True)
    stats = SystemStats(total_ram_mb=32_000, free_ram_mb=20_000, gpus=(lost,))
    assert memory_kind("ollama", stats, ()) == "vram"
    assert memory_kind("embedded", stats, ()) == "ram"
    kept = replace(stats, gpus=(replace(lost, kept_because="it drives the display"),))
    assert memory_kind("ollama", kept, ()) == "ram"


def on_card(*processes: GpuProcess, own_ram_mb: int | None = None) -> SystemStats:
    return SystemStats(gpus=(GpuSample(uuid="a", name="Fake", processes=processes),), own_ram_mb=own_ram_mb)


def test_own_vram_is_the_greater_of_the_drivers_and_the_engines_word() -> None:
    stats = on_card(GpuProcess(pid=7, used_mb=6400), GpuProcess(pid=8, used_mb=900), GpuProcess(pid=9))
    assert own_memory(stats, (ON_CARD,), {7, 9}).vram_mb == 6400
    assert own_memory(stats, (ON_CARD,), ()).vram_mb == 6000
    assert own_memory(stats, (), {7}).vram_mb == 6400
    assert own_memory(stats, (), ()).vram_mb is None
    assert own_memory(None, (ON_CARD,), {7}).vram_mb == 6000


def test_owners_own_model_in_a_shared_engine_is_not_ours() -> None:
    stats = on_card(own_ram_mb=900)
    owners = dataclasses.replace(ON_CARD, name="owners", is_owners=True)
    assert own_memory(stats, (owners,), {7}).vram_mb is None
    assert (
        own_memory(stats, (owners, dataclasses.replace(ON_CARD, total_mb=1_000, vram_mb=1_000)), {7}).vram_mb == 1_000
    )


def test_own_ram_is_the_processes_where_the_engines_are_known() -> None:
    assert own_memory(on_card(own_ram_mb=900), (IN_RAM,), {7}).ram_mb == 900
    assert own_memory(on_card(own_ram_mb=50), (ON_BOTH,), ()).ram_mb == 3500
    assert own_memory(None, (IN_RAM,), ()).ram_mb == 6000


def feed(cpu: CpuOfOthers, percent: float | None, ours: float | None, *, start_s: float, seconds: float) -> list[float]:
    """One sample every 2 s; returns what would be reported after each."""
    return [
        cpu.update(SystemStats(taken_at=start_s + 2.0 * step, cpu_percent=percent, cpu_percent_ours=ours))
        for step in range(1, int(seconds / 2) + 1)
    ]


def test_our_own_use_is_never_reported() -> None:
    assert max(feed(CpuOfOthers(), 100.0, 98.0, start_s=0, seconds=300)) <= 2.0


def test_short_burst_of_others_stays_under_the_coordinators_limit_and_a_long_one_does_not() -> None:
    cpu = CpuOfOthers()
    feed(cpu, 5.0, 0.0, start_s=0, seconds=60)
    assert max(feed(cpu, 100.0, 0.0, start_s=60, seconds=20)) <= 90
    assert feed(cpu, 100.0, 0.0, start_s=80, seconds=10)[-1] > 90
    assert feed(cpu, 5.0, 0.0, start_s=90, seconds=10)[-1] < 70


def test_sample_without_a_figure_changes_nothing() -> None:
    cpu = CpuOfOthers()
    before = feed(cpu, 40.0, 0.0, start_s=0, seconds=60)[-1]
    assert feed(cpu, None, None, start_s=60, seconds=10)[-1] == before
    assert feed(cpu, 100.0, None, start_s=70, seconds=10)[-1] == before


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100), st.floats(-10, 1000)), max_size=30))
def test_reported_use_stays_within_0_and_100(samples: list[tuple[float, float, float]]) -> None:
    cpu = CpuOfOthers()
    for percent, ours, taken_at in samples:
        value = cpu.update(SystemStats(taken_at=taken_at, cpu_percent=percent, cpu_percent_ours=ours))
        assert 0 <= value <= 100


class PublicCoordinator:
    """The existing coordinator's rules for one agent (contract.md, "How the existing Go coordinator behaves")."""

    def __init__(self, total_vram_mb: int) -> None:
        self._total_mb = total_vram_mb
        self.is_degraded = False

    def beat(self, free_vram_mb: int, cpu_percent: float) -> None:
        used_percent = 100 * (self._total_mb - free_vram_mb) / self._total_mb if self._total_mb else 100
        if free_vram_mb < 512 or used_percent > 90 or cpu_percent > 90:
            self.is_degraded = True
        elif used_percent < 70 and cpu_percent < 70:
            self.is_degraded = False


def serving_stats(kind: MemoryKind, second: int, *, others_percent: float = 3.0) -> tuple[SystemStats, OwnMemory]:
    """A machine whose every core our engine keeps busy, with a model that fills what the reserve leaves."""
    return machine(
        kind,
        16000,
        others_mb=1500,
        own_mb=14400,
        taken_at=float(second),
        cpu_percent=min(100.0, 97.0 + others_percent),
        cpu_percent_ours=97.0 if others_percent < 50 else 100.0 - others_percent,
    )


@pytest.mark.parametrize("kind", ["ram", "vram"])
def test_agent_that_serves_at_full_use_is_never_degraded(kind: MemoryKind) -> None:
    cpu = CpuOfOthers()
    coordinator: PublicCoordinator | None = None
    raw_meter = PublicCoordinator(16000)
    for second in range(0, 600, 2):
        stats, own = serving_stats(kind, second)
        view = capacity_to_serve(
            stats, kind, CapacityLimits(), own=own, is_serving=True, cpu_percent_others=cpu.update(stats)
        )
        coordinator = coordinator or PublicCoordinator(view.total_mb)
        if second % 10 == 0:
            coordinator.beat(view.free_mb, view.cpu_percent_others)
            raw_meter.beat((stats.free_ram_mb if kind == "ram" else stats.free_vram_mb) or 0, stats.cpu_percent or 0)
            assert not coordinator.is_degraded, second
            assert raw_meter.is_degraded, "the raw meter would hide the agent: else this test proves nothing"


def test_agent_is_degraded_while_others_need_the_machine_and_healthy_after() -> None:
    cpu = CpuOfOthers()
    coordinator = PublicCoordinator(14400)
    healthy_at: list[int] = []
    for second in range(0, 300, 2):
        stats, own = serving_stats("ram", second, others_percent=99.0 if 60 <= second < 180 else 3.0)
        view = capacity_to_serve(
            stats, "ram", CapacityLimits(), own=own, is_serving=True, cpu_percent_others=cpu.update(stats)
        )
        if second % 10 == 0:
            coordinator.beat(view.free_mb, view.cpu_percent_others)
            if not coordinator.is_degraded:
                healthy_at.append(second)
    assert {0, 50, 70, 200, 290} <= set(healthy_at)
    assert not {100, 120, 150, 170} & set(healthy_at)


def test_paused_agent_is_degraded_at_once() -> None:
    coordinator = PublicCoordinator(14400)
    view = view_of("ram", 16000, 0, is_serving=False)
    coordinator.beat(view.free_mb, view.cpu_percent_others)
    assert coordinator.is_degraded
