"""Graphics cards behind one small probe protocol. None always means "not measured", never 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

# Below this, engines leave the card alone (a processor's built-in graphics often has 512 MB of "VRAM").
MIN_USEFUL_VRAM_MB = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """Another program (or our engine) that holds memory on a card."""

    pid: int
    used_mb: int | None = None
    name: str = ""
    utilisation_percent: float | None = None  # of the card's computing, since the last sample; None: not told


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSample:
    """One card at one instant."""

    uuid: str
    name: str
    total_mb: int | None = None
    used_mb: int | None = None
    free_mb: int | None = None
    utilisation_percent: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    is_unified: bool = False  # Apple, some APUs: the memory is system RAM
    is_lost: bool = False  # it was there, and the driver says that it is gone
    has_monitor: bool | None = None  # one is plugged in
    is_display_active: bool | None = None  # a desktop is drawn on it, with a monitor or without
    kept_because: str = ""  # why the owner keeps it; "" for a card that is lent (core/gpu/lending.py)
    processes: tuple[GpuProcess, ...] = ()
    slot: str = ""  # on the PCI bus, "0000:03:00.0", where core/gpu/drm_programs.py tells its programs by it

    @property
    def is_lent(self) -> bool:
        return not self.kept_because


class GpuProbe(Protocol):
    """Reads every card of one vendor. Blocking: call it off the loop."""

    @property
    def name(self) -> str: ...

    @property
    def problem(self) -> str:
        """Why nothing can be read ("no NVIDIA driver"), or ""."""
        ...

    def sample(self) -> tuple[GpuSample, ...]: ...

    def close(self) -> None: ...
