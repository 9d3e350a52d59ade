"""What other programs tell by D-Bus, over a real bus: idle time, the network, and sleep."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dbus_fast import Message

from core.signals import Unknown
from core.signals.bus import RETRY_S, Bus, BusProblem, NobodyThere, session_address, system_address
from core.signals.guard import Guarded, guard_bus_probe, read_all
from core.signals.idle import ZEROES_IN_A_ROW, BusIdle
from core.signals.metered import BusMetered
from core.signals.sleep import FORGET_S, SleepSignal
from tests.fakes.desktop_services import DAEMON, Login1, MutterIdle, NetworkManager, ScreenSaver, Served
from tests.fakes.fake_clock import FakeClock
from tests.fakes.polling import until, until_it_is
from tests.fakes.private_bus import PrivateBus, missing_bus

pytestmark = pytest.mark.skipif(missing_bus() != "", reason=missing_bus())

WAYLAND = {"WAYLAND_DISPLAY": "wayland-0", "DISPLAY": ":0"}


@pytest.fixture
async def private(isolated_home: Path) -> AsyncIterator[PrivateBus]:
    async with PrivateBus(short_folder()) as bus:
        yield bus


def short_folder() -> Path:
    """conftest.py's: a unix socket's path has at most 107 bytes."""
    return Path(os.environ["XDG_RUNTIME_DIR"])


async def read(reader: Guarded[float]) -> float | Unknown:
    return (await read_all([reader], 0.05))[reader.name]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(100.0)


@pytest.fixture
async def bus(private: PrivateBus, clock: FakeClock) -> AsyncIterator[Bus]:
    bus = Bus("session", private.address, clock=clock)
    yield bus
    await bus.close()


async def test_idle_time_is_mutters_where_there_is_mutter(private: PrivateBus, bus: Bus) -> None:
    mutter, saver = MutterIdle(), ScreenSaver()
    mutter.idle_ms, saver.idle_ms = 5_000_000_000, 7_000  # more than 32 bits of milliseconds
    idle = BusIdle(bus, WAYLAND)
    async with Served(private.address, mutter, saver):
        assert await idle.read() == 5_000_000.0
        mutter.idle_ms = 40
        assert await idle.read() == 0.04


async def test_idle_time_is_the_screen_savers_elsewhere_and_follows_the_desktop(private: PrivateBus, bus: Bus) -> None:
    saver = ScreenSaver()
    saver.idle_ms = 61_500
    idle = BusIdle(bus, WAYLAND)
    async with Served(private.address, saver):
        assert await idle.read() == 61.5
    async with Served(private.address, MutterIdle()):
        await until_it_is(idle.read, 0.0)
    not_told = Unknown("This desktop doesn't tell when mouse or keyboard were last used.")
    await until_it_is(idle.read, not_told)


async def test_screen_saver_that_always_says_zero_is_not_believed(private: PrivateBus, bus: Bus) -> None:
    """Plasma on Wayland: an agent there would never serve, and would say that the owner is at the keyboard."""
    saver = ScreenSaver()
    idle = BusIdle(bus, WAYLAND)
    async with Served(private.address, saver):
        told = [await idle.read() for _ in range(ZEROES_IN_A_ROW)]
        assert told[:-1] == [0.0] * (ZEROES_IN_A_ROW - 1)
        assert told[-1] == Unknown("This desktop doesn't tell when mouse or keyboard were last used.")
        saver.idle_ms = 12
        assert await idle.read() == 0.012
        saver.idle_ms = 0
        assert await idle.read() == 0.0


@pytest.mark.parametrize(
    ("environ", "cause"),
    [
        ({}, "No desktop session: nothing tells when mouse or keyboard were last used."),
        (WAYLAND, "This desktop doesn't tell when mouse or keyboard were last used."),
        (
            {"DISPLAY": "far:0"},
            "The display far:0 is on another machine. So nothing tells when its mouse or keyboard were last used.",
        ),
    ],
)
async def test_desktop_without_idle_time_is_unknown_with_its_cause(
    private: PrivateBus, bus: Bus, environ: dict[str, str], cause: str
) -> None:
    assert await BusIdle(bus, environ).read() == Unknown(cause)


async def test_service_that_hangs_does_not_answer_until_it_is_back(private: PrivateBus, bus: Bus) -> None:
    saver = ScreenSaver()
    saver.idle_ms, saver.hold = 9_000, asyncio.Event()
    reader = guard_bus_probe(BusIdle(bus, WAYLAND), "The desktop")
    async with Served(private.address, saver):
        assert await read(reader) == Unknown("The desktop does not answer.")
        saver.hold.set()
        await until_it_is(lambda: read(reader), 9.0)


async def test_bus_that_hangs_does_not_answer_until_it_is_back(private: PrivateBus, bus: Bus) -> None:
    mutter = MutterIdle()
    mutter.idle_ms = 9_000
    reader = guard_bus_probe(BusIdle(bus, WAYLAND), "The desktop")
    async with Served(private.address, mutter):
        private.hang()
        assert await read(reader) == Unknown("The desktop does not answer.")
        private.go_on()
        await until_it_is(lambda: read(reader), 9.0)
        private.hang()  # now over a connection that is there
        assert await read(reader) == Unknown("The desktop does not answer.")
        private.go_on()
        await until_it_is(lambda: read(reader), 9.0)


async def test_bus_that_ended_is_looked_for_again_at_a_slow_pace(
    private: PrivateBus, bus: Bus, clock: FakeClock
) -> None:
    idle = BusIdle(bus, WAYLAND)
    mutter = MutterIdle()
    async with Served(private.address, mutter):
        assert await idle.read() == 0.0
        await private.end()
    away = Unknown("When mouse or keyboard were last used isn't known: the session bus can't be reached.")
    await until_it_is(idle.read, away)
    async with PrivateBus(short_folder()) as second, Served(second.address, MutterIdle()):
        assert await idle.read() == away  # not yet looked for
        clock.now += RETRY_S
        assert await idle.read() == 0.0
        await bus.close()


async def test_call_that_waits_when_the_bus_ends_is_told(private: PrivateBus, bus: Bus) -> None:
    saver = ScreenSaver()
    saver.hold = asyncio.Event()
    async with Served(private.address, saver):
        call = asyncio.create_task(bus.call(saver.bus_name, saver.path, saver.bus_name, "GetSessionIdleTime"))
        await until(lambda: bus._bus is not None)
        await private.end()
        with pytest.raises(BusProblem, match="the session bus is away"):
            await call
        saver.hold.set()


async def test_machine_without_a_bus_has_nobody_there() -> None:
    with pytest.raises(NobodyThere, match="there is no session bus"):
        await Bus("session", "").call("org.example", "/", "org.example", "Anything")


@pytest.mark.parametrize("address", ["unix:path=/nowhere/bus", "nonsense", "unix:", "tcp:host=127.0.0.1,port=1"])
async def test_address_that_leads_nowhere_is_a_problem_and_no_crash(address: str) -> None:
    with pytest.raises(BusProblem, match="the session bus can't be reached"):
        await Bus("session", address).call("org.example", "/", "org.example", "Anything")


def test_addresses_are_the_environments_else_the_usual_sockets(tmp_path: Path) -> None:
    assert session_address({"DBUS_SESSION_BUS_ADDRESS": "unix:path=/a"}) == "unix:path=/a"
    assert session_address({"XDG_RUNTIME_DIR": str(tmp_path)}) == ""
    (tmp_path / "bus").touch()
    assert session_address({"XDG_RUNTIME_DIR": str(tmp_path)}) == f"unix:path={tmp_path}/bus"
    assert session_address({}) == ""
    assert system_address({"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/b"}) == "unix:path=/b"


@pytest.mark.parametrize(("value", "is_metered"), [(1, True), (2, False), (3, True), (4, False)])
async def test_network_is_as_network_manager_says(private: PrivateBus, bus: Bus, value: int, is_metered: bool) -> None:
    manager = NetworkManager()
    manager.metered = value
    async with Served(private.address, manager):
        assert await BusMetered(bus).read() is is_metered


async def test_network_that_network_manager_cannot_tell_is_unknown(private: PrivateBus, bus: Bus) -> None:
    metered = BusMetered(bus)
    assert await metered.read() == Unknown("Without NetworkManager nothing tells whether this network is metered.")
    async with Served(private.address, NetworkManager()):  # 0: unknown
        assert await metered.read() == Unknown("NetworkManager can't tell whether this network is metered.")


async def test_no_network_at_all_is_nothing_that_was_lost(private: PrivateBus, bus: Bus) -> None:
    manager = NetworkManager()
    manager.connection = "/"
    async with Served(private.address, manager):
        assert await BusMetered(bus).read() == Unknown("No network is connected.", is_no_loss=True)


async def test_sleep_is_heard_the_moment_that_logind_says_so(private: PrivateBus, bus: Bus, clock: FakeClock) -> None:
    heard: list[bool] = []
    sleeping = SleepSignal(bus, heard.append, clock=clock)
    logind = Login1()
    async with Served(private.address, logind):
        assert await sleeping.read() is False
        logind.PrepareForSleep(True)
        await until(lambda: heard == [True])
        assert await sleeping.read() is True
        logind.PrepareForSleep(False)
        await until(lambda: heard == [True, False])
        assert await sleeping.read() is False


async def test_sleep_is_heard_over_a_connection_that_something_else_uses(
    private: PrivateBus, bus: Bus, clock: FakeClock
) -> None:
    heard: list[bool] = []
    sleeping = SleepSignal(bus, heard.append, clock=clock)
    logind = Login1()
    async with Served(private.address, logind, NetworkManager()):
        await BusMetered(bus).read()
        await sleeping.read()
        await sleeping.read()  # listens once
        logind.PrepareForSleep(True)
        await until(lambda: bool(heard))
        logind.PrepareForSleep(False)
        await until(lambda: heard[-1] is False)
        assert heard == [True, False]


async def test_program_that_does_not_run_is_not_started_by_asking(isolated_home: Path) -> None:
    folder = short_folder()
    services = folder / "data" / "dbus-1" / "services"
    services.mkdir(parents=True)
    started = folder / "started"
    name = MutterIdle.bus_name
    (services / f"{name}.service").write_text(
        f"[D-BUS Service]\nName={name}\nExec={shutil.which('touch')} {started}\n", encoding="ascii"
    )
    async with PrivateBus(folder) as private:
        bus = Bus("session", private.address)
        with pytest.raises(NobodyThere):
            await bus.call(name, MutterIdle.path, name, "GetIdletime")
        await bus.close()
        async with Served(private.address) as other:
            activatable = await other.bus.call(
                Message(destination=DAEMON, path="/", interface=DAEMON, member="ListActivatableNames")
            )
        assert name in activatable.body[0]  # else this shows nothing
        assert not started.exists()


async def test_sleep_that_nobody_took_back_is_forgotten(private: PrivateBus, bus: Bus, clock: FakeClock) -> None:
    heard: list[bool] = []
    sleeping = SleepSignal(bus, heard.append, clock=clock)
    logind = Login1()
    async with Served(private.address, logind):
        await sleeping.read()
        logind.PrepareForSleep(True)
        await until(lambda: heard == [True])
        clock.now += FORGET_S
        assert await sleeping.read() is False
        logind.PrepareForSleep(True)
        await until(lambda: heard == [True, True])
        sleeping.woke_up()
        assert await sleeping.read() is False
        assert heard == [True, True, False]


async def test_sleep_is_heard_again_over_a_new_connection(private: PrivateBus, bus: Bus, clock: FakeClock) -> None:
    heard: list[bool] = []
    sleeping = SleepSignal(bus, heard.append, clock=clock)
    async with Served(private.address, Login1()):
        await sleeping.read()
        await private.end()
    await until_it_is(
        sleeping.read, Unknown("The system can't tell before it sleeps: the session bus can't be reached.")
    )
    clock.now += RETRY_S
    logind = Login1()
    async with PrivateBus(short_folder()) as second, Served(second.address, logind):
        assert await sleeping.read() is False
        logind.PrepareForSleep(True)
        await until(lambda: heard == [True])
        await bus.close()


async def test_sleep_that_another_program_claims_is_not_believed(
    private: PrivateBus, bus: Bus, clock: FakeClock
) -> None:
    """Any user may send anybody a signal, and could keep the agent from serving."""
    heard: list[bool] = []
    sleeping = SleepSignal(bus, heard.append, clock=clock)
    logind = Login1()
    async with Served(private.address, logind):
        await sleeping.read()
        assert bus._bus is not None
        assert bus._bus.unique_name is not None
        async with Served(private.address) as stranger:
            await stranger.say_to(bus._bus.unique_name, going_to_sleep=True)
            false_one = Login1()
            stranger.bus.export(Login1.path, false_one)
            false_one.PrepareForSleep(True)  # to everybody, but not by the name of logind
            await stranger.sent()
        logind.PrepareForSleep(False)  # comes after the false ones
        await until(lambda: bool(heard))
        assert heard == [False]
