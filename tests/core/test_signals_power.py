"""Battery or mains, from a power_supply folder as the kernel lays it out, and by psutil elsewhere."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.signals import Power, Unknown
from core.signals.power import PsutilPower, SysfsPower, power_probe

LAPTOP = {"type": "Battery", "status": "Discharging", "capacity": "71", "present": "1", "scope": "System"}
MAINS = {"type": "Mains", "online": "0"}
MOUSE = {"type": "Battery", "status": "Discharging", "capacity": "5", "scope": "Device", "online": "1"}
NOT_TOLD = Unknown("This machine has a battery, but doesn't tell whether it runs on it.")


def machine(root: Path, **supplies: dict[str, str]) -> Path:
    for name, files in supplies.items():
        folder = root / name
        folder.mkdir()
        for file, text in files.items():
            (folder / file).write_text(f"{text}\n", encoding="ascii")
    return root


@pytest.mark.parametrize(
    ("supplies", "expected"),
    [
        ({}, Power(on_mains=True)),
        ({"hidpp_battery_0": MOUSE}, Power(on_mains=True)),  # a desktop with a wireless mouse
        ({"BAT0": LAPTOP, "AC": MAINS}, Power(on_mains=False, battery_percent=71.0)),
        ({"BAT0": LAPTOP, "AC": MAINS, "hidpp_battery_0": MOUSE}, Power(on_mains=False, battery_percent=71.0)),
        ({"BAT0": LAPTOP, "AC": {**MAINS, "online": "1"}}, Power(on_mains=True, battery_percent=71.0)),
        ({"BAT0": {**LAPTOP, "status": "Full"}, "AC": MAINS}, Power(on_mains=False, battery_percent=71.0)),
        ({"BAT0": {**LAPTOP, "status": "Not charging"}, "AC": MAINS}, Power(on_mains=False, battery_percent=71.0)),
        ({"BAT0": {**LAPTOP, "status": "Charging"}, "AC": MAINS}, Power(on_mains=True, battery_percent=71.0)),
        (
            {"BAT0": {**LAPTOP, "status": "Full"}, "AC": MAINS, "ucsi": {"type": "USB", "online": "1"}},
            Power(on_mains=True, battery_percent=71.0),
        ),
        ({"BAT0": {**LAPTOP, "status": "Full"}}, Power(on_mains=True, battery_percent=71.0)),
        ({"BAT0": {**LAPTOP, "status": "Not charging"}}, Power(on_mains=True, battery_percent=71.0)),
        (
            {"BAT0": LAPTOP, "BAT1": {**LAPTOP, "capacity": "9", "status": "Unknown"}},
            Power(on_mains=False, battery_percent=40.0),
        ),
        ({"BAT0": LAPTOP, "BAT1": {**LAPTOP, "present": "0", "capacity": "0"}},
         Power(on_mains=False, battery_percent=71.0)),
        (
            {"BAT0": {**LAPTOP, "status": "Unknown"}, "ucsi": {"type": "USB", "online": "1"}},
            Power(on_mains=True, battery_percent=71.0),
        ),
        ({"BAT0": LAPTOP, "ucsi": {"type": "USB", "online": "1"}}, Power(on_mains=False, battery_percent=71.0)),
        ({"BAT0": {**LAPTOP, "capacity": ""}, "AC": MAINS}, Power(on_mains=False)),
        ({"BAT0": {**LAPTOP, "status": "Unknown"}}, NOT_TOLD),
        ({"BAT0": {**LAPTOP, "status": "Unknown"}, "AC": MAINS}, Power(on_mains=False, battery_percent=71.0)),
    ],
)  # fmt: skip
def test_power_is_told_from_the_kernels_files(
    tmp_path: Path, supplies: dict[str, dict[str, str]], expected: Power | Unknown
) -> None:
    assert SysfsPower(machine(tmp_path, **supplies)).read() == expected


def test_unplugging_is_seen_at_the_next_reading(tmp_path: Path) -> None:
    probe = SysfsPower(machine(tmp_path, BAT0=LAPTOP, AC={**MAINS, "online": "1"}))
    assert probe.read() == Power(on_mains=True, battery_percent=71.0)
    (tmp_path / "AC" / "online").write_text("0\n", encoding="ascii")
    assert probe.read() == Power(on_mains=False, battery_percent=71.0)


def test_machine_without_the_folder_has_no_battery(tmp_path: Path) -> None:
    assert SysfsPower(tmp_path / "missing").read() == Power(on_mains=True)


@pytest.mark.parametrize(
    ("battery", "expected"),
    [
        (None, Power(on_mains=True)),
        (SimpleNamespace(percent=55, power_plugged=True), Power(on_mains=True, battery_percent=55.0)),
        (SimpleNamespace(percent=55, power_plugged=False), Power(on_mains=False, battery_percent=55.0)),
        (SimpleNamespace(percent=55, power_plugged=None), NOT_TOLD),
    ],
)
def test_power_is_told_by_psutil_elsewhere(battery: Any, expected: Power | Unknown) -> None:
    assert PsutilPower(lambda: battery).read() == expected


def test_this_machine_has_an_answer() -> None:
    assert isinstance(power_probe().read(), Power | Unknown)
    assert isinstance(power_probe(system="darwin"), PsutilPower)
