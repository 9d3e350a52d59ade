"""Which instructions the embedded engine needs, and which of them this processor lacks.

The published xllamacpp wheels for x86-64 are compiled for AVX2, FMA, F16C and BMI2 with no choice at run time: on an
older processor the first use dies of an illegal instruction. So this is read before the import, in the child.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from pathlib import Path

REQUIRED_X86_64 = ("avx2", "fma", "f16c", "bmi2")

# Reads the processor's feature names in lower case; None means "cannot tell here".
FeatureReader = Callable[[], frozenset[str] | None]

_MAC_SYSCTLS = {
    "avx2": "hw.optional.avx2_0",
    "fma": "hw.optional.fma",
    "f16c": "hw.optional.f16c",
    "bmi2": "hw.optional.bmi2",
}
_PF_AVX2_INSTRUCTIONS_AVAILABLE = 40  # winnt.h; Windows has no flag for the other three


def parse_cpuinfo(text: str) -> frozenset[str] | None:
    """The features of the weakest core in a Linux /proc/cpuinfo; None when it names none."""
    per_core = [
        frozenset(value.split())
        for key, _, value in (line.partition(":") for line in text.lower().splitlines())
        if key.strip() == "flags"
    ]
    return frozenset.intersection(*per_core) if per_core else None


def read_cpu_features() -> frozenset[str] | None:
    """This machine's features; None where the system gives no way to ask."""
    if sys.platform == "linux":
        try:
            return parse_cpuinfo(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))
        except OSError:
            return None
    if sys.platform == "darwin":
        return _read_mac_features()
    if sys.platform == "win32":
        return _read_windows_features()
    return None


def missing_cpu_features(
    read: FeatureReader = read_cpu_features, machine: Callable[[], str] = platform.machine
) -> tuple[str, ...]:
    """What the engine needs and this processor lacks, such as ("AVX2",). Empty when nothing is known to be missing:
    an unknown processor is tried, because the child's crash is not the agent's."""
    if machine().lower() not in ("x86_64", "amd64"):
        return ()
    features = read()
    if features is None:
        return ()
    return tuple(name.upper() for name in REQUIRED_X86_64 if name not in features)


def _read_mac_features() -> frozenset[str] | None:
    import ctypes

    try:
        libc = ctypes.CDLL(None)
        found = set()
        for feature, name in _MAC_SYSCTLS.items():
            value, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
            failed = libc.sysctlbyname(name.encode(), ctypes.byref(value), ctypes.byref(size), None, 0)
            if not failed and value.value:
                found.add(feature)
    except (OSError, AttributeError):
        return None
    return frozenset(found)


def _read_windows_features() -> frozenset[str] | None:
    import ctypes

    kernel32 = getattr(ctypes, "windll").kernel32  # noqa: B009 (the name exists only on Windows, also for the type checker)
    if kernel32.IsProcessorFeaturePresent(_PF_AVX2_INSTRUCTIONS_AVAILABLE):
        return frozenset(REQUIRED_X86_64)  # every processor with AVX2 that Windows runs on has the other three
    return frozenset(name for name in REQUIRED_X86_64 if name != "avx2")
