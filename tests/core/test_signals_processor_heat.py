"""The processor's temperature, from a sysfs as the kernel lays it out: the right sensor among many, and its marks."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.signals import ProcessorHeat, Unknown
from core.signals.not_told import NotTold
from core.signals.processor_heat import FORGET_AFTER_S, SMOOTHING_S, SysfsHeat, processor_heat_probe
from tests.fakes.fake_clock import FakeClock

Chip = tuple[str, dict[str, str]]  # the driver's name, and its files: "temp1" is what it measures

INTEL: Chip = (
    "coretemp",
    {
        "temp1": "71000", "temp1_label": "Package id 0", "temp1_max": "84000", "temp1_crit": "100000",
        "temp2": "78000", "temp2_label": "Core 0", "temp3": "69000", "temp3_label": "Core 1",
    },
)  # fmt: skip
RYZEN: Chip = (
    "k10temp",
    {"temp1": "82625", "temp1_label": "Tctl", "temp2": "62625", "temp2_label": "Tdie", "temp3": "70000",
     "temp3_label": "Tccd1"},
)  # fmt: skip
NEWER_RYZEN: Chip = (
    "k10temp",
    {"temp1": "64000", "temp1_label": "Tctl", "temp3": "58000", "temp3_label": "Tccd1"},
)
OLD_AMD: Chip = ("k10temp", {"temp1": "48500", "temp1_max": "70000", "temp1_crit": "90000"})
ZENPOWER: Chip = ("zenpower", {"temp1": "55000", "temp1_label": "Tdie", "temp2": "55000", "temp2_label": "Tctl"})
PI: Chip = ("cpu_thermal", {"temp1": "61322", "temp1_crit": "110000"})
BOARD: Chip = ("acpitz", {"temp1": "27800", "temp1_crit": "20800"})
DISK: Chip = ("nvme", {"temp1": "99000", "temp1_label": "Composite", "temp1_crit": "84850"})
CARD: Chip = ("amdgpu", {"temp1": "95000", "temp1_label": "edge"})
WIFI: Chip = ("iwlwifi_1", {"temp1": "52000"})
NO_SENSOR = Unknown("This machine has no sensor that tells how hot its processor is; a virtual machine has none.")


def machine(root: Path, *chips: Chip) -> Path:
    for number, (name, files) in enumerate(chips):
        folder = root / "hwmon" / f"hwmon{number}"
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
        for file, text in files.items():
            (folder / (file if "_" in file else f"{file}_input")).write_text(f"{text}\n")
    return root


def zone(root: Path, name: str, value: str, **trips: str) -> Path:
    folder = root / "thermal" / f"thermal_zone{len(list(root.glob('thermal/*')))}"
    folder.mkdir(parents=True)
    (folder / "type").write_text(f"{name}\n")
    (folder / "temp").write_text(f"{value}\n")
    for number, (kind, mark) in enumerate(trips.items()):
        (folder / f"trip_point_{number}_type").write_text(f"{kind}\n")
        (folder / f"trip_point_{number}_temp").write_text(f"{mark}\n")
    return root


def told(celsius: float, sensor: str, high_c: float | None = None, critical_c: float | None = None) -> ProcessorHeat:
    return ProcessorHeat(celsius=celsius, mean_c=celsius, sensor=sensor, high_c=high_c, critical_c=critical_c)


@pytest.mark.parametrize(
    ("chips", "expected"),
    [
        ((DISK, INTEL, BOARD, WIFI), told(71.0, "coretemp, Package id 0", 84.0, 100.0)),
        ((RYZEN, DISK, CARD), told(62.625, "k10temp, Tdie")),  # not Tctl, which is 20 °C more for the fan's sake
        ((NEWER_RYZEN,), told(64.0, "k10temp, Tctl")),
        ((OLD_AMD,), told(48.5, "k10temp", 70.0, 90.0)),
        ((ZENPOWER,), told(55.0, "zenpower, Tdie")),
        ((BOARD, PI), told(61.322, "cpu_thermal", None, 110.0)),
        ((BOARD, DISK), told(27.8, "acpitz")),  # and not its mark, which can't be
        ((INTEL, ("coretemp", {"temp1": "88000", "temp1_label": "Package id 1", "temp1_crit": "98000"})),
         told(88.0, "coretemp, Package id 1", None, 98.0)),
        ((("coretemp", {"temp2": "66000", "temp2_label": "Core 0", "temp3": "67000", "temp3_label": "Core 1"}),),
         told(67.0, "coretemp, Core 1")),
        ((DISK, CARD, WIFI), NO_SENSOR),
        ((), NO_SENSOR),
    ],
)  # fmt: skip
def test_processor_is_as_hot_as_its_own_sensor_says(
    tmp_path: Path, chips: tuple[Chip, ...], expected: ProcessorHeat | Unknown
) -> None:
    assert SysfsHeat(machine(tmp_path, *chips)).read() == expected


def test_a_thermal_zone_tells_it_where_the_kernel_has_nothing_else(tmp_path: Path) -> None:
    zone(tmp_path, "acpitz", "40000")
    zone(tmp_path, "x86_pkg_temp", "73000", passive="0")
    assert SysfsHeat(tmp_path).read() == told(73.0, "x86_pkg_temp")
    zone(tmp_path, "cpu-thermal", "75000", hot="85000", critical="95000")
    assert SysfsHeat(tmp_path).read() == told(75.0, "cpu-thermal", 85.0, 95.0)


@pytest.mark.parametrize("value", ["0", "-273150", "127000", "255000"])
def test_a_value_that_can_not_be_is_not_taken_for_a_temperature(tmp_path: Path, value: str) -> None:
    root = machine(tmp_path, ("k10temp", {"temp1": value, "temp1_label": "Tctl"}))
    said = SysfsHeat(root).read()
    assert said == Unknown(f"The processor's sensor (k10temp, Tctl) says {int(value) / 1000:.0f} °C, which can't be.")


def test_one_of_two_sensors_that_is_broken_is_left_out(tmp_path: Path) -> None:
    broken: Chip = ("coretemp", {"temp1": "0", "temp1_label": "Package id 1"})
    assert SysfsHeat(machine(tmp_path, broken, INTEL)).read() == told(71.0, "coretemp, Package id 0", 84.0, 100.0)


def test_a_sensor_that_is_gone_is_looked_for_again(tmp_path: Path) -> None:
    probe = SysfsHeat(machine(tmp_path, OLD_AMD))
    assert isinstance(probe.read(), ProcessorHeat)
    (tmp_path / "hwmon" / "hwmon0").rename(tmp_path / "hwmon" / "hwmon7")  # its driver was loaded anew
    assert isinstance(probe.read(), ProcessorHeat)
    (tmp_path / "hwmon" / "hwmon7" / "temp1_input").write_text("")
    assert probe.read() == Unknown("The processor's sensor could not be read.")


def test_nobody_elses_sensor_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a disk's or a sleeping card's value wakes it."""
    root = machine(tmp_path, DISK, CARD, INTEL)
    read_text, seen = Path.read_text, []

    def note(path: Path, encoding: str | None = None, errors: str | None = None) -> str:
        seen.append(f"{path.parent.name}/{path.name}")
        return read_text(path, encoding, errors)

    monkeypatch.setattr(Path, "read_text", note)
    probe = SysfsHeat(root)
    probe.read()
    assert [name for name in seen if not name.startswith("hwmon2/")] == ["hwmon0/name", "hwmon1/name"]
    seen.clear()
    probe.read()
    assert seen == ["hwmon2/temp1_input"]  # the choice is made once


