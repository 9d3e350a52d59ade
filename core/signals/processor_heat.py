"""How hot the processor is: the kernel's own sensor of it, chosen among all that a machine has.

psutil isn't used here: it reads every sensor of the machine at each call, which wakes drives and cards that sleep, and
leaves the choice to the caller all the same. Windows and macOS tell other programs nothing (nor does psutil there).
"""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from core.signals import ProcessorHeat, SignalProbe, Unknown
from core.signals.not_told import NotTold

NAME = "processor_heat"
# A processor jumps by 20 °C within a second, and back: a rule goes by the mean of about so long.
SMOOTHING_S = 10.0
# After a gap (a sleep of the machine) the mean begins anew.
FORGET_AFTER_S = 60.0
# Sensors that are broken or not connected say 0, -273, 127 or 255; what is outside this can't be a running processor.
PLAUSIBLE_C = (1.0, 125.0)
# Firmware that names no mark says 0 or something absurd: below this a processor isn't critical, above it nothing is.
_PLAUSIBLE_MARK_C = (70.0, 130.0)
MOST_SENSORS = 16  # a telephone's processor has twenty; more need not be read

_OWN_DRIVERS = (
    "coretemp",
    "k10temp",
    "zenpower",
    "k8temp",
    "via_cputemp",
)  # hwmon drivers of the processors themselves
_ON_BOARD = re.compile(r"(?:cpu|soc|package|bigcore)[\w-]*thermal|x86_pkg_temp")  # of a chip that holds the processor
_LAST_RESORT = "acpitz"  # the board's firmware: somewhere near it, and often slow or constant
# Of one driver's several values, the first kind that it has. Tctl of some Ryzens is Tdie and up to 27 °C more, for
# their fans (Documentation/hwmon/k10temp.rst); without any label there is one value.
_LABELS = ("package", "tdie", "tctl")
_NO_SENSOR = Unknown("This machine has no sensor that tells how hot its processor is; a virtual machine has none.")


def processor_heat_probe(*, system: str = sys.platform) -> SignalProbe[ProcessorHeat]:
    """The one that fits this machine. `system` is a sys.platform value."""
    if system.startswith("linux"):
        return SysfsHeat()
    name = {"win32": "Windows", "darwin": "macOS"}.get(system, "This system")
    return NotTold(NAME, f"{name} doesn't tell other programs how hot the processor is.")


@dataclass(frozen=True, slots=True)
class _Sensor:
    """One value in sysfs, in thousandths of a degree; its marks don't change."""

    path: Path
    driver: str
    label: str = ""
    high_c: float | None = None
    critical_c: float | None = None

    @property
    def name(self) -> str:
        return f"{self.driver}, {self.label}" if self.label else self.driver


class SysfsHeat:
    """Linux: hwmon (the kernel's Documentation/hwmon/sysfs-interface.rst), else the thermal zones.

    The sensors are chosen once, and again when one can't be read any more (a driver was loaded anew).
    """

    name = NAME

    def __init__(self, root: Path = Path("/sys/class"), clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._clock = clock
        self._chosen: tuple[_Sensor, ...] = ()
        self._mean = _Mean()

    def read(self) -> ProcessorHeat | Unknown:
        """The hottest of the chosen ones: a machine may have two processors."""
        said = self._read_chosen()
        if not said:
            self._chosen = _choose(self._root)
            said = self._read_chosen()
        if not said:
            return _NO_SENSOR if not self._chosen else Unknown("The processor's sensor could not be read.")
        low, high = PLAUSIBLE_C
        hottest = max(
            ((celsius, sensor) for celsius, sensor in said if low <= celsius <= high), default=None, key=_heat
        )
        if hottest is None:
            worst, sensor = said[0]
            return Unknown(f"The processor's sensor ({sensor.name}) says {worst:.0f} °C, which can't be.")
        celsius, sensor = hottest
        return ProcessorHeat(
            celsius=celsius,
            mean_c=self._mean.take(celsius, self._clock()),
            sensor=sensor.name,
            high_c=sensor.high_c,
            critical_c=min((one.critical_c for one in self._chosen if one.critical_c is not None), default=None),
        )

    def close(self) -> None:
        """Nothing is held."""

    def _read_chosen(self) -> list[tuple[float, _Sensor]]:
        return [(celsius, sensor) for sensor in self._chosen if (celsius := _celsius(sensor.path)) is not None]


class _Mean:
    """An exponential mean over uneven steps."""

    def __init__(self) -> None:
        self._value = 0.0
        self._at = float("-inf")

    def take(self, celsius: float, now: float) -> float:
        passed_s = now - self._at
        weight = 1.0 if passed_s > FORGET_AFTER_S else 1.0 - math.exp(-passed_s / SMOOTHING_S)
        self._value += weight * (celsius - self._value)
        self._at = now
        return self._value


def _choose(root: Path) -> tuple[_Sensor, ...]:
    """The sensors of the best kind that there is; () without any."""
    found = [*_of_hwmon(root / "hwmon"), *_of_zones(root / "thermal")]
    ranks = [rank for sensor in found if (rank := _rank(sensor.driver)) is not None]
    return tuple(sensor for sensor in found if _rank(sensor.driver) == min(ranks))[:MOST_SENSORS] if ranks else ()


def _rank(driver: str) -> int | None:
    """The lower, the nearer to the processor; None for the sensor of something else."""
    if driver in _OWN_DRIVERS:
        return 0
    if _ON_BOARD.fullmatch(driver):
        return 1
    return 2 if driver == _LAST_RESORT else None


def _of_hwmon(folder: Path) -> Iterator[_Sensor]:
    """Of each processor's driver the values that count. Nobody else's value is read: that may wake what sleeps."""
    for chip in _folders(folder, "hwmon*"):
        driver = _text(chip / "name")
        if _rank(driver) is None:
            continue
        sensors = [_hwmon_sensor(path, driver) for path in sorted(chip.glob("temp*_input"))]
        yield from next(filter(None, (_labelled(sensors, label) for label in _LABELS)), sensors)


def _hwmon_sensor(path: Path, driver: str) -> _Sensor:
    stem = path.name.removesuffix("_input")
    return _Sensor(
        path=path,
        driver=driver,
        label=_text(path.with_name(f"{stem}_label")),
        high_c=_mark(path.with_name(f"{stem}_max")),
        critical_c=_mark(path.with_name(f"{stem}_crit")),
    )


def _labelled(sensors: Iterable[_Sensor], label: str) -> list[_Sensor]:
    return [sensor for sensor in sensors if sensor.label.lower().startswith(label)]


def _of_zones(folder: Path) -> Iterator[_Sensor]:
    """A kernel may show a thermal zone here alone."""
    for zone in _folders(folder, "thermal_zone*"):
        driver = _text(zone / "type")
        if _rank(driver) is None:
            continue
        marks = {_text(path): _mark(path.with_name(f"{path.name.removesuffix('_type')}_temp")) for path in _trips(zone)}
        yield _Sensor(zone / "temp", driver, high_c=marks.get("hot"), critical_c=marks.get("critical"))


def _trips(zone: Path) -> Iterable[Path]:
    return zone.glob("trip_point_*_type")


def _folders(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def _heat(said: tuple[float, _Sensor]) -> float:
    return said[0]


def _mark(path: Path) -> float | None:
    """A sensor's own limit, °C; None where it has none that can be true."""
    celsius = _celsius(path)
    low, high = _PLAUSIBLE_MARK_C
    return celsius if celsius is not None and low <= celsius <= high else None


def _celsius(path: Path) -> float | None:
    try:
        return int(_text(path)) / 1000
    except ValueError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
