"""How fast models were on this machine, as measured here: by model and device, in one small file. Its calls block."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from core.atomic_file import exclusive, write_atomically
from core.engines.names import same_model
from core.errors import StorageError
from core.logs import get_logger
from core.paths import storage_error

log = get_logger(__name__)

_MAX_FILE_BYTES = 1 << 20
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
    """ "48.2 tokens per second, first token after 90 ms, measured here"; "" for None."""
    if speed is None:
        return ""
    return (
        f"{speed.tokens_per_second:.1f} tokens per second, first token after {speed.first_token_ms:.0f} ms, "
        "measured here"
    )


def find_speed(speeds: Iterable[Speed], model: str, device: str) -> Speed | None:
    return next((speed for speed in speeds if same_model(speed.model, model) and speed.device == device), None)


class SpeedBook:
    """The measurements on disk, newest first."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[Speed, ...]:
        """Empty where there is no file, or a damaged one: it is measured anew. Raises StorageError."""
        try:
            with self._path.open("rb") as file:
                entries = json.loads(file.read(_MAX_FILE_BYTES))["speeds"]
            return tuple(speed for entry in entries if (speed := _speed_of(entry)) is not None)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise storage_error("read", self._path, error) from error
        except (ValueError, KeyError, TypeError, RecursionError):
            return ()

    def add(self, speed: Speed) -> None:
        """Keep a measurement in the place of the model's last one on that device. Raises StorageError."""
        with exclusive(self._path.with_name(f"{self._path.name}.lock")):
            kept = [
                other
                for other in self.read()
                if not same_model(other.model, speed.model) or other.device != speed.device
            ]
            entries = [asdict(entry) for entry in (speed, *kept)[:_MAX_KEPT]]
            write_atomically(self._path, json.dumps({"speeds": entries}, indent=1).encode())


def known_speeds(path: Path) -> tuple[Speed, ...]:
    """What the file has; nothing, with a line in the log, where it can't be read."""
    try:
        return SpeedBook(path).read()
    except StorageError as error:
        log.warning("measured speeds not read", error=error.detail)
        return ()


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
