"""Samples of the machine, taken off the loop: RAM, processor and graphics cards as one frozen value."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from core.gpu import GpuProbe, GpuSample
from core.gpu.lending import CardLending
from core.host_meter import CpuReading, Host, OwnProcesses, OwnReading, PsutilHost, RamReading
from core.shared_beat import BEAT_S, sleep_to_beat

# A beat's figures are half of this old, on average. A sample with two cards takes 0.6 ms of processor time, 1.7 ms with
# the way to its threads and back (against the NVML double of the tests; a real driver adds its own): 0.09 % of one
# core, of the 0.3 % for an idle agent.

LOOK_AGAIN_S = 2.0  # how soon a shorter interval is noticed
_MIN_WINDOW_S = 0.1  # processor seconds, over all cores: the kernel counts in steps of 0.01 s


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemStats:
    """The machine at one instant. None means "not measured", never 0. Memory in MiB."""

    taken_at: float = 0.0  # seconds since the epoch
    total_ram_mb: int | None = None
    free_ram_mb: int | None = None  # "available": what programs can still get
    cpu_percent: float | None = None  # all cores together, 0 to 100
    cpu_percent_ours: float | None = None  # the agent and its engine child, same scale
    own_ram_mb: int | None = None  # the same processes' memory that isn't file cache: it comes back when they end
    total_vram_mb: int | None = None  # sum over the cards that are lent, as all below; None without one
    free_vram_mb: int | None = None
    gpu_temperature: float | None = None  # the hottest card, °C
    gpu_utilisation_percent: float | None = None  # the busiest card
    gpu_power_w: float | None = None  # sum over cards
    gpus: tuple[GpuSample, ...] = ()  # every card, those that the owner keeps among them
    gpu_problem: str = ""  # why no card can be read, "" when fine


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySample:
    """Free memory alone, MiB; None means "not measured"."""

    free_ram_mb: int | None = None
    free_vram_mb: int | None = None
    gpus: tuple[GpuSample, ...] = ()


class StatsCollector:
    """Take samples. `collect` blocks for some milliseconds, or for the probe's time limit when a driver hangs."""

    def __init__(
        self,
        *,
        probe: GpuProbe | None = None,
        own_pids: Callable[[], Iterable[int]] = tuple,
        host: Host | None = None,
        own: Callable[[], OwnReading] | None = None,
        lent_gpus: Callable[[], Sequence[str]] = tuple,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = sleep_to_beat,
    ) -> None:
        """Without arguments: every card and the real machine.

        `own_pids` gives the engine's processes (this one is always counted) and is called on a worker thread;
        `own` replaces the reading of our processes in tests, `host` that of the machine. `lent_gpus` gives the cards
        that the owner lends, UUIDs or names; empty: automatic (core/gpu/lending.py).
        """
        self._probe = probe if probe is not None else _open_probes()
        self._lending = CardLending(lent_gpus)
        self._host: Host = host or PsutilHost()
        self._read_own = own or OwnProcesses(own_pids).read
        self._now = now
        self._clock = clock
        self._sleep = sleep
        self._cpu = _CpuMeter()
        self._lock = threading.Lock()  # the sampler and a front end may ask at the same time
        self._latest: SystemStats | None = None

    @property
    def latest(self) -> SystemStats | None:
        """The last sample, None before the first. Never blocks."""
        return self._latest

    def collect(self) -> SystemStats:
        """Sample now. `cpu_percent` covers the time since the previous sample; the first one, the time since boot.

        A figure that this machine doesn't have, or that its driver doesn't give, is None. Thread-safe.
        """
        with self._lock:
            ram, cpu, own = self._host.ram(), self._host.cpu(), self._read_own()
            cpu_percent, cpu_percent_ours = self._cpu.update(cpu, own.cpu_s)
            gpus = self._lending.mark(self._probe.sample())
            lent = [card for card in gpus if card.is_lent]
            total_vram_mb, free_vram_mb = vram_totals_mb(gpus)
            self._latest = SystemStats(
                taken_at=self._now(),
                total_ram_mb=ram.total_mb if ram else None,
                free_ram_mb=ram.available_mb if ram else None,
                cpu_percent=cpu_percent,
                cpu_percent_ours=cpu_percent_ours,
                own_ram_mb=own.ram_mb,
                total_vram_mb=total_vram_mb,
                free_vram_mb=free_vram_mb,
                gpu_temperature=max(_measured(card.temperature_c for card in lent), default=None),
                gpu_utilisation_percent=max(_measured(card.utilisation_percent for card in lent), default=None),
                gpu_power_w=sum(powers) if (powers := _measured(card.power_w for card in lent)) else None,
                gpus=gpus,
                gpu_problem=self._probe.problem or self._lending.problem,
            )
            return self._latest

    def memory(self) -> MemorySample:
        """Only the memory, now; may be asked ten times a second. The processor's figures stay those of `collect`."""
        with self._lock:
            ram, gpus = self._host.ram(), self._lending.mark(self._probe.sample())
        return MemorySample(
            free_ram_mb=ram.available_mb if ram else None, free_vram_mb=vram_totals_mb(gpus)[1], gpus=gpus
        )

    def ram(self) -> RamReading | None:
        """Only the RAM, now: a tenth of a millisecond, and no driver is asked. None where it isn't measured."""
        return self._host.ram()

    async def run(self, interval_s: Callable[[], float], publish: Callable[[SystemStats], None]) -> None:
        """Sample every `interval_s()` seconds, off the loop, until cancelled; `publish` is called on the loop.

        A shorter interval is noticed within LOOK_AGAIN_S.
        Samples never overlap: a slow one delays the next. The probe's time limit (core/gpu/guard.py) keeps a hung
        driver from holding the worker thread, so RAM and processor figures go on.
        """
        while True:
            began = self._clock()
            publish(await asyncio.to_thread(self.collect))
            # Half a beat early is in time: what is looked at is looked at together (core/shared_beat.py).
            while (left_s := (whole_s := interval_s()) - (self._clock() - began)) > min(BEAT_S, whole_s) / 2:
                await self._sleep(min(left_s, LOOK_AGAIN_S))

    def close(self) -> None:
        """Release the drivers. May block for the probe's time limit."""
        with self._lock:
            self._probe.close()


