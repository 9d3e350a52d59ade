"""Whether the system's clock is disciplined by the network, as the kernel knows it. Linux only; None elsewhere."""

from __future__ import annotations

import ctypes
import struct
import sys
from dataclasses import dataclass

_STA_UNSYNC = 0x0040  # linux/timex.h: clock unsynchronised
# struct timex of 64-bit Linux up to `status`: modes, padding, offset, freq, maxerror, esterror, status
_LAYOUT = "=i4xqqqqi"
_BUFFER_BYTES = 512  # more than the 208 of struct timex


@dataclass(frozen=True, slots=True)
class ClockSync:
    is_synchronised: bool
    max_error_s: float


def read() -> ClockSync | None:
    """Ask the kernel (adjtimex, which changes nothing with modes 0); None where that isn't possible."""
    if not sys.platform.startswith("linux") or struct.calcsize("P") != 8:
        return None
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        buffer = ctypes.create_string_buffer(_BUFFER_BYTES)
        if libc.adjtimex(buffer) < 0:
            return None
    except (OSError, AttributeError):
        return None
    _, _, _, max_error_us, _, status = struct.unpack_from(_LAYOUT, buffer.raw)
    return ClockSync(is_synchronised=not status & _STA_UNSYNC, max_error_s=max_error_us / 1e6)
