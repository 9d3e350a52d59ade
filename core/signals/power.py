"""Whether the machine runs on its battery."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.signals import Power, SignalProbe, Unknown

NAME = "power"
_NOT_TOLD = Unknown("This machine has a battery, but doesn't tell whether it runs on it.")


def power_probe(*, system: str = sys.platform) -> SignalProbe[Power]:
    """The one that fits this machine. `system` is a sys.platform value."""
    return SysfsPower() if system.startswith("linux") else PsutilPower()


@dataclass(frozen=True, slots=True)
class _Supply:
    kind: str  # "battery", "mains", "usb" ...
    is_online: bool
    status: str  # of a battery: "charging", "discharging", "full", "not charging", "unknown"
    percent: float | None


class SysfsPower:
    """Linux, read from /sys/class/power_supply (the kernel's ABI/testing/sysfs-class-power).

    psutil isn't used here: it takes the battery of a wireless mouse for the machine's own.
    """

    name = NAME

    def __init__(self, root: Path = Path("/sys/class/power_supply")) -> None:
        self._root = root

    def read(self) -> Power | Unknown:
        supplies = [supply for folder in self._folders() if (supply := _read_supply(folder)) is not None]
        batteries = [supply for supply in supplies if supply.kind == "battery"]
        if not batteries:
            return Power(on_mains=True)
        levels = [battery.percent for battery in batteries if battery.percent is not None]
        level = sum(levels) / len(levels) if levels else None
        statuses = {battery.status for battery in batteries}
        if any(supply.kind == "mains" and supply.is_online for supply in supplies):
            return Power(on_mains=True, battery_percent=level)
        if "discharging" in statuses:
            return Power(on_mains=False, battery_percent=level)
        is_fed = any(supply.is_online for supply in supplies)
        has_plug = any(supply.kind == "mains" for supply in supplies)
        if has_plug and not is_fed and "charging" not in statuses:  # "full" for some minutes after it was unplugged
            return Power(on_mains=False, battery_percent=level)
        if is_fed or statuses & {"charging", "full", "not charging"}:
            return Power(on_mains=True, battery_percent=level)
        return _NOT_TOLD

    def close(self) -> None:
        """Nothing is held."""

    def _folders(self) -> list[Path]:
        try:
            return sorted(self._root.iterdir())
        except OSError:  # a machine, or container, without it has no battery either
            return []


def _read_supply(folder: Path) -> _Supply | None:
    """None for a supply of something else: a mouse, a headset, a battery that isn't in its bay."""
    kind = _text(folder / "type")
    if not kind or _text(folder / "scope") == "device" or _text(folder / "present") == "0":
        return None
    level = _text(folder / "capacity")
    return _Supply(
        kind=kind,
        is_online=_text(folder / "online") not in ("", "0"),
        status=_text(folder / "status"),
        percent=float(level) if level.isdecimal() else None,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip().lower()
    except OSError:
        return ""


class PsutilPower:
    """Windows and macOS."""

    name = NAME

    def __init__(self, read_battery: Callable[[], Any] | None = None) -> None:
        """`read_battery` is psutil.sensors_battery; replaced in tests."""
        self._read_battery = read_battery

    def read(self) -> Power | Unknown:
        import psutil

        battery = (self._read_battery or psutil.sensors_battery)()
        if battery is None:
            return Power(on_mains=True)
        if battery.power_plugged is None:
            return _NOT_TOLD
        return Power(on_mains=bool(battery.power_plugged), battery_percent=float(battery.percent))

    def close(self) -> None:
        """Nothing is held."""
