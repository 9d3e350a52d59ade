"""Small files of ours, replaced whole or not at all: a reader sees the old text or the new one, never half of it.

And read so that whatever else has the name is an error: a pipe would be waited for without end, a device never ends.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.errors import StorageError
from core.paths import ensure_folder, storage_error

_LOCK_LIMIT_S = 5.0
_LOCK_RETRY_S = 0.02


class Disk:
    """The calls that fail on a full or broken disk, so that a test can make them fail."""

    def write(self, descriptor: int, data: bytes) -> int:
        return os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        source.replace(target)


def write_atomically(path: Path, data: bytes | Iterable[bytes], *, mode: int = 0o644, disk: Disk | None = None) -> None:
    """Replace `path` by `data`: a new file beside it, flushed to the disk, then renamed. Its folder is made if missing.

    `data` may come in pieces, for what is too big to be held at once; an error of their source leaves no trace here.
    Raises StorageError with the remedy; the old file is then untouched and nothing is left beside it. A file that the
    owner made read-only is left alone, although a rename would get past that.
    """
    disk = disk or Disk()
    ensure_folder(path.parent)
    if path.exists() and not os.access(path, os.W_OK):
        raise StorageError(f"Cannot write {path}: it is read-only", hint=f"Make {path} writable for this user.")
    # A random name: two writers never share it, and nobody can have put a link there.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        _write_new(temporary, data, mode, disk)
        disk.replace(temporary, path)
    except BaseException as error:  # the source of the pieces may raise anything
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise storage_error("write", path, error) from error
        raise
    _flush_folder(path.parent)


def open_plain(path: Path) -> int:
    """A descriptor to read a plain file by; links to one are followed. Raises OSError, for everything else too."""
    flags = os.O_RDONLY
    for name in ("O_BINARY", "O_NONBLOCK", "O_CLOEXEC"):
        flags |= getattr(os, name, 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no plain file", str(path))
    return descriptor


def read_plain(path: Path, limit: int) -> bytes:
    """What the file holds, `limit` bytes of it at most. Raises OSError (FileNotFoundError where there is none)."""
    with os.fdopen(open_plain(path), "rb") as file:
        return file.read(limit)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file `path` against other processes: read, change and write as one step.

    Waits at most 5 s, since a holder works for milliseconds. Raises StorageError.
    """
    ensure_folder(path.parent)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise storage_error("open", path, error) from error
    try:
        deadline = time.monotonic() + _LOCK_LIMIT_S
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise StorageError(f"{path} is held by another program", hint="Try again in a moment.")
            time.sleep(_LOCK_RETRY_S)
        yield
    finally:
        os.close(descriptor)  # which also gives the lock back


def set_aside(path: Path) -> Path:
    """Rename a damaged file to <name>.damaged-<n>, n the first free. The caller holds its lock. Raises StorageError."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    try:
        path.rename(aside)
    except OSError as error:
        raise storage_error("set aside", path, error) from error
    return aside


def _write_new(path: Path, data: bytes | Iterable[bytes], mode: int, disk: Disk) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
    try:
        for piece in (data,) if isinstance(data, bytes) else data:
            rest = memoryview(piece)
            while rest:
                rest = rest[disk.write(descriptor, bytes(rest)) :]
        disk.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(folder: Path) -> None:
    """Make the rename itself durable. Not every system can; the file is whole either way."""
    if sys.platform == "win32":
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
