"""The machine stays awake while a session runs on mains, and not a moment longer; nothing is held while paused."""

from __future__ import annotations

import asyncio
import ctypes
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from core import keep_awake
from core.keep_awake import (
    Inhibitor,
    KeepAwake,
    LogindInhibitor,
    MacInhibitor,
    NoInhibitor,
    NotHeld,
    WindowsInhibitor,
    open_inhibitor,
)
from core.signals import Power, Unknown
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.private_bus import PrivateBus, missing_bus
from tests.fakes.sleep_inhibitors import Inhibitors
from tests.fakes.small_agent import small_agent

needs_bus = pytest.mark.skipif(bool(missing_bus()), reason=missing_bus())


class FakeInhibitor:
    def __init__(self) -> None:
        self.is_held = False
        self.holds = 0
        self.problem = ""
        self.gate: asyncio.Event | None = None

    async def hold(self) -> None:
        self.holds += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.problem:
            raise NotHeld(self.problem)
        self.is_held = True

    def release(self) -> None:
        self.is_held = False


class Awake:
    def __init__(self, inhibitor: Inhibitor | None = None) -> None:
        self.fake = FakeInhibitor()
        self.power: Power | Unknown = Power(on_mains=True)
        self.looked = 0
        self.keeper = KeepAwake(inhibitor or self.fake, self._read)

    def _read(self) -> Power | Unknown:
        self.looked += 1
        return self.power


async def soon(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_true():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_held_while_wanted_and_released_at_once() -> None:
    awake = Awake()
    awake.keeper.want(True)
    await soon(lambda: awake.fake.is_held)
    awake.keeper.want(True)
    awake.keeper.want(False)
    assert not awake.fake.is_held
    await awake.keeper.close()
    assert awake.fake.holds == 1


@pytest.mark.parametrize("power", [Power(on_mains=False, battery_percent=80.0), Unknown("It doesn't say.")])
async def test_never_on_battery_nor_where_that_cannot_be_told(power: Power | Unknown) -> None:
    awake = Awake()
    awake.power = power
    awake.keeper.want(True)
    await soon(lambda: awake.looked == 1)
    await asyncio.sleep(0)
    await awake.keeper.close()
    assert awake.fake.holds == 0


async def test_unplugged_lets_it_sleep_and_plugged_in_keeps_it_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep_awake, "POWER_INTERVAL_S", 0.001)
    awake = Awake()
    awake.keeper.want(True)
    await soon(lambda: awake.fake.is_held)
    awake.power = Power(on_mains=False)
    await soon(lambda: not awake.fake.is_held)
    awake.power = Power(on_mains=True)
    await soon(lambda: awake.fake.is_held)
    await awake.keeper.close()
    assert not awake.fake.is_held


async def test_session_that_ended_while_it_was_asked_for_leaves_nothing_held() -> None:
    awake = Awake()
    awake.fake.gate = asyncio.Event()
    awake.keeper.want(True)
    await soon(lambda: awake.fake.holds == 1)
    awake.keeper.want(False)
    awake.fake.gate.set()
    async with asyncio.timeout(keep_awake.POWER_INTERVAL_S / 2):
        await awake.keeper.close()
    assert not awake.fake.is_held


async def test_next_session_right_after_is_held_too() -> None:
    awake = Awake()
    for _ in range(3):
        awake.keeper.want(True)
        await soon(lambda: awake.fake.is_held)
        awake.keeper.want(False)
        assert not awake.fake.is_held
    await awake.keeper.close()


