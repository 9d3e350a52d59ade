"""AMD cards on Linux, read from the amdgpu driver's files in /sys: no library, no other program.

Source of the file names and units: the kernel's documentation, "GPU Power/Thermal Controls and Monitoring" and
"amdgpu driver: memory". Programs aren't told here: core/gpu/drm_programs.py finds who uses the card, not so often.
"""

from __future__ import annotations

from pathlib import Path

from core.gpu import GpuSample

_AMD_VENDOR = "0x1002"
_MIB = 1024 * 1024


class AmdSysfsProbe:
    """Read every AMD card under `root`. Blocking, a few file reads per card."""

    name = "amd"
    problem = ""  # the driver is part of the kernel: without these files there is no AMD card to speak of

    def __init__(self, *, root: Path = Path("/sys/class/drm")) -> None:
        self._root = root
        self._known: dict[str, str] = {}  # uuid → name, of every card seen so far

    def sample(self) -> tuple[GpuSample, ...]:
        """Every card that was ever seen; one that is gone is kept with `is_lost`."""
        cards = {card.uuid: card for card in map(_read_card, self._devices())}
        self._known.update((card.uuid, card.name) for card in cards.values())
        for uuid, name in self._known.items():
            cards.setdefault(uuid, GpuSample(uuid=uuid, name=name, is_lost=True))
        return tuple(cards.values())

    def close(self) -> None:
        """Nothing is held open between samples."""

    def _devices(self) -> list[Path]:
        # card0, card1 ...: not card0-DP-1 (its outputs), nor renderD128 (the same card once more).
        cards = [path for path in self._root.glob("card*") if path.name.removeprefix("card").isdigit()]
        devices = [path / "device" for path in sorted(cards, key=lambda path: int(path.name.removeprefix("card")))]
        return [device for device in devices if _text(device / "vendor") == _AMD_VENDOR]


def _read_card(device: Path) -> GpuSample:
    facts = dict(line.partition("=")[::2] for line in _text(device / "uevent").splitlines())
    total_mb = _scaled(device / "mem_info_vram_total", _MIB)
    used_mb = _scaled(device / "mem_info_vram_used", _MIB)
    sensors = next(iter(sorted(device.glob("hwmon/hwmon*"))), device / "hwmon")
    power = _number(sensors / "power1_average")  # microwatts; newer cards only have the momentary one
    return GpuSample(
        uuid="AMD-" + (_text(device / "unique_id") or facts.get("PCI_SLOT_NAME") or device.parent.name),
        name=_text(device / "product_name") or f"AMD {facts.get('PCI_ID', 'graphics card')}",
        total_mb=total_mb,
        used_mb=used_mb,
        free_mb=None if total_mb is None or used_mb is None else max(0, total_mb - used_mb),
        utilisation_percent=_as_float(_number(device / "gpu_busy_percent")),
        temperature_c=_as_float(_number(sensors / "temp1_input"), 1000),
        power_w=_as_float(power if power is not None else _number(sensors / "power1_input"), 1_000_000),
        has_monitor=_any_output(device, "status", "connected"),
        is_display_active=_any_output(device, "enabled", "enabled"),
        # Only a processor with graphics has a north bridge to measure: its "VRAM" is a cut of the system's RAM.
        is_unified=_text(sensors / "in1_label") == "vddnb",
        slot=facts.get("PCI_SLOT_NAME", "").lower(),
    )


def _any_output(device: Path, file: str, word: str) -> bool | None:
    """Whether one of the card's outputs (card0-DP-1 ...) says that; None where there is none. Read from memory: the
    kernel looks at the plug only when it is told to."""
    texts = [_text(output / file) for output in device.parent.glob(f"{device.parent.name}-*")]
    return word in texts if texts else None


def _text(path: Path) -> str:
    """A file's text, or "" where it doesn't exist or the driver refuses (a sleeping card answers EINVAL or EPERM)."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.lstrip("-").isdecimal() else None


def _scaled(path: Path, unit: int) -> int | None:
    value = _number(path)
    return None if value is None else value // unit


def _as_float(value: int | None, divisor: int = 1) -> float | None:
    return None if value is None else value / divisor
