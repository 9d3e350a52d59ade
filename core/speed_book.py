"""How fast models were on this machine, as measured here: by model and device, in one small file. Its calls block."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from core.engines.names import same_model
from core.json_file import JsonFile

_MAX_KEPT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """One measurement. Another device, or another file under the model's name, has another speed."""

    model: str  # the engine's name
    device: str  # as the engine tells it
    tokens_per_second: float  # of one session
    first_token_ms: float  # with the model in memory
    seconds: float  # that were measured
    measured_at: float  # seconds since the epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """A measurement that runs."""

    model: str  # the owner's name
    seconds: float  # that it takes, once the model is in memory
    started_at: float | None = None  # seconds since the epoch; None: the model is still being loaded


def speed_words(speed: Speed | None) -> str:
    """ "48.2 tokens per second, measured here"; "" for None."""
    return "" if speed is None else f"{rate_text(speed.tokens_per_second)} tokens per second, measured here"


def rate_text(tokens_per_second: float) -> str:
    """ "48.2", "2,001"."""
    return f"{tokens_per_second:.1f}" if tokens_per_second < 100 else f"{tokens_per_second:,.0f}"


def find_speed(speeds: Iterable[Speed], model: str, device: str) -> Speed | None:
    return next((speed for speed in speeds if same_model(speed.model, model) and speed.device == device), None)


class SpeedBook:
    """The measurements on disk, newest first. What is damaged is measured anew."""

    def __init__(self, path: Path) -> None:
        self._file = JsonFile(path, "measured speeds", _speeds_of)

    def read(self) -> tuple[Speed, ...]:
        """Empty where there is no file, or, with a line in the log, where it can't be read."""
        return self._file.load() or ()

    def add(self, speed: Speed) -> None:
        """Keep a measurement in the place of the model's last one on that device. Raises StorageError."""
        self._file.change(lambda known: {"speeds": [asdict(entry) for entry in _with(speed, known or ())]})


def _with(speed: Speed, known: tuple[Speed, ...]) -> tuple[Speed, ...]:
    others = (other for other in known if not same_model(other.model, speed.model) or other.device != speed.device)
    return (speed, *others)[:_MAX_KEPT]


def _speeds_of(document: Any) -> tuple[Speed, ...]:
    return tuple(speed for entry in document["speeds"] if (speed := _speed_of(entry)) is not None)


def _speed_of(entry: object) -> Speed | None:
    if not isinstance(entry, dict) or set(entry) != {field.name for field in fields(Speed)}:
        return None
    texts, numbers = (
        (entry["model"], entry["device"]),
        [entry[name] for name in entry if name not in ("model", "device")],
    )
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(n, int | float) for n in numbers):
        return None
    return Speed(**entry)
