"""The one owner of every probe: reads each at its own pace, and keeps what they said as one frozen value."""

from __future__ import annotations

import inspect
import os
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, cast

from core.gpu.drm_programs import DrmPrograms
from core.logs import get_logger
from core.shared_beat import sleep_to_beat
from core.signals import NOT_ASKED, BusProbe, SignalProbe, Signals
from core.signals.bus import Bus, session_address, system_address
from core.signals.full_screen import full_screen_probe
from core.signals.gpu_use import GpuUseByOthers
from core.signals.guard import Guarded, ProbeThreads, guard_bus_probe, guard_probe, read_all
from core.signals.idle import idle_probe
from core.signals.machine import machine_signals
from core.signals.metered import metered_probe
from core.signals.power import power_probe
from core.signals.processes import ListedApps
from core.signals.processor_heat import processor_heat_probe
from core.signals.sleep import SleepSignal
from core.signals.windows_gpu import WindowsGpuUse
from core.stats_collector import SystemStats
from core.wake_watch import ClockReading, slept_s

log = get_logger(__name__)

TICK_S = 1.0
# How often each is read, seconds. The rest comes with each sample of the machine.
INTERVALS_S: Mapping[str, float] = {
    "idle_s": 1.0,
    "full_screen": 2.0,
    "listed_apps": 2.0,
    "gpu_use_by_others": 2.0,  # Windows; elsewhere it comes with the sample
    "gpu_programs": 2.0,  # Linux: who uses AMD's and Intel's cards, which no sample tells
    "processor_heat": 2.0,
    "power": 2.0,  # with the others: a wake-up of its own costs more than the reading
    "is_metered": 10.0,
    "is_going_to_sleep": 10.0,  # to listen again when the bus broke: logind tells of itself
}
# Wanted whatever the rules look at; the processor's temperature is shown to the owner also where its rule is off.
_ALWAYS = frozenset({"is_going_to_sleep", "processor_heat"})
Reader = Guarded[Any]


