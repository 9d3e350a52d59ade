"""How long ago the system started: a clock that nobody sets, of each system, with the time asleep in it."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Any

import pytest

from core.boot import since_boot_s


class FakeTickCount:
    """kernel32.GetTickCount64 as ctypes hands it out: a signed number of 32 bits, unless it is told what comes."""

    def __init__(self, milliseconds: int) -> None:
        self.restype: Callable[[int], Any] = ctypes.c_int
        self._milliseconds = milliseconds

    def __call__(self) -> int:
        return int(self.restype(self._milliseconds).value)


class FakeKernel32:
    def __init__(self, milliseconds: int) -> None:
        self.GetTickCount64 = FakeTickCount(milliseconds)


def test_windows_counts_milliseconds_also_after_months() -> None:
    days_s = 80 * 86_400
    loaded: list[str] = []

    def load(name: str) -> FakeKernel32:
        loaded.append(name)
        return FakeKernel32(days_s * 1000 + 500)

    assert since_boot_s(system="win32", load=load) == days_s + 0.5
    assert loaded == ["kernel32"]


@pytest.mark.parametrize(("system", "clock"), [("linux", "CLOCK_BOOTTIME"), ("darwin", "CLOCK_MONOTONIC_RAW")])
def test_the_clock_is_the_one_that_goes_on_in_a_sleep(monkeypatch: pytest.MonkeyPatch, system: str, clock: str) -> None:
    monkeypatch.setattr(time, "CLOCK_BOOTTIME", 107, raising=False)
    monkeypatch.setattr(time, "CLOCK_MONOTONIC_RAW", 104, raising=False)
    monkeypatch.setattr(time, "clock_gettime", lambda number: float(number))
    assert since_boot_s(system=system) == getattr(time, clock)


def test_a_system_without_such_a_clock_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(time, "CLOCK_MONOTONIC_RAW", raising=False)
    assert since_boot_s(system="darwin") is None
    assert since_boot_s(system="freebsd14") is None


def test_this_system_tells_it_and_it_grows() -> None:
    first = since_boot_s()
    assert first is not None
    assert 0 < first <= (since_boot_s() or 0)
