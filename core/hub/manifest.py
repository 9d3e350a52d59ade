"""The list of what was downloaded into the models folder: nothing else there is ours to delete."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.json_file import JsonFile

MANIFEST_NAME = ".titan-downloads.json"


class Manifest:
    """Which files in the models folder were downloaded here, by model. Blocking; safe between processes."""

    def __init__(self, folder: Path) -> None:
        """A damaged list is set aside: then nothing is ours to delete, which costs the owner a click, not a model."""
        self._file = JsonFile(folder / MANIFEST_NAME, "list of downloads", _files_by_model)

    def files_of(self, name: str) -> tuple[str, ...] | None:
        files = self._read().get(name)
        return None if files is None else tuple(files)

    def names(self) -> tuple[str, ...]:
        return tuple(self._read())

    def all_files(self) -> tuple[str, ...]:
        return tuple(file for files in self._read().values() for file in files)

    def add(self, name: str, files: Sequence[str]) -> None:
        """Raises StorageError."""
        self._change(lambda models: {**models, name: list(files)})

    def remove(self, name: str) -> None:
        """Raises StorageError."""
        self._change(lambda models: {known: files for known, files in models.items() if known != name})

    def _change(self, change: Callable[[Mapping[str, list[str]]], dict[str, list[str]]]) -> None:
        self._file.change(lambda models: change(models or {}))

    def _read(self) -> Mapping[str, list[str]]:
        return self._file.read() or {}


def _files_by_model(document: Any) -> dict[str, list[str]]:
    return {str(name): [_plain_name(file) for file in files] for name, files in document.items()}


def _plain_name(value: object) -> str:
    """Only names of files in the folder itself: what stands in the list may be deleted. Raises ValueError."""
    if not isinstance(value, str) or not value or value in (".", "..") or any(mark in value for mark in "/\\\0:"):
        raise ValueError
    return value
