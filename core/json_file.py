"""The small JSON files in which things outlive a restart: bounded when read, checked, set aside when damaged.

`read`, `change` and `write` raise StorageError, for whoever has something to say to the owner. `load` and `save` only
log it, for what is worth no failure. All of them block.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Generic, TypeVar

from core.atomic_file import exclusive, read_plain, set_aside, write_atomically
from core.errors import StorageError
from core.logs import get_logger
from core.paths import storage_error

log = get_logger(__name__)

MOST_BYTES = 1 << 20
# What checking a document that isn't ours may raise: text for a number, a list for an object, a missing key.
_DAMAGE = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)

T = TypeVar("T")


class JsonFile(Generic[T]):
    """One document, replaced whole. `was_set_aside_as`: the name that the last read gave to a damaged file."""

    def __init__(self, path: Path, what: str, parse: Callable[[Any], T]) -> None:
        """`what` names the content in the log. `parse` makes sense of the document; for one that isn't ours it raises
        ValueError, TypeError, KeyError, AttributeError or OverflowError.
        """
        self._path = path
        self._what = what
        self._parse = parse
        self._trouble = ""
        self.was_set_aside_as = ""

    def read(self) -> T | None:
        """None where there is no file, or only a damaged one: that is set aside, and said. Raises StorageError."""
        self.was_set_aside_as = ""
        try:
            return self._read()
        except _DAMAGE:
            with self._lock():
                return self._read_or_set_aside()

    def write(self, document: object) -> None:
        """Raises StorageError; the old file is then untouched."""
        write_atomically(self._path, json.dumps(document, indent=1).encode())

    def change(self, change: Callable[[T | None], object]) -> None:
        """Read, make the new document of what is there, write: one step between programs. Raises StorageError."""
        with self._lock():
            self.write(change(self._read_or_set_aside()))

    def load(self) -> T | None:
        """`read`, for what may be begun anew: a file that can't be read is none."""
        try:
            return self.read()
        except StorageError as error:
            log.warning("file not read", what=self._what, error=error.detail)
            return None

    def save(self, document: object) -> bool:
        """`write`, for what memory holds as well: whether the disk took it. Trouble is logged when it begins."""
        try:
            self.write(document)
        except StorageError as error:
            if error.detail != self._trouble:
                log.warning("file not kept", what=self._what, error=error.detail, hint=error.hint)
            self._trouble = error.detail
            return False
        self._trouble = ""
        return True

    def _lock(self) -> AbstractContextManager[None]:
        return exclusive(self._path.with_name(f"{self._path.name}.lock"))

    def _read(self) -> T | None:
        try:
            data = read_plain(self._path, MOST_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error("read", self._path, error) from error
        if len(data) > MOST_BYTES:
            raise ValueError(f"larger than {MOST_BYTES} bytes")
        return self._parse(json.loads(data))

    def _read_or_set_aside(self) -> T | None:
        """The caller holds the lock, so a good file that took the damaged one's place is not set aside."""
        try:
            return self._read()
        except _DAMAGE:
            self.was_set_aside_as = set_aside(self._path).name
            log.warning("damaged file set aside", what=self._what, file=self.was_set_aside_as)
            return None
