"""Apple silicon: one pool of memory for processor and graphics, of which the graphics may use a part."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Callable

from core.gpu import GpuSample

# macOS limits what Metal may keep resident (recommendedMaxWorkingSetSize). Owners report 67 to 84 % of the RAM, by
# machine and system version; the lowest is used, so that what is offered really fits.
DEFAULT_SHARE = 2 / 3
_MIB = 1024 * 1024


class AppleProbe:
    """The one graphics card of an Apple silicon Mac. Utilisation, temperature and power need root: None."""

    name = "apple"
    problem = ""

    def __init__(
        self,
        *,
        memory_mb: Callable[[], tuple[int, int]] | None = None,
        sysctl: Callable[[str], bytes | None] | None = None,
    ) -> None:
        """`memory_mb` gives (total, available) RAM in MiB; `sysctl` a raw value, None for an unknown name."""
        self._memory_mb = memory_mb or _system_memory_mb
        self._sysctl = sysctl or _read_sysctl
        self._chip = ""

    def sample(self) -> tuple[GpuSample, ...]:
        total_ram_mb, available_mb = self._memory_mb()
        # Set by an owner who wants another limit; 0, or absent on older systems, means the system's own.
        limit_mb = int.from_bytes(self._sysctl("iogpu.wired_limit_mb") or b"", "little")
        total_mb = min(limit_mb or int(total_ram_mb * DEFAULT_SHARE), total_ram_mb)
        free_mb = min(total_mb, available_mb)
        return (
            GpuSample(
                uuid="apple-gpu",
                name=self._name(),
                total_mb=total_mb,
                used_mb=total_mb - free_mb,
                free_mb=free_mb,
                is_unified=True,
            ),
        )

    def close(self) -> None:
        """Nothing is held."""

    def _name(self) -> str:
        if not self._chip:
            raw = self._sysctl("machdep.cpu.brand_string") or b"Apple silicon"
            self._chip = raw.rstrip(b"\0").decode("utf-8", errors="replace")
        return self._chip


def _system_memory_mb() -> tuple[int, int]:
    import psutil

    memory = psutil.virtual_memory()
    return memory.total // _MIB, memory.available // _MIB


def _read_sysctl(name: str) -> bytes | None:
    """One sysctl value, by the C library: no child process."""
    library = ctypes.CDLL(ctypes.util.find_library("c"))
    size = ctypes.c_size_t(0)
    if library.sysctlbyname(name.encode(), None, ctypes.byref(size), None, 0) != 0:
        return None
    buffer = ctypes.create_string_buffer(size.value)
    if library.sysctlbyname(name.encode(), buffer, ctypes.byref(size), None, 0) != 0:
        return None
    return buffer.raw[: size.value]
