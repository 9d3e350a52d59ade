"""One file from a hub to the disk: resumed where it broke off, as fast as the owner allows, whole or not there at all.

What has come lies beside the target as `.<checksum>.part`; it gets its name once its SHA-256 is right. Blocking.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from core.errors import AgentError, StorageError
from core.hub.names import HubFile
from core.paths import storage_error
from core.sizes import size_text

READ_BYTES = 1 << 20
ATTEMPTS = 5  # in a row without a byte; each that brings something starts the count anew
PAUSE_S = (1.0, 2.0, 5.0, 10.0)


class HubError(AgentError):
    """The hub doesn't answer, doesn't have it, or sends something else than it promised."""

    title = "Download failed"


class ConnectionBroke(HubError):
    """The connection ended early: what has come is kept, and the rest can be asked for."""


class DownloadStopped(Exception):
    """The owner cancelled: no error. What has come is kept."""


class RangeSource(Protocol):
    """Where bytes come from."""

    def open(self, file: HubFile, start: int) -> AbstractContextManager[Iterator[bytes]]:
        """The file's bytes from `start` on, in pieces. Raises HubError, ConnectionBroke also while reading."""
        ...


class RateLimit:
    """At most so many bytes per second over all downloads; 0 is no limit. `wait` blocks the calling thread."""

    def __init__(
        self, bytes_per_second: Callable[[], float], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = bytes_per_second
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._free_at = 0.0  # when the bytes taken so far are paid for

    def pause_after(self, count: int) -> float:
        """Seconds to wait now that `count` bytes have come."""
        limit = self._limit()
        if limit <= 0:
            return 0.0
        with self._lock:
            now = self._monotonic()
            self._free_at = max(self._free_at, now) + count / limit
            return self._free_at - now


class Download:
    """Fetches files into one folder. `stop` ends it at the next piece."""

    def __init__(
        self,
        source: RangeSource,
        folder: Path,
        *,
        stop: threading.Event,
        limit: RateLimit,
        on_bytes: Callable[[HubFile, int], None],
    ) -> None:
        """`on_bytes` gets (file, bytes of it that are there)."""
        self._source = source
        self._folder = folder
        self._stop = stop
        self._limit = limit
        self._on_bytes = on_bytes

    def part_path(self, file: HubFile) -> Path:
        return part_path(self._folder, file)

    def fetch(self, file: HubFile) -> Path:
        """Returns the finished file. Raises HubError, StorageError, DownloadStopped; all keep what has come."""
        part, target = self.part_path(file), self._folder / file.name
        digest = hashlib.sha256()
        try:
            # Beside an older part of the same content: its bytes count, once they are hashed again.
            with os.fdopen(_open_part(part), "r+b") as output:
                done = self._hash_what_is_there(file, output.fileno(), digest)
                self._fill(file, output.fileno(), digest, done)
                os.fsync(output.fileno())
            if digest.hexdigest() != file.sha256:
                part.unlink()
                raise HubError(
                    f"{file.name} came with a wrong checksum, and was thrown away", hint="Download it again."
                )
            part.replace(target)
        except OSError as error:
            raise storage_error("write", part, error) from error
        return target

    def _hash_what_is_there(self, file: HubFile, descriptor: int, digest: hashlib._Hash) -> int:
        """Returns how many bytes are there. More than the file has means that they are something else."""
        if os.fstat(descriptor).st_size > file.size_bytes:
            os.ftruncate(descriptor, 0)
        done = 0
        while piece := os.read(descriptor, READ_BYTES):
            self._check_stop()
            digest.update(piece)
            done += len(piece)
            self._on_bytes(file, done)
        return done

    def _fill(self, file: HubFile, descriptor: int, digest: hashlib._Hash, done: int) -> None:
        """Ask for the rest until it is there, over broken connections."""
        failed = 0
        while done < file.size_bytes:
            self._check_stop()
            before = done
            try:
                with self._source.open(file, done) as pieces:
                    for piece in pieces:
                        if done + len(piece) > file.size_bytes:
                            raise HubError(f"the hub sends more of {file.name} than it said")
                        _write_all(descriptor, piece)
                        digest.update(piece)
                        done += len(piece)
                        self._on_bytes(file, done)
                        self._wait(self._limit.pause_after(len(piece)))
                if done == before:
                    raise ConnectionBroke(f"the hub sends nothing more of {file.name}")
            except ConnectionBroke:
                failed = 0 if done > before else failed + 1
                if failed >= ATTEMPTS:
                    raise
                self._wait(PAUSE_S[min(failed, len(PAUSE_S) - 1)])

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            self._stop.wait(seconds)
        self._check_stop()

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise DownloadStopped


def part_path(folder: Path, file: HubFile) -> Path:
    """Where what has come of a file lies until it is whole."""
    return folder / f".{file.sha256[:32]}.part"


def check_room(folder: Path, needed: int, free: int, *, keep_free: int) -> None:
    """Raises StorageError where `needed` more bytes would leave less than `keep_free` on the disk."""
    if free - needed < keep_free:
        raise StorageError(
            f"{size_text(needed)} are to come, and the disk of {folder} has {size_text(free)} free",
            hint=f"Free some space ({size_text(keep_free)} stay free for you), or choose a smaller model.",
        )


def check_budget(budget: int, *, held: int, wanted: int) -> None:
    """Raises StorageError where downloads would take more than `budget` bytes together; 0 is no budget."""
    if budget and held + wanted > budget:
        raise StorageError(
            f"downloaded models may take {size_text(budget)}, and would take {size_text(held + wanted)}",
            hint="Delete one of them, or raise the setting models_disk_budget_gb.",
        )


def _open_part(part: Path) -> int:
    """Ours to write to: a plain file with no other name, and never through a link that somebody put there.

    Raises OSError, for whatever else stands in its place too.
    """
    flags = os.O_RDWR | os.O_CREAT
    for name in ("O_BINARY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"):
        flags |= getattr(os, name, 0)
    descriptor = os.open(part, flags, 0o644)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(descriptor)
        raise FileExistsError(errno.EEXIST, "something that isn't this program's has its name", str(part))
    return descriptor


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
