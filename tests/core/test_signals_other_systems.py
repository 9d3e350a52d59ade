"""Windows and macOS by doubles of their system libraries: the arithmetic and the answers, not the systems."""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from core.signals import FullScreen, Unknown
from core.signals.bus import Bus
from core.signals.full_screen import WindowsFullScreen, full_screen_probe
from core.signals.idle import MacIdle, WindowsIdle, idle_probe
from core.signals.mac_network import MacMetered
from core.signals.metered import BusMetered, metered_probe
from core.signals.not_told import NotTold
from core.signals.watch import SignalWatch
from core.signals.windows_network import WindowsMetered


class User32:
    """user32.dll: the last input's tick, and the window in front's process."""

    def __init__(self, *, last_ms: int = 0, pid: int = 0, answers: bool = True) -> None:
        self.last_ms, self.pid, self.answers = last_ms, pid, answers
        self.GetForegroundWindow = _Function(lambda: 0x7FFF_FFFF_0000_0001)

    def GetLastInputInfo(self, info: Any) -> int:
        info._obj.tick_ms = self.last_ms
        assert info._obj.size == 8
        return int(self.answers)

    def GetWindowThreadProcessId(self, window: Any, pid: Any) -> int:
        assert window.value == 0x7FFF_FFFF_0000_0001  # a handle has 64 bits
        pid._obj.value = self.pid
        return 1