class SignalWatch:
    """Everything that the rules look at. All methods are called on the loop.

    Fields of `Signals` that cost something to know, and that nobody wants, stay NOT_ASKED and are not read.
    """

    def __init__(
        self,
        on_change: Callable[[Signals], None],
        *,
        own_pids: Callable[[], Collection[int]] = tuple,
        environ: Mapping[str, str] = os.environ,
        system: str = sys.platform,
        readers: Iterable[Reader] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = sleep_to_beat,
    ) -> None:
        """`own_pids` gives our engine's processes, at once (core/engine_processes.EngineProcesses.known).

        `on_change` gets the new value, at most once a tick and with each sample, and at once when the machine is about
        to sleep. `readers` replaces every probe of this machine in tests.
        """
        self._on_change = on_change
        self._own_pids = own_pids
        self._monotonic = monotonic
        self._wall = wall
        self._sleep = sleep
        self._wanted = _ALWAYS
        self._values: dict[str, Any] = {}
        self._current = Signals()
        self._due: dict[str, float] = {}
        self._threads = ProbeThreads()
        self._session = Bus("session", session_address(environ), clock=monotonic)
        self._system_bus = Bus("system", system_address(environ), clock=monotonic)
        self._apps = ListedApps(own_pids)
        self._sleeping = SleepSignal(self._system_bus, self._on_sleep, clock=monotonic)
        self._gpu_use = GpuUseByOthers(monotonic)
        self._closers: list[tuple[Reader, Callable[[], None]]] = []
        self._readers = list(self._open(environ, system) if readers is None else readers)

    @property
    def current(self) -> Signals:
        return self._current

    def want(self, names: Collection[str]) -> None:
        """Fields of `Signals` that a rule looks at. A new one is read at the next tick, one left out is forgotten."""
        wanted = frozenset(names) | _ALWAYS
        if "gpu_use_by_others" in wanted:
            wanted |= {"gpu_programs"}
        for name in self._wanted - wanted:
            self._values.pop(name, None)
        for name in wanted - self._wanted:
            self._due.pop(name, None)
        self._wanted = wanted

    def use_apps(self, lines: Iterable[str]) -> None:
        """The owner's list: programs by name, file or folder (core/signals/processes.py)."""
        self._apps.use_list(lines)
        self._due.pop(self._apps.name, None)

    def take_stats(self, stats: SystemStats, cpu_percent_others: float) -> None:
        """A sample of the machine, as core/stats_collector.py took it, and the smoothed use by others."""
        own_pids = self._own_pids()
        self._values |= machine_signals(stats, own_pids, cpu_percent_others)
        name = "gpu_use_by_others"
        if name in self._wanted and all(reader.name != name for reader in self._readers):
            self._values[name] = self._gpu_use.read(stats, own_pids)
        self._publish()

    def take_ram(self, total_mb: int, free_mb: int) -> None:
        """The RAM between two samples: MiB that this machine, or its container, has and has free."""
        self._values |= {"total_ram_mb": total_mb, "free_ram_mb": free_mb}
        self._publish()

    def note_own_work(self) -> None:
        """Our engine computes on a card, or did until now: said at a session's start and end, and with each sample."""
        self._gpu_use.note_own_work()

    def take_engine_use(self, model: str) -> None:
        """A model that the owner's own work keeps in the shared engine; "" when there is none."""
        self._values["engine_used_by_owner"] = model
        self._publish()

    async def look(self) -> None:
        """Read what is wanted once, now: before `run`. Takes a second at most (core/signals/guard.py)."""
        await self._read_due()
        self._publish()

    async def read_now(self, name: str) -> object:
        """One field of `Signals` for who asks once, whether or not a rule looks at it. Takes a second at most."""
        if name in self._wanted and name in self._values:
            return self._values[name]
        return (await read_all([reader for reader in self._readers if reader.name == name])).get(name, NOT_ASKED)

    async def run(self) -> None:
        """Read what is wanted, each at its pace, until cancelled."""
        before = self._clocks()
        while True:
            await self._read_due()
            self._publish()
            passed_s = self._monotonic() - before.monotonic_s
            await self._sleep(max(0.0, TICK_S - passed_s))
            after = self._clocks()
            slept = slept_s(before, after, tick_s=TICK_S)
            before = after
            if slept:
                self._woke_up()

    async def close(self) -> None:
        """Let go of everything but a probe that hangs, which ends with the process."""
        for reader, close in self._closers:
            if not reader.is_hanging:
                close()
        for reader in self._readers:
            await reader.close()
        self._threads.close()
        await self._session.close()
        await self._system_bus.close()

    def _open(self, environ: Mapping[str, str], system: str) -> Iterable[Reader]:
        """The probes that fit this machine. Nothing is read, loaded or connected yet."""
        yield self._guard(idle_probe(self._session, environ, system=system), "The desktop")
        yield self._guard(full_screen_probe(environ, system=system), "The desktop")
        yield self._guard(self._apps, "The list of programs")
        yield self._guard(power_probe(system=system), "The battery")
        yield self._guard(processor_heat_probe(system=system), "The processor's sensor")
        yield self._guard(metered_probe(self._system_bus, system=system), "The network's manager")
        yield self._guard(self._sleeping, "The system's login service")
        if system.startswith("linux"):
            yield self._guard(DrmPrograms(), "The list of programs on the graphics card")
        if system == "win32":
            yield self._guard(WindowsGpuUse(self._own_pids), "The list of programs on the graphics card")

    def _guard(self, probe: SignalProbe[Any] | BusProbe[Any], about: str) -> Reader:
        if inspect.iscoroutinefunction(probe.read):
            return guard_bus_probe(cast("BusProbe[Any]", probe), about)
        blocking = cast("SignalProbe[Any]", probe)
        reader = guard_probe(blocking, self._threads, about)
        self._closers.append((reader, blocking.close))
        return reader

    async def _read_due(self) -> None:
        now = self._monotonic()
        due = [
            reader
            for reader in self._readers
            if reader.name in self._wanted
            and now >= self._due.get(reader.name, float("-inf"))
            and (reader.name != "gpu_programs" or self._gpu_use.needs_programs)
        ]
        for reader in due:
            # A little early rather than a whole tick late.
            self._due[reader.name] = now + INTERVALS_S[reader.name] - TICK_S / 2
        for name, value in (await read_all(due)).items():
            if name == "gpu_programs":  # no signal by itself: it counts with the next sample
                self._gpu_use.take_programs(value)
            elif name in self._wanted:  # it may have been left out meanwhile
                self._values[name] = value

    def _on_sleep(self, is_going: bool) -> None:
        if is_going is not self._current.is_going_to_sleep:
            log.info("the machine is going to sleep" if is_going else "the machine is awake")
        self._values["is_going_to_sleep"] = is_going
        self._publish()

    def _woke_up(self) -> None:
        self._due.clear()  # nothing that was read before holds now
        self._sleeping.woke_up()

    def _publish(self) -> None:
        values = dict(self._values)
        values["is_going_to_sleep"] = values.get("is_going_to_sleep") is True  # what can't be told is no refusal
        updated = Signals(**values)
        if updated != self._current:
            self._current = updated
            self._on_change(updated)

    def _clocks(self) -> ClockReading:
        return ClockReading(wall_s=self._wall(), monotonic_s=self._monotonic())
