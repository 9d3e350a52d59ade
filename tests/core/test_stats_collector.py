"""The collector over a told machine; the asynchronous sampler; and the seed's call on the real one."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable

import pytest

from core.gpu import GpuSample
from core.gpu.none import NoProbe
from core.host_meter import CpuReading, OwnReading, RamReading
from core.stats_collector import StatsCollector, SystemStats, vram_totals_mb


class FakeHost:
    """A machine of four cores whose figures are set by the test."""

    def __init__(self) -> None:
        self.total_s = 1000.0
        self.busy_s = 250.0
        self.own_s = 10.0
        self.has_cpu_times = True

    def spend(self, seconds: float, *, others: float, ours: float) -> None:
        """Let time pass; `others` and `ours` are the cores that were busy."""
        self.total_s += 4 * seconds
        self.busy_s += seconds * (others + ours)
        self.own_s += seconds * ours

    def ram(self) -> RamReading | None:
        return RamReading(total_mb=16000, available_mb=9000)

    def cpu(self) -> CpuReading | None:
        return CpuReading(total_s=self.total_s, busy_s=self.busy_s) if self.has_cpu_times else None

    def own(self) -> OwnReading:
        return OwnReading(cpu_s=self.own_s, ram_mb=123)


class FakeProbe:
    """Gives the cards that the test sets."""

    name = "fake"
    problem = ""
    cards: tuple[GpuSample, ...] = ()
    is_closed = False

    def sample(self) -> tuple[GpuSample, ...]:
        return self.cards

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


@pytest.fixture
def probe() -> FakeProbe:
    return FakeProbe()


@pytest.fixture
def collector(host: FakeHost, probe: FakeProbe) -> StatsCollector:
    return StatsCollector(probe=probe, host=host, own=host.own, now=lambda: 1234.5)


def card(uuid: str, total_mb: int | None = None, free_mb: int | None = None, **fields: object) -> GpuSample:
    return GpuSample(uuid=uuid, name="Fake", total_mb=total_mb, free_mb=free_mb, **fields)  # type: ignore[arg-type]


def test_first_sample_gives_the_average_since_boot_and_nothing_of_ours(collector: StatsCollector) -> None:
    stats = collector.collect()
    assert (stats.cpu_percent, stats.cpu_percent_ours) == (25.0, None)
    assert (stats.total_ram_mb, stats.free_ram_mb, stats.own_ram_mb) == (16000, 9000, 123)
    assert stats.taken_at == 1234.5


def test_later_samples_cover_the_time_since_the_previous_one(collector: StatsCollector, host: FakeHost) -> None:
    collector.collect()
    host.spend(2.0, others=1.0, ours=2.0)
    stats = collector.collect()
    assert (stats.cpu_percent, stats.cpu_percent_ours) == (75.0, 50.0)
    host.spend(2.0, others=0.0, ours=0.0)
    assert collector.collect().cpu_percent == 0.0


def test_sample_that_follows_at_once_repeats_the_percentages(collector: StatsCollector, host: FakeHost) -> None:
    collector.collect()
    host.spend(2.0, others=2.0, ours=0.0)
    assert collector.collect().cpu_percent == 50.0
    host.spend(0.01, others=4.0, ours=0.0)
    assert collector.collect().cpu_percent == 50.0


def test_system_without_processor_times_gives_none(collector: StatsCollector, host: FakeHost) -> None:
    host.has_cpu_times = False
    stats = collector.collect()
    assert (stats.cpu_percent, stats.cpu_percent_ours) == (None, None)


def test_clock_steps_never_leave_0_to_100(collector: StatsCollector, host: FakeHost) -> None:
    collector.collect()
    host.total_s += 4
    host.busy_s -= 1
    host.own_s += 9
    stats = collector.collect()
    assert (stats.cpu_percent, stats.cpu_percent_ours) == (0.0, 100.0)


def test_figures_over_several_cards(collector: StatsCollector, probe: FakeProbe) -> None:
    probe.cards = (
        card("a", 24000, 20000, temperature_c=51.0, utilisation_percent=7.0, power_w=80.5),
        card("b", 12000, 1000, temperature_c=77.0, utilisation_percent=93.0, power_w=170.0),
        card("c", 8000, None),
    )
    stats = collector.collect()
    assert (stats.total_vram_mb, stats.free_vram_mb) == (36000, 21000)
    assert (stats.gpu_temperature, stats.gpu_utilisation_percent, stats.gpu_power_w) == (77.0, 93.0, 250.5)
    assert stats.gpus == probe.cards


def test_without_a_card_every_graphics_figure_is_none(host: FakeHost) -> None:
    stats = StatsCollector(probe=NoProbe("none here"), host=host, own=host.own).collect()
    figures = (stats.total_vram_mb, stats.free_vram_mb, stats.gpu_temperature, stats.gpu_utilisation_percent)
    assert figures == (None, None, None, None)
    assert stats.gpu_power_w is None
    assert stats.gpu_problem == "none here"


def test_lost_card_counts_for_nothing() -> None:
    assert vram_totals_mb([card("a", 8000, 7000), card("b", 8000, 7000, is_lost=True)]) == (8000, 7000)


def test_unified_memory_counts_only_beside_no_real_card() -> None:
    unified = card("apu", 512, 500, is_unified=True)
    assert vram_totals_mb([unified]) == (512, 500)
    assert vram_totals_mb([unified, card("a", 8000, 7000)]) == (8000, 7000)


def test_latest_is_the_last_sample(collector: StatsCollector) -> None:
    assert collector.latest is None
    stats = collector.collect()
    assert collector.latest is stats


def test_close_releases_the_drivers(collector: StatsCollector, probe: FakeProbe) -> None:
    collector.close()
    assert probe.is_closed


async def test_sampler_publishes_on_the_loop_and_samples_off_it(host: FakeHost, probe: FakeProbe) -> None:
    sampled_on: list[int] = []
    published: list[tuple[int, SystemStats]] = []
    waits: list[float] = []
    done = asyncio.Event()
    now_s = [100.0]

    def own() -> OwnReading:
        sampled_on.append(threading.get_ident())
        now_s[0] += 0.25  # a sample takes a quarter of a second
        return host.own()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        now_s[0] += seconds
        if len(waits) == 3:
            done.set()
        await asyncio.sleep(0)

    collector = StatsCollector(probe=probe, host=host, own=own, clock=lambda: now_s[0], sleep=sleep)
    publish: Callable[[SystemStats], None] = lambda stats: published.append((threading.get_ident(), stats))  # noqa: E731
    task = asyncio.create_task(collector.run(lambda: 2.0, publish))
    await done.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert waits[:3] == [1.75] * 3
    assert {thread for thread, _ in published} == {threading.get_ident()}
    assert threading.get_ident() not in sampled_on


async def test_sample_that_overruns_delays_the_next_and_never_piles_up(host: FakeHost, probe: FakeProbe) -> None:
    inside = most = taken = 0
    waits: list[float] = []
    now_s = [0.0]
    done = asyncio.Event()

    def own() -> OwnReading:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        now_s[0] += 7.0
        inside -= 1
        return host.own()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0)

    def publish(stats: SystemStats) -> None:
        nonlocal taken
        taken += 1
        if taken == 5:
            done.set()

    collector = StatsCollector(probe=probe, host=host, own=own, clock=lambda: now_s[0], sleep=sleep)
    task = asyncio.create_task(collector.run(lambda: 2.0, publish))
    await done.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert waits == []
    assert most == 1


async def test_a_shorter_interval_counts_within_two_seconds(host: FakeHost, probe: FakeProbe) -> None:
    now_s, interval_s = [0.0], [4.0]
    sampled_at: list[float] = []
    done = asyncio.Event()

    async def sleep(seconds: float) -> None:
        now_s[0] += seconds
        if now_s[0] >= 9.0:
            interval_s[0] = 2.0
        await asyncio.sleep(0)

    def publish(stats: SystemStats) -> None:
        sampled_at.append(now_s[0])
        if len(sampled_at) == 6:
            done.set()

    collector = StatsCollector(probe=probe, host=host, own=host.own, clock=lambda: now_s[0], sleep=sleep)
    task = asyncio.create_task(collector.run(lambda: interval_s[0], publish))
    await done.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert sampled_at[:6] == [0.0, 4.0, 8.0, 10.0, 12.0, 14.0]


async def test_a_beat_that_comes_a_little_early_is_no_reason_to_wake_up_twice(host: FakeHost, probe: FakeProbe) -> None:
    now_s = [0.3]
    waits: list[float] = []
    sampled: list[tuple[float, int]] = []
    done = asyncio.Event()

    async def sleep(seconds: float) -> None:  # as core/shared_beat.py, to whole seconds
        waits.append(seconds)
        now_s[0] = float(round(now_s[0] + seconds))
        await asyncio.sleep(0)

    def publish(stats: SystemStats) -> None:
        sampled.append((now_s[0], len(waits)))
        if len(sampled) == 4:
            done.set()

    collector = StatsCollector(probe=probe, host=host, own=host.own, clock=lambda: now_s[0], sleep=sleep)
    task = asyncio.create_task(collector.run(lambda: 4.0, publish))
    await done.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert sampled[:4] == [(0.3, 0), (4.0, 2), (8.0, 4), (12.0, 6)]


def test_seeds_call_works_on_this_machine_without_blocking() -> None:
    collector = StatsCollector()
    collector.collect()  # imports psutil
    began_s = time.thread_time()
    stats = collector.collect()
    assert time.thread_time() - began_s < 0.05
    assert stats.total_ram_mb is not None
    assert stats.free_ram_mb is not None
    assert 0 < stats.free_ram_mb <= stats.total_ram_mb
    assert stats.cpu_percent is None or 0 <= stats.cpu_percent <= 100
    assert f"{stats.free_vram_mb}/{stats.total_vram_mb}"
    assert stats.gpu_temperature is None or stats.gpu_temperature > 0
    collector.close()


def test_importing_the_stats_brings_in_neither_psutil_nor_pynvml() -> None:
    import subprocess
    import sys

    code = "import sys, core.stats_collector; print({'psutil', 'pynvml', 'ctypes'} & sys.modules.keys())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"
