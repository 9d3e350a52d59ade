"""The owner of every probe: what is read when, what is told when, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from core.gpu import GpuProcess, GpuSample
from core.signals import NOT_ASKED, GpuUse, Power, ProcessorHeat, Signals, Unknown
from core.signals.guard import Guarded, ProbeThreads, guard_probe
from core.signals.processor_heat import SysfsHeat
from core.signals.watch import SignalWatch
from core.stats_collector import SystemStats
from tests.fakes.desktop_services import Login1, MutterIdle, NetworkManager, Served
from tests.fakes.manual_clock import ManualClock
from tests.fakes.polling import until
from tests.fakes.private_bus import PrivateBus, missing_bus

WANTED = {"idle_s", "power", "listed_apps"}


class FakeReader(Guarded[Any]):
    """Answers at once with `value`, and counts; it doesn't answer while it hangs."""

    def __init__(self, name: str, value: Any) -> None:
        super().__init__(name, f"The {name}", self._answer)
        self.value = value
        self.hangs = False
        self.reads = 0
        self.answer: asyncio.Future[Any] | None = None  # the last one

    def _answer(self) -> asyncio.Future[Any]:
        self.reads += 1
        self.answer = answer = asyncio.get_running_loop().create_future()
        if not self.hangs:
            answer.set_result(self.value)
        return answer