class _CpuMeter:
    """Percentages from two readings. Never waits: a window that is too short repeats the last answer."""

    def __init__(self) -> None:
        self._base: tuple[CpuReading, float] | None = None
        self._answer: tuple[float | None, float | None] = (None, None)

    def update(self, cpu: CpuReading | None, own_cpu_s: float) -> tuple[float | None, float | None]:
        """(the machine's use, ours), each 0 to 100 over all cores; ours is None until there are two readings."""
        if cpu is None:
            return None, None
        if self._base is None:
            self._base = cpu, own_cpu_s
            self._answer = _percent(cpu.busy_s, cpu.total_s), None
            return self._answer
        before, own_before_s = self._base
        window_s = cpu.total_s - before.total_s
        if window_s >= _MIN_WINDOW_S:
            self._base = cpu, own_cpu_s
            self._answer = (
                _percent(cpu.busy_s - before.busy_s, window_s),
                _percent(own_cpu_s - own_before_s, window_s),
            )
        return self._answer


def vram_totals_mb(gpus: Iterable[GpuSample]) -> tuple[int | None, int | None]:
    """(total, free) over the lent cards whose memory is measured, (None, None) without any.

    A lost card counts for nothing. A unified one (system RAM by another name) counts only where no card has its own
    memory: beside a real card, engines don't use it.
    """
    sizes = [
        (card.is_unified, card.total_mb, card.free_mb)
        for card in gpus
        if card.total_mb is not None and card.free_mb is not None and not card.is_lost and card.is_lent
    ]
    chosen = [size for size in sizes if not size[0]] or sizes
    if not chosen:
        return None, None
    return sum(total for _, total, _ in chosen), sum(free for _, _, free in chosen)


def _open_probes() -> GpuProbe:
    from core.gpu.detect import open_probes  # off the import path of front ends, which only need SystemStats

    return open_probes()


def _percent(part: float, whole: float) -> float:
    return round(min(100.0, max(0.0, 100.0 * part / whole)), 1)


def _measured(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
