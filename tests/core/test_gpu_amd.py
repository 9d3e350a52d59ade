"""AMD cards by the amdgpu driver's files, from a made-up /sys."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.gpu import GpuSample
from core.gpu.amd_sysfs import AmdSysfsProbe

GIB = 1024**3


def add_card(root: Path, card: str, *, vendor: str = "0x1002", slot: str = "0000:03:00.0", **files: object) -> Path:
    """One card's folder; the keyword names are file names, "hwmon_x" ones go into its sensor folder."""
    device = root / card / "device"
    sensors = device / "hwmon" / "hwmon4"
    sensors.mkdir(parents=True)
    (device / "vendor").write_text(vendor + "\n")
    (device / "uevent").write_text(f"DRIVER=amdgpu\nPCI_ID=1002:744C\nPCI_SLOT_NAME={slot}\n")
    for name, value in files.items():
        folder = sensors if name.startswith("hwmon_") else device
        (folder / name.removeprefix("hwmon_")).write_text(f"{value}\n")
    return device


@pytest.fixture
def root(tmp_path: Path) -> Path:
    add_card(
        tmp_path,
        "card1",
        mem_info_vram_total=24 * GIB,
        mem_info_vram_used=3 * GIB,
        gpu_busy_percent=42,
        hwmon_temp1_input=61000,
        hwmon_power1_average=182_500_000,
        unique_id="9f2a61b5c0ffee01",
    )
    return tmp_path


def test_card_is_read_whole(root: Path) -> None:
    assert AmdSysfsProbe(root=root).sample() == (
        GpuSample(
            uuid="AMD-9f2a61b5c0ffee01",
            name="AMD 1002:744C",
            total_mb=24576,
            used_mb=3072,
            free_mb=21504,
            utilisation_percent=42.0,
            temperature_c=61.0,
            power_w=182.5,
            slot="0000:03:00.0",
        ),
    )


def test_only_amd_cards_count_and_their_outputs_do_not(root: Path) -> None:
    add_card(root, "card0", vendor="0x8086")
    add_card(root, "card1-DP-1")
    add_card(root, "renderD128")
    assert [card.uuid for card in AmdSysfsProbe(root=root).sample()] == ["AMD-9f2a61b5c0ffee01"]


@pytest.mark.parametrize(
    ("missing", "fields"),
    [
        ("mem_info_vram_used", {"used_mb", "free_mb"}),
        ("gpu_busy_percent", {"utilisation_percent"}),
        ("hwmon/hwmon4/temp1_input", {"temperature_c"}),
        ("hwmon/hwmon4/power1_average", {"power_w"}),
        ("hwmon", {"temperature_c", "power_w"}),
    ],
)
def test_missing_file_makes_only_its_own_figure_none(root: Path, missing: str, fields: set[str]) -> None:
    path = root / "card1/device" / missing
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    (card,) = AmdSysfsProbe(root=root).sample()
    none = {
        name
        for name in ("total_mb", "used_mb", "free_mb", "utilisation_percent", "temperature_c", "power_w")
        if getattr(card, name) is None
    }
    assert none == fields


def test_file_with_garbage_is_not_measured(root: Path) -> None:
    (root / "card1/device/gpu_busy_percent").write_bytes(b"\xff\xfe")
    (card,) = AmdSysfsProbe(root=root).sample()
    assert card.utilisation_percent is None
    assert card.temperature_c == 61.0


def test_newer_card_gives_its_momentary_power(root: Path) -> None:
    sensors = root / "card1/device/hwmon/hwmon4"
    (sensors / "power1_average").rename(sensors / "power1_input")
    (card,) = AmdSysfsProbe(root=root).sample()
    assert card.power_w == 182.5


def test_card_without_its_own_number_is_known_by_its_slot(tmp_path: Path) -> None:
    add_card(tmp_path, "card0", slot="0000:0a:00.0", product_name="Instinct MI210")
    (card,) = AmdSysfsProbe(root=tmp_path).sample()
    assert (card.uuid, card.name) == ("AMD-0000:0a:00.0", "Instinct MI210")


def test_graphics_inside_a_processor_are_unified(tmp_path: Path) -> None:
    add_card(tmp_path, "card0", mem_info_vram_total=GIB // 2, mem_info_vram_used=0, hwmon_in1_label="vddnb")
    (card,) = AmdSysfsProbe(root=tmp_path).sample()
    assert card.is_unified


def test_removed_card_is_kept_as_lost_and_seen_when_back(root: Path) -> None:
    probe = AmdSysfsProbe(root=root)
    before = probe.sample()
    (root / "card1").rename(root / "away")
    assert probe.sample() == (GpuSample(uuid="AMD-9f2a61b5c0ffee01", name="AMD 1002:744C", is_lost=True),)
    (root / "away").rename(root / "card1")
    assert probe.sample() == before


def test_system_without_graphics_files_has_no_card(tmp_path: Path) -> None:
    assert AmdSysfsProbe(root=tmp_path / "absent").sample() == ()