def test_a_jump_of_a_second_hardly_moves_the_mean(tmp_path: Path) -> None:
    clock = FakeClock(1_000.0)
    value = machine(tmp_path, OLD_AMD) / "hwmon" / "hwmon0" / "temp1_input"
    probe = SysfsHeat(tmp_path, clock)

    def mean_at(celsius: int, after_s: float) -> float:
        clock.now += after_s
        value.write_text(str(celsius * 1000))
        heat = probe.read()
        assert isinstance(heat, ProcessorHeat)
        assert heat.celsius == celsius
        return heat.mean_c

    assert mean_at(60, 0) == 60
    assert mean_at(95, 2) < 67
    assert mean_at(60, 2) < 66
    for _ in range(5):
        mean = mean_at(95, SMOOTHING_S)
    assert mean > 94.5
    assert mean_at(50, FORGET_AFTER_S + 1) == 50  # it slept meanwhile


@given(st.lists(st.text(max_size=8) | st.integers(-400_000, 400_000).map(str), min_size=1, max_size=4))
def test_whatever_a_sensor_says_a_temperature_is_plausible_or_unknown(
    tmp_path_factory: pytest.TempPathFactory, values: list[str]
) -> None:
    root = tmp_path_factory.mktemp("sys")
    machine(root, ("coretemp", {}))
    for number, value in enumerate(values):
        path = root / "hwmon" / "hwmon0" / f"temp{number}_input"
        path.write_text(value, encoding="utf-8", errors="replace")
    heat = SysfsHeat(root).read()
    assert isinstance(heat, Unknown) or 1 <= heat.celsius <= 125


@pytest.mark.parametrize(("system", "name"), [("win32", "Windows"), ("darwin", "macOS"), ("freebsd14", "This system")])
def test_a_system_that_does_not_tell_says_so(system: str, name: str) -> None:
    probe = processor_heat_probe(system=system)
    assert isinstance(probe, NotTold)
    assert probe.read() == Unknown(f"{name} doesn't tell other programs how hot the processor is.")


def test_linux_reads_the_kernels_own_files() -> None:
    probe = processor_heat_probe(system="linux")
    assert isinstance(probe, SysfsHeat)
    assert isinstance(probe.read(), ProcessorHeat | Unknown)  # of whatever machine this is
