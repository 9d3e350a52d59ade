"""A disk that fails where a full or broken one does."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from core.atomic_file import Disk


class FailingDisk(Disk):
    """Fails in one call with one errno; a write fails half-way, as a disk that fills up does."""

    def __init__(self, call: str, code: int = errno.ENOSPC) -> None:
        self._call = call
        self._code = code

    def write(self, descriptor: int, data: bytes) -> int:
        if self._call == "write":
            if len(data) > 1:
                return super().write(descriptor, data[: len(data) // 2])
            raise self._error()
        return super().write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        if self._call == "fsync":
            raise self._error()
        super().fsync(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        if self._call == "replace":
            raise self._error()
        super().replace(source, target)

    def _error(self) -> OSError:
        return OSError(self._code, os.strerror(self._code))


class SlowDisk(Disk):
    """Takes three bytes at a time, as a write may."""

    def write(self, descriptor: int, data: bytes) -> int:
        return super().write(descriptor, data[:3])