class _Function:
    """A function of a library, on which ctypes' types are set."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)


@pytest.mark.parametrize(
    ("last_ms", "now_ms", "idle_s"),
    [(1_000, 61_500, 60.5), (5, 5, 0.0), (0xFFFF_FF00, 0x100, 0.512)],  # the count turns over after 49.7 days
)
def test_windows_counts_since_the_last_input(last_ms: int, now_ms: int, idle_s: float) -> None:
    kernel32 = SimpleNamespace(GetTickCount=lambda: now_ms)
    assert WindowsIdle(User32(last_ms=last_ms), kernel32).read() == idle_s


def test_windows_that_does_not_count_is_unknown() -> None:
    kernel32 = SimpleNamespace(GetTickCount=lambda: 0)
    assert isinstance(WindowsIdle(User32(answers=False), kernel32).read(), Unknown)


@pytest.mark.parametrize(("told", "expected"), [(12.25, 12.25), (0.0, 0.0)])
def test_mac_counts_since_the_last_input(told: float, expected: float) -> None:
    asked: list[tuple[int, int]] = []

    def ask(state: int, kind: int) -> float:
        asked.append((state, kind))
        return told

    framework = SimpleNamespace(CGEventSourceSecondsSinceLastEventType=_Function(ask))
    assert MacIdle(framework).read() == expected
    assert asked == [(1, 0xFFFF_FFFF)]


def full_screen(state: int, *, pid: int = 7, result: int = 0) -> FullScreen | Unknown:
    def ask(answer: Any) -> int:
        answer._obj.value = state
        return result

    libraries = {"shell32": SimpleNamespace(SHQueryUserNotificationState=ask), "user32": User32(pid=pid)}
    return WindowsFullScreen(libraries.__getitem__, lambda pid: f"p{pid}").read()


@pytest.mark.parametrize("state", [2, 3, 4])
def test_windows_names_the_program_that_fills_the_screen(state: int) -> None:
    assert full_screen(state) == FullScreen(is_on=True, program="p7")
    assert full_screen(state, pid=0) == FullScreen(is_on=True)
    assert full_screen(state, pid=os.getpid()) == FullScreen(is_on=False)  # our own window


@pytest.mark.parametrize("state", [1, 5, 6, 7])
def test_windows_with_an_ordinary_screen_says_so(state: int) -> None:
    assert full_screen(state) == FullScreen(is_on=False)


def test_windows_that_does_not_tell_is_unknown() -> None:
    assert isinstance(full_screen(2, result=-1), Unknown)


class CostManager:
    """ole32.dll with a network list manager whose GetCost answers `cost`; counts what is held."""

    def __init__(self, cost: int, *, refuses: str = "") -> None:
        self.cost, self.refuses = cost, refuses
        self.initialised = self.held = 0
        get_cost = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint32), ctypes.c_void_p)
        release = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)
        self._functions = (release(self._release), get_cost(self._get_cost))  # kept alive
        addresses = [ctypes.cast(function, ctypes.c_void_p).value for function in self._functions]
        self._table = (ctypes.c_void_p * 4)(None, None, *addresses)
        self._instance = ctypes.c_void_p(ctypes.addressof(self._table))

    def CoInitializeEx(self, reserved: None, kind: int) -> int:
        if self.refuses == "initialise":
            return -2147417850  # RPC_E_CHANGED_MODE
        self.initialised += 1
        return 1  # S_FALSE: this thread had it already

    def CoUninitialize(self) -> None:
        self.initialised -= 1

    def CoCreateInstance(self, kind: bytes, outer: None, context: int, interface: bytes, made: Any) -> int:
        assert (len(kind), len(interface)) == (16, 16)
        assert kind[4:] == interface[4:]
        if self.refuses == "create":
            return -2147221164  # REGDB_E_CLASSNOTREG
        made._obj.value = ctypes.addressof(self._instance)
        self.held += 1
        return 0

    def _release(self, instance: int) -> int:
        self.held -= 1
        return 0

    def _get_cost(self, instance: int, cost: Any, address: int | None) -> int:
        assert instance == ctypes.addressof(self._instance)
        assert address is None
        cost[0] = self.cost
        return -2147467259 if self.refuses == "ask" else 0  # E_FAIL


@pytest.mark.parametrize(
    ("cost", "is_metered"),
    [(0x1, False), (0x2, True), (0x4, True), (0x10001, True), (0x40001, True), (0x20001, False)],
)
def test_windows_network_is_as_its_cost_says(cost: int, is_metered: bool) -> None:
    ole32 = CostManager(cost)
    assert WindowsMetered(lambda name: ole32).read() is is_metered
    assert (ole32.initialised, ole32.held) == (0, 0)


@pytest.mark.parametrize(("cost", "refuses"), [(0, ""), (2, "initialise"), (2, "create"), (2, "ask")])
def test_windows_network_that_is_not_told_is_unknown_and_nothing_is_kept(cost: int, refuses: str) -> None:
    ole32 = CostManager(cost, refuses=refuses)
    assert isinstance(WindowsMetered(lambda name: ole32).read(), Unknown)
    assert (ole32.initialised, ole32.held) == (0, 0)


class Network:
    """Network.framework: a path monitor that calls its block on a thread of its own, as the system does."""

    GLOBAL_BLOCK = 0x7FFF_1234_0000

    def __init__(self, *, is_silent: bool = False, **path: bool) -> None:
        """`path`: status, expensive, constrained."""
        self.path, self.is_silent = path, is_silent
        self.calls: list[str] = []
        self.invoke: Any = None
        self.block = 0
        self.nw_path_monitor_create = _Function(lambda: self._note("create", 0x7FFF_0000_0000_0001))
        self.dispatch_queue_create = _Function(lambda label, kind: self._note("queue", 0x7FFF_0000_0000_0002))
        self.nw_path_monitor_set_queue = _Function(lambda monitor, queue: self._note(f"set {queue & 0xF}"))
        self.nw_path_monitor_set_update_handler = _Function(self._set_handler)
        self.nw_path_monitor_start = _Function(self._start)
        self.nw_path_monitor_cancel = _Function(lambda monitor: self._note("cancel"))
        self.nw_path_get_status = _Function(lambda path: self._of(path, "status"))
        self.nw_path_is_expensive = _Function(lambda path: self._of(path, "expensive"))
        self.nw_path_is_constrained = _Function(lambda path: self._of(path, "constrained"))

    def change(self, **path: bool) -> None:
        self.path = path
        thread = threading.Thread(target=self.invoke, args=(self.block, 0x7FFF_0000_0000_0003))
        thread.start()
        thread.join()

    def _note(self, call: str, made: int = 0) -> int:
        self.calls.append(call)
        return made

    def _of(self, path: int, what: str) -> int:
        assert path == 0x7FFF_0000_0000_0003
        return int(self.path.get(what, what == "status"))

    def _set_handler(self, monitor: int, block: int) -> None:
        """What the runtime reads in a block (clang's Block-ABI-Apple): on 64 bits, 32 bytes."""
        self._note("handler")
        isa, flags, invoke, descriptor = struct.unpack("=QixxxxQQ", ctypes.string_at(block, 32))
        assert (isa, flags) == (self.GLOBAL_BLOCK, 1 << 28)
        assert struct.unpack("=QQ", ctypes.string_at(descriptor, 16)) == (0, 32)
        self.block, self.invoke = block, ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(invoke)

    def _start(self, monitor: int) -> None:
        self._note("start")
        if not self.is_silent:
            self.change(**self.path)


def mac(network: Network) -> MacMetered:
    return MacMetered(network, block_class=Network.GLOBAL_BLOCK, first_answer_s=0.01)


@pytest.mark.parametrize(
    ("path", "is_metered"),
    [({}, False), ({"expensive": True}, True), ({"constrained": True}, True)],  # a phone's hotspot; Low Data Mode
)
def test_mac_network_is_as_its_path_says(path: dict[str, bool], is_metered: bool) -> None:
    assert mac(Network(**path)).read() is is_metered


def test_mac_network_follows_each_change_with_one_monitor_and_lets_go_of_it() -> None:
    network = Network()
    probe = mac(network)
    assert probe.read() is False
    network.change(expensive=True)
    assert probe.read() is True
    network.change(status=False, expensive=True)
    assert probe.read() == Unknown("No network is connected.", is_no_loss=True)
    assert network.calls == ["create", "queue", "set 2", "handler", "start"]
    probe.close()
    probe.close()
    assert network.calls[5:] == ["cancel"]
    network.change(expensive=True)  # one that was under way: the block is still there


def test_mac_network_that_is_not_told_is_unknown() -> None:
    assert mac(Network(is_silent=True)).read() == Unknown("macOS hasn't told whether this network is metered.")


def test_each_system_gets_its_own_probes() -> None:
    bus = Bus("session", "")
    assert isinstance(idle_probe(bus, {}, system="win32"), WindowsIdle)
    assert isinstance(idle_probe(bus, {}, system="darwin"), MacIdle)
    assert isinstance(full_screen_probe({}, system="win32"), WindowsFullScreen)
    assert isinstance(full_screen_probe({}, system="darwin"), NotTold)
    assert isinstance(metered_probe(bus, system="win32"), WindowsMetered)
    assert isinstance(metered_probe(bus, system="darwin"), MacMetered)
    assert isinstance(metered_probe(bus, system="linux"), BusMetered)


@pytest.mark.parametrize("system", ["win32", "darwin", "linux"])
async def test_watch_is_made_for_each_system_without_asking_it_anything(system: str) -> None:
    await SignalWatch(lambda signals: None, environ={}, system=system).close()
