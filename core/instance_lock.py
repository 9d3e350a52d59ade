"""One running agent per profile: an operating system's file lock, which ends with its process however that dies.

The file stays where it is (removing it would let two processes hold two files of one name); its content is only for
the message to the second process.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from core.atomic_file import read_plain
from core.errors import AlreadyRunningError
from core.paths import ensure_folder, storage_error

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_MAX_NOTE_BYTES = 4096
_LOCKED_BYTE = 1 << 30  # Windows: locks are mandatory there, so the byte lies far behind what others read


@dataclass(frozen=True, slots=True)
class LockHolder:
    """What the process that took the lock wrote about itself. True only as long as that process lives."""

    pid: int
    started_at: float  # seconds since the epoch


class InstanceLock:
    """The lock of one profile. A context manager; `release` may be called twice.

    The descriptor is not inherited, so an engine child that outlives us for a moment doesn't hold our lock.
    """

    def __init__(self, path: Path, profile: str, *, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._profile = profile
        self._clock = clock
        self._fd: int | None = None

    @property
    def is_held(self) -> bool:
        return self._fd is not None

    def acquire(self) -> None:
        """Take the lock or raise: AlreadyRunningError when another process has it, StorageError when no file can be."""
        if self._fd is not None:
            return
        ensure_folder(self.path.parent)
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        except OSError as error:
            raise storage_error("open", self.path, error) from error
        try:
            if not _try_lock(fd):
                raise self._already_running()
            self._introduce(fd)
        except OSError as error:
            os.close(fd)
            raise storage_error("lock", self.path, error) from error
        except AlreadyRunningError:
            os.close(fd)
            raise
        self._fd = fd

    def release(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            with contextlib.suppress(OSError):
                os.ftruncate(fd, 0)
            os.close(fd)  # ends the lock, on every system

    def __enter__(self) -> InstanceLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _introduce(self, fd: int) -> None:
        note = json.dumps({"pid": os.getpid(), "started_at": self._clock(), "profile": self._profile})
        os.ftruncate(fd, 0)
        os.write(fd, note.encode())

    def _already_running(self) -> AlreadyRunningError:
        holder = read_holder(self.path)
        since = f" since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(holder.started_at))}" if holder else ""
        who = f" (process {holder.pid}{since})" if holder else ""
        return AlreadyRunningError(
            f"An agent already runs for profile {self._profile!r}{who}",
            hint="`titan status` shows it. To run another one beside it, use a profile: `titan run --profile NAME`.",
        )


def read_holder(path: Path) -> LockHolder | None:
    """Who wrote the lock file last; None when nobody did or it can't be read."""
    try:
        note = json.loads(read_plain(path, _MAX_NOTE_BYTES))
        return LockHolder(pid=int(note["pid"]), started_at=float(note["started_at"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _try_lock(fd: int) -> bool:
    if sys.platform == "win32":
        os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(fd, 0, os.SEEK_SET)
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
