"""Which probes this machine gets: every vendor that the platform can have, as one probe."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from core.gpu import GpuProbe, GpuSample
from core.gpu.guard import LIMIT_S, GuardedProbe
from core.gpu.none import NO_CARD, NoProbe

_NVIDIA_VENDOR = "0x10de"
_MICROSOFT_VENDOR = "0x1414"  # Hyper-V and WSL: the real card is behind a virtual one
_DISPLAY_CLASS = "0x03"  # PCI base class 03: display controllers


class CombinedProbe:
    """Several vendors' probes as one."""

    name = "all"

    def __init__(self, probes: Sequence[GpuProbe]) -> None:
        self._probes = tuple(probes)
        self._has_cards = False

    @property
    def problem(self) -> str:
        """Every probe's problem; without any, and without a card, the sentence that there is none."""
        problems = [probe.problem for probe in self._probes if probe.problem]
        return " ".join(problems) or ("" if self._has_cards else NO_CARD)

    def sample(self) -> tuple[GpuSample, ...]:
        samples = tuple(sample for probe in self._probes for sample in probe.sample())
        self._has_cards = bool(samples)
        return samples

    def close(self) -> None:
        for probe in self._probes:
            probe.close()


def open_probes(
    *,
    system: str = sys.platform,
    machine: str | None = None,
    sys_root: Path = Path("/sys"),
    limit_s: float = LIMIT_S,
    has_nvidia: Callable[[], bool | None] | None = None,
) -> GpuProbe:
    """One probe over every vendor. Nothing is read, loaded or imported before its first sample.

    `system` is a sys.platform value, `machine` a platform.machine() one; each driver gets `limit_s` per sample,
    its first one excepted (core/gpu/guard.py).
    """
    if system == "darwin":
        if (machine or platform.machine()) != "arm64":
            return NoProbe("Graphics of Intel Macs are not read: models are served from RAM, by the processor.")
        from core.gpu.apple import AppleProbe

        return AppleProbe()
    from core.gpu.nvml import NvmlProbe

    if not system.startswith("linux"):
        return CombinedProbe([GuardedProbe(NvmlProbe(has_hardware=has_nvidia or (lambda: None)), limit_s=limit_s)])
    from core.gpu.amd_sysfs import AmdSysfsProbe

    nvidia = NvmlProbe(has_hardware=has_nvidia or (lambda: find_nvidia_card(sys_root)))
    amd = AmdSysfsProbe(root=sys_root / "class/drm")
    return CombinedProbe([GuardedProbe(probe, limit_s=limit_s) for probe in (nvidia, amd)])


def find_nvidia_card(sys_root: Path = Path("/sys")) -> bool | None:
    """Whether an NVIDIA display controller is on the PCI bus; None where that can't be told (no PCI files, WSL)."""
    vendors = {
        _text(device / "vendor")
        for device in sys_root.glob("bus/pci/devices/*")
        if _text(device / "class").startswith(_DISPLAY_CLASS)
    }
    if _NVIDIA_VENDOR in vendors:
        return True
    if _MICROSOFT_VENDOR in vendors or not (sys_root / "bus/pci").is_dir():
        return None
    return False


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
