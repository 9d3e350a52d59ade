"""Which start of the system this is: what was only in its memory before another one is gone."""

from __future__ import annotations

import sys
import time
from pathlib import Path

_LINUX_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def since_boot_s() -> float | None:
    """Seconds since the system started, those asleep included, whatever the wall clock is set to; None: not told."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return None


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
