"""Which models this program downloaded: only those may it delete. One small file, replaced whole."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

from core.atomic_file import exclusive, set_aside, write_atomically
from core.engines.names import find_model, same_model
from core.errors import StorageError
from core.logs import get_logger
from core.paths import storage_error

log = get_logger(__name__)

_MAX_FILE_BYTES = 1 << 20
_Change = Callable[[tuple[str, ...]], tuple[str, ...]]


class PulledModels:
    """The engine's names of the models that were downloaded for the owner, on disk. Its calls block."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.names: tuple[str, ...] = ()

    def load(self) -> None:
        """Read the file. A damaged one is set aside: forgetting costs a button, a wrong entry would cost a model."""
        with self._lock:
            try:
                self.names = self._read()
            except StorageError as error:
                log.warning("list of downloaded models not read", error=error.detail)

    def add(self, name: str) -> None:
        """Raises StorageError; the name then counts until the program ends."""
        self._change(lambda names: names if find_model(name, names) else (*names, name))

    def remove(self, name: str) -> None:
        """A name that isn't there is no error. Raises StorageError."""
        self._change(lambda names: tuple(known for known in names if not same_model(known, name)))

    def __contains__(self, name: str) -> bool:
        return find_model(name, self.names) is not None

    def _change(self, change: _Change) -> None:
        with self._lock:
            self.names = change(self.names)
            with exclusive(self._path.with_name(f"{self._path.name}.lock")):
                write_atomically(self._path, json.dumps({"models": self.names}, indent=1).encode())

    def _read(self) -> tuple[str, ...]:
        try:
            with self._path.open("rb") as file:
                content = json.loads(file.read(_MAX_FILE_BYTES))
            names = content["models"]
            if not all(isinstance(name, str) for name in names):
                raise TypeError
            return tuple(dict.fromkeys(names))
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise storage_error("read", self._path, error) from error
        except (ValueError, KeyError, TypeError, RecursionError):
            aside = set_aside(self._path)
            log.warning("damaged list of downloaded models set aside", file=aside.name)
            return ()
