"""Read a rotating log from its end on: the last lines, then what is added. For `titan logs` and the window."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from core.paths import storage_error


class LogFollower:
    """Follows one log across its rotations. Reads the disk: keep it off the event loop and off the Qt thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._inode: int | None = None
        self._rest = b""  # a line that isn't whole yet

    def last(self, count: int) -> list[str]:
        """The last `count` lines, older files included. Raises StorageError."""
        found: deque[str] = deque(self.new(), maxlen=count)
        number = 1
        while len(found) < count and (older := self._path.with_name(f"{self._path.name}.{number}")).exists():
            try:
                text = older.read_text(encoding="utf-8", errors="replace")
            except OSError as error:
                raise storage_error("read", older, error) from error
            found.extendleft(reversed(text.splitlines()[-(count - len(found)) :]))
            number += 1
        return list(found)

    def new(self) -> Iterator[str]:
        """Whole lines that came since the last call. A file that isn't there yet gives none. Raises StorageError."""
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self._offset:
                    self._inode, self._offset, self._rest = status.st_ino, 0, b""
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return
        except OSError as error:
            raise storage_error("read", self._path, error) from error
        self._offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace")