class House:
    """A watch over fake readers on a clock that a test moves."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.jitter_s = 0.0
        self.told: list[Signals] = []
        self.idle = FakeReader("idle_s", 10.0)
        self.power = FakeReader("power", Power(on_mains=True))
        self.apps = FakeReader("listed_apps", ())
        self.watch = SignalWatch(
            self.told.append,
            own_pids=lambda: (100,),
            environ={},
            readers=[self.idle, self.power, self.apps],
            monotonic=lambda: self.clock.monotonic() + self.jitter_s,
            wall=self.clock.wall,
            sleep=self.clock.sleep,
        )

    async def ticks(self, count: int) -> None:
        for _ in range(count):
            await until(lambda: bool(self.clock.sleeping))
            await self.clock.advance(1.0)
        await until(lambda: bool(self.clock.sleeping))


@asynccontextmanager
async def running(house: House) -> AsyncIterator[House]:
    task = asyncio.create_task(house.watch.run())
    try:
        await until(lambda: bool(house.clock.sleeping))
        yield house
    finally:
        task.cancel()
        await asyncio.wait([task])
        await house.watch.close()


async def test_a_first_look_tells_all_and_is_not_repeated_at_once() -> None:
    house = House()
    house.watch.want(WANTED)
    await house.watch.look()
    assert (house.told[-1].idle_s, house.told[-1].listed_apps) == (10.0, ())
    async with running(house):
        assert (house.idle.reads, house.apps.reads) == (1, 1)


async def test_each_is_read_at_its_own_pace() -> None:
    house = House()
    house.watch.want(WANTED)
    async with running(house):
        assert (house.idle.reads, house.apps.reads, house.power.reads) == (1, 1, 1)
        await house.ticks(20)
        assert (house.idle.reads, house.apps.reads, house.power.reads) == (21, 11, 11)
    assert house.watch.current == Signals(idle_s=10.0, power=Power(on_mains=True), listed_apps=())


async def test_what_no_rule_wants_is_read_for_who_asks_and_what_is_known_is_not_read_again() -> None:
    house = House()
    house.watch.want({"idle_s"})
    await house.watch.look()
    assert await house.watch.read_now("power") == Power(on_mains=True)
    assert house.watch.current.power == NOT_ASKED  # the rules hear nothing of it
    assert await house.watch.read_now("idle_s") == 10.0
    assert (house.idle.reads, house.power.reads) == (1, 1)
    assert await house.watch.read_now("is_metered") == NOT_ASKED  # no such probe here
    await house.watch.close()


async def test_the_processors_temperature_is_read_whatever_the_rules_want(tmp_path: Path) -> None:
    """It is shown to the owner also where its rule is off; through the real probe, its guard and its thread."""
    chip = tmp_path / "hwmon" / "hwmon0"
    chip.mkdir(parents=True)
    for name, text in {"name": "k10temp", "temp1_input": "91500", "temp1_label": "Tctl"}.items():
        (chip / name).write_text(f"{text}\n")
    threads = ProbeThreads()
    reader = guard_probe(SysfsHeat(tmp_path), threads, "The processor's sensor")
    watch = SignalWatch(lambda signals: None, environ={}, readers=[reader])
    watch.want(())
    await watch.look()
    assert watch.current.processor_heat == ProcessorHeat(celsius=91.5, mean_c=91.5, sensor="k10temp, Tctl")
    await watch.close()
    threads.close()


@pytest.mark.parametrize("system", ["win32", "darwin"])
async def test_a_system_that_does_not_tell_the_temperature_says_so(system: str) -> None:
    watch = SignalWatch(lambda signals: None, environ={}, system=system)
    await watch.look()
    assert isinstance(watch.current.processor_heat, Unknown)
    assert "how hot the processor is" in watch.current.processor_heat.cause
    await watch.close()


async def test_what_no_rule_wants_is_not_read_and_is_forgotten() -> None:
    house = House()
    async with running(house):
        await house.ticks(3)
        assert (house.idle.reads, house.power.reads) == (0, 0)
        house.watch.want(WANTED)
        await house.ticks(1)
        assert house.watch.current.power == Power(on_mains=True)
        house.watch.want({"idle_s"})
        await house.ticks(10)
        assert house.watch.current == Signals(idle_s=10.0)
        assert house.power.reads == 1
        house.watch.want(WANTED)
        await house.ticks(1)  # at the next tick, not five seconds later
        assert house.power.reads == 2


async def test_tick_that_comes_a_little_early_is_not_left_out() -> None:
    house = House()
    house.jitter_s = 0.01
    house.watch.want({"idle_s"})
    async with running(house):
        house.jitter_s = 0.0
        await house.ticks(1)
        assert house.idle.reads == 2


async def test_answer_that_nobody_wants_any_more_is_dropped() -> None:
    house = House()
    house.watch.want(WANTED)
    house.power.hangs = True
    task = asyncio.create_task(house.watch.run())
    await until(lambda: house.power.answer is not None)
    house.watch.want({"idle_s"})
    assert house.power.answer is not None
    house.power.answer.set_result(Power(on_mains=False))
    await until(lambda: bool(house.told))
    assert house.told == [Signals(idle_s=10.0)]
    task.cancel()
    await asyncio.wait([task])
    await house.watch.close()


async def test_change_is_told_once_a_tick_and_only_a_change() -> None:
    house = House()
    house.watch.want(WANTED)
    async with running(house):
        assert len(house.told) == 1
        await house.ticks(5)
        assert len(house.told) == 1
        house.idle.value, house.apps.value = 0.0, ("steam",)
        await house.ticks(2)
        assert [(told.idle_s, told.listed_apps) for told in house.told[1:]] in (
            [(0.0, ("steam",))],
            [(0.0, ()), (0.0, ("steam",))],  # programs are looked at each second tick
        )
        assert house.told[-1] is house.watch.current


async def test_probe_that_hangs_is_unknown_while_the_others_are_read() -> None:
    house = House()
    house.watch.want(WANTED)
    async with running(house):
        house.power.hangs = True
        await house.ticks(10)
        assert house.told[-1].power == Unknown("The power does not answer.")
        assert house.idle.reads == 11
        assert house.power.reads == 2


async def test_sample_of_the_machine_is_told_at_once() -> None:
    house = House()
    house.watch.want({"gpu_use_by_others"})
    game = GpuProcess(pid=7, name="game", utilisation_percent=60.0)
    card = GpuSample(uuid="GPU-a", name="A", total_mb=8_000, free_mb=3_000, temperature_c=70.0, processes=(game,))
    stats = SystemStats(total_ram_mb=16_000, free_ram_mb=9_000, cpu_percent=9.0, cpu_percent_ours=1.0, gpus=(card,))
    house.watch.take_stats(stats, 6.5)
    assert house.told == [
        Signals(
            gpu_use_by_others=GpuUse(percent=60.0, program="game"), gpu_temperature_c=70.0,
            gpu_power_w=Unknown("The graphics card doesn't tell how much power it takes."),
            free_vram_mb=3_000, total_vram_mb=8_000, free_ram_mb=9_000, total_ram_mb=16_000, cpu_percent_others=6.5,
        )
    ]  # fmt: skip
    house.watch.note_own_work()  # and our engine isn't among the card's programs
    house.watch.take_stats(stats, 6.5)
    assert isinstance(house.watch.current.gpu_use_by_others, Unknown)
    house.watch.want(())
    house.watch.take_stats(stats, 6.5)
    assert house.watch.current.gpu_use_by_others == NOT_ASKED
    await house.watch.close()


async def test_owners_own_engine_use_is_kept_as_it_was_told() -> None:
    house = House()
    house.watch.take_engine_use("llama3.1:8b")
    assert house.told == [Signals(engine_used_by_owner="llama3.1:8b")]
    house.watch.take_engine_use("")
    assert house.watch.current == Signals()
    await house.watch.close()


async def test_after_a_sleep_everything_is_read_anew() -> None:
    house = House()
    house.watch.want(WANTED)
    async with running(house):
        await house.ticks(2)
        reads = house.power.reads
        house.clock.suspend(3600.0)
        await house.ticks(1)
        assert house.power.reads == reads + 1
        await house.ticks(1)
        assert house.power.reads == reads + 1


@pytest.mark.skipif(missing_bus() != "", reason=missing_bus())
async def test_real_buses_tell_and_are_let_go() -> None:
    folder = Path(os.environ["XDG_RUNTIME_DIR"])
    (folder / "system").mkdir()
    mutter, manager, logind = MutterIdle(), NetworkManager(), Login1()
    mutter.idle_ms, manager.metered = 30_000, 1
    told: list[Signals] = []
    threads = threading.active_count()
    async with (
        PrivateBus(folder) as session,
        PrivateBus(folder / "system") as system,
        Served(session.address, mutter),
        Served(system.address, manager, logind),
    ):
        environ = {
            "DBUS_SESSION_BUS_ADDRESS": session.address,
            "DBUS_SYSTEM_BUS_ADDRESS": system.address,
            "WAYLAND_DISPLAY": "wayland-0",
        }
        watch = SignalWatch(told.append, environ=environ, system="linux")
        watch.want({"idle_s", "power", "full_screen", "listed_apps", "is_metered"})
        watch.use_apps(["a program that nobody has"])
        task = asyncio.create_task(watch.run())
        await until(lambda: bool(told))
        assert (watch.current.idle_s, watch.current.is_metered) == (30.0, True)
        assert isinstance(watch.current.power, Power)
        assert isinstance(watch.current.full_screen, Unknown)  # Wayland
        assert watch.current.listed_apps == ()
        mutter.idle_ms = 0
        await until(lambda: watch.current.idle_s == 0.0)
        logind.PrepareForSleep(True)
        await until(lambda: watch.current.is_going_to_sleep)
        logind.PrepareForSleep(False)
        await until(lambda: not watch.current.is_going_to_sleep)
        task.cancel()
        await asyncio.wait([task])
        await watch.close()
    await until(lambda: threading.active_count() == threads)


async def test_machine_without_desktop_and_buses_is_told_as_unknown_with_causes() -> None:
    watch = SignalWatch(lambda signals: None, environ={}, system="linux")
    watch.want({"idle_s", "full_screen", "is_metered"})
    task = asyncio.create_task(watch.run())
    await until(lambda: watch.current.idle_s != NOT_ASKED)
    current = watch.current
    assert current.idle_s == Unknown("No desktop session: nothing tells when mouse or keyboard were last used.")
    assert current.full_screen == Unknown("No desktop session was found. Nothing tells what fills the screen.")
    assert isinstance(current.is_metered, Unknown | bool)  # this machine may have NetworkManager
    assert current.is_going_to_sleep is False
    task.cancel()
    await asyncio.wait([task])
    await watch.close()


async def test_ram_between_two_samples_replaces_the_samples() -> None:
    house = House()
    house.watch.take_ram(16_000, 300)
    assert (house.watch.current.total_ram_mb, house.watch.current.free_ram_mb) == (16_000, 300)