async def test_system_that_refuses_is_asked_again_only_with_the_next_session(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    awake = Awake()
    awake.fake.problem = "it is not allowed"
    for session in (1, 2):
        awake.keeper.want(True)
        await soon(lambda: awake.keeper._task is None)
        awake.keeper.want(False)
        assert awake.fake.holds == session
    assert caplog.text.count("may fall asleep") == 1
    await awake.keeper.close()


# Linux


@pytest.fixture
async def logind(tmp_path: Path) -> AsyncIterator[Inhibitors]:
    async with PrivateBus(tmp_path) as bus, Inhibitors(bus.address) as logind:
        yield logind


@needs_bus
async def test_logind_is_asked_for_no_more_than_being_awake(logind: Inhibitors) -> None:
    awake = Awake(LogindInhibitor(logind._address))
    awake.keeper.want(True)
    await logind.until(1)
    assert logind.held == [("idle", "TitanCompute", "Answering a session of the network", "block")]
    await soon(lambda: awake.keeper.is_held)
    awake.keeper.want(False)
    await logind.until(0)
    await awake.keeper.close()


@needs_bus
async def test_logind_drops_it_when_the_program_dies(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from core.keep_awake import LogindInhibitor\n"
        "async def main():\n"
        "    await LogindInhibitor(sys.argv[1]).hold()\n"
        "    print('held', flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    async with PrivateBus(tmp_path) as bus, Inhibitors(bus.address) as logind:
        program = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, bus.address, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
        )
        assert program.stdout is not None
        async with asyncio.timeout(20):
            assert await program.stdout.readline() == b"held\n"
        assert len(logind.held) == 1
        program.kill()
        await logind.until(0)
        await program.communicate()


@needs_bus
async def test_logind_that_refuses_hangs_or_is_not_there_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with PrivateBus(tmp_path) as bus:
        with pytest.raises(NotHeld, match=r"logind answers with org\.freedesktop\.DBus\.Error"):
            await LogindInhibitor(bus.address).hold()
        async with Inhibitors(bus.address) as logind:
            logind.refuses = True
            with pytest.raises(NotHeld, match="AccessDenied"):
                await LogindInhibitor(bus.address).hold()
        monkeypatch.setattr(keep_awake, "ASK_LIMIT_S", 0.05)
        bus.hang()
        with pytest.raises(NotHeld, match="does not answer"):
            await LogindInhibitor(bus.address).hold()
        bus.go_on()
    with pytest.raises(NotHeld, match="can't be reached"):
        await LogindInhibitor(bus.address).hold()
    with pytest.raises(NotHeld, match="no system bus"):
        await LogindInhibitor("").hold()


# The others


class Kernel32:
    def __init__(self, *, refuses: bool = False) -> None:
        self.states: list[int] = []
        self.refuses = refuses

    def SetThreadExecutionState(self, state: int) -> int:
        self.states.append(state)
        return 0 if self.refuses else 0x80000000


async def test_windows_holds_the_system_and_not_the_display() -> None:
    kernel32 = Kernel32()
    inhibitor = WindowsInhibitor(kernel32)
    await inhibitor.hold()
    inhibitor.release()
    assert kernel32.states == [0x80000001, 0x80000000]
    with pytest.raises(NotHeld):
        await WindowsInhibitor(Kernel32(refuses=True)).hold()


class Foundation:
    def __init__(self) -> None:
        self.strings: list[bytes] = []
        self.released: list[Any] = []

    def CFStringCreateWithCString(self, allocator: None, text: bytes, encoding: int) -> int:
        assert (allocator, encoding) == (None, 0x08000100)
        self.strings.append(text)
        return len(self.strings)

    def CFRelease(self, word: int) -> None:
        self.released.append(word)


class IOKit:
    def __init__(self, status: int = 0) -> None:
        self.status = status
        self.held: list[int] = []

    def IOPMAssertionCreateWithName(self, kind: int, level: int, name: int, assertion: Any) -> int:
        assert (kind, level, name) == (1, 255, 2)
        if not self.status:
            ctypes.cast(assertion, ctypes.POINTER(ctypes.c_uint32))[0] = 77
            self.held.append(77)
        return self.status

    def IOPMAssertionRelease(self, assertion: int) -> None:
        self.held.remove(assertion)


async def test_macos_makes_one_assertion_and_takes_it_back() -> None:
    iokit, foundation = IOKit(), Foundation()
    inhibitor = MacInhibitor(lambda: (iokit, foundation))
    await inhibitor.hold()
    await inhibitor.hold()
    assert iokit.held == [77]
    assert foundation.strings[0] == b"PreventUserIdleSystemSleep"
    assert foundation.released == [1, 2]
    inhibitor.release()
    inhibitor.release()
    assert iokit.held == []


def no_libraries() -> tuple[Any, Any]:
    raise OSError("not found")


async def test_macos_that_refuses_says_so() -> None:
    with pytest.raises(NotHeld, match="IOKit answers with -5"):
        await MacInhibitor(lambda: (IOKit(-5), Foundation())).hold()
    with pytest.raises(NotHeld, match="not there"):
        await MacInhibitor(no_libraries).hold()


@pytest.mark.parametrize(
    ("system", "kind"),
    [("linux", LogindInhibitor), ("win32", WindowsInhibitor), ("darwin", MacInhibitor), ("freebsd14", NoInhibitor)],
)
async def test_each_system_has_its_own_way(system: str, kind: type[Inhibitor]) -> None:
    inhibitor = open_inhibitor(system)
    assert isinstance(inhibitor, kind)
    if kind is NoInhibitor:
        with pytest.raises(NotHeld):
            await inhibitor.hold()
        inhibitor.release()


# In the real agent


async def test_agent_holds_only_while_a_session_runs_and_lets_go_when_paused() -> None:
    async with small_agent(FakeEngine(models=("tiny",)), {"supported_models": ("tiny",)}) as agent:
        fake = FakeInhibitor()
        agent.owner_side.awake = KeepAwake(fake, lambda: Power(on_mains=True))
        async with agent.admission.slot(model="tiny", client="c", job_id="j", spend=lambda: None):
            agent.owner_side.keep_awake_if_serving()
            await soon(lambda: fake.is_held)
            agent.owner.pause()
            assert not fake.is_held
            agent.owner_side.keep_awake_if_serving()
            assert not fake.is_held
            agent.owner.resume()
            await soon(lambda: not agent.reasons.is_blocked)
            agent.owner_side.keep_awake_if_serving()
            await soon(lambda: fake.is_held)
        assert not fake.is_held
        agent.settings = type(agent.settings)(keep_awake=False)
        async with agent.admission.slot(model="tiny", client="c", job_id="k", spend=lambda: None):
            agent.owner_side.keep_awake_if_serving()
            assert fake.holds == 2
        await agent.owner_side.awake.close()
