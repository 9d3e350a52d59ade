"""Which models this program downloaded: only those may it delete. One small file, replaced whole."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.engines.names import find_model, same_model
from core.json_file import JsonFile

_Change = Callable[[tuple[str, ...]], tuple[str, ...]]


class PulledModels:
    """The engine's names of the models that were downloaded for the owner, on disk. Its calls block."""

    def __init__(self, path: Path) -> None:
        self._file = JsonFile(path, "list of downloaded models", _names_of)
        self._lock = threading.Lock()
        self.names: tuple[str, ...] = ()

    def load(self) -> None:
        """Read the file. A damaged one is set aside: forgetting costs a button, a wrong entry would cost a model."""
        with self._lock:
            self.names = self._file.load() or ()

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
            self._file.write({"models": self.names})


def _names_of(document: Any) -> tuple[str, ...]:
    names = document["models"]
    if not all(isinstance(name, str) for name in names):
        raise TypeError
    return tuple(dict.fromkeys(names))
