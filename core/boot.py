"""Which start of the system this is, since what was only in its memory before is gone; and how long ago it was."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

# Clocks that nobody sets and that go on while the machine sleeps. macOS' CLOCK_MONOTONIC_RAW is mach_continuous_time
# (Apple's Libc, clock_gettime.c); its CLOCK_UPTIME_RAW, and time.monotonic there, stand still in a sleep.
_CLOCKS: Mapping[str, str] = MappingProxyType({"linux": "CLOCK_BOOTTIME", "darwin": "CLOCK_MONOTONIC_RAW"})
_LINUX_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def since_boot_s(*, system: str = sys.platform, load: Callable[[str], Any] | None = None) -> float | None:
    """Seconds since the system started, those asleep included, whatever the wall clock is set to; None: not told.

    `system` is a sys.platform value; `load` gives a system library of Windows by name. Both are replaced in tests:
    tried on no Windows and no macOS yet.
    """
    if system == "win32":
        return _windows_ticks_ms(load) / 1000
    clock, read = getattr(time, _CLOCKS.get(system, ""), None), getattr(time, "clock_gettime", None)
    return None if clock is None or read is None else float(read(clock))


def boot_id() -> str:
    """The same until the system starts again. A wrong "another one" costs a client a new token, no more.

    Elsewhere than on Linux it is the time of the start: it moves when the clock is set, so it's taken to the minute.
    """
    if sys.platform == "linux":
        try:
            return _LINUX_BOOT_ID.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            pass  # a sandbox without /proc/sys
    import psutil

    return f"{psutil.boot_time() / 60:.0f}"


def _windows_ticks_ms(load: Callable[[str], Any] | None) -> int:
    """GetTickCount64, which counts sleep and hibernation (Windows' documentation, "Windows Time"); each 10 to 16 ms."""
    import ctypes

    count = (load or getattr(ctypes, "WinDLL"))("kernel32").GetTickCount64  # noqa: B009 (exists only on Windows)
    count.restype = ctypes.c_uint64  # without it a signed 32-bit number, which turns over after 25 days
    return int(count())
