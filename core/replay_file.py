"""The file of spent tokens: a header and fixed-size records, appended one by one, rewritten now and then.

Record (40 bytes, big-endian): SHA-256 of the jti (32), exp in epoch seconds (4), CRC-32 of these 36 bytes (4).
The header is a record too: a fixed mark in place of the digest, and the latest exp that was ever dropped. A second one
names the system's start under which the file was written, as a digest with exp 0: its appended records are in the
system's cache, which a killed process doesn't take along and a power cut does. Append-only and one `write` per record
on purpose.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.atomic_file import read_plain
from core.errors import StorageError

RECORD_BYTES = 40
_DIGEST_BYTES = 32
_NO_EXP = 0  # no token has it
_HEADER_MARK = b"TitanCompute spent tokens, v1".ljust(_DIGEST_BYTES, b"\0")
_MOST_RECORDS_READ = 1 << 20  # 40 MB; sixteen times what a full store writes
_TAIL = struct.Struct(">II")
_O_BINARY = getattr(os, "O_BINARY", 0)  # Windows would translate line ends


@dataclass(frozen=True, slots=True)
class ReplayContent:
    """What was read. `is_complete` is False when records may be missing; `problem` says why, where the owner cares."""

    records: tuple[tuple[bytes, int], ...] = ()  # digest, exp
    forgotten_exp: int = 0
    is_complete: bool = True
    problem: str = ""
    boot_digest: bytes = b""  # of the system's start under which it was written; b"": not said


def pack_record(digest: bytes, exp: int) -> bytes:
    body = digest + exp.to_bytes(4, "big")
    return body + zlib.crc32(body).to_bytes(4, "big")


class ReplayFile:
    """One file on disk. Raises StorageError for whatever the system refuses; knows nothing of what a record means."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self.records = 0  # in the file, dead ones and the two of the header included

    @property
    def is_open(self) -> bool:
        """Records can be appended."""
        return self._descriptor is not None

    def read(self) -> ReplayContent:
        """Everything that is still readable; what isn't is set aside under the same name with `.damaged`."""
        try:
            data = read_plain(self._path, (_MOST_RECORDS_READ + 1) * RECORD_BYTES)
        except FileNotFoundError:
            return ReplayContent(is_complete=False)
        except OSError as error:
            return self._set_aside(ReplayContent(), f"cannot be read ({error.strerror})")
        content = _parse(data)
        return content if content.is_complete else self._set_aside(content, "was damaged")

    def append(self, record: bytes) -> None:
        """Add one record with one system call. After a StorageError the file must be discarded or rewritten."""
        if self._descriptor is None:
            raise StorageError(f"{self._path} is not open")
        try:
            if os.write(self._descriptor, record) != len(record):
                raise self._refused("the disk is full")
        except OSError as error:
            raise self._refused(error.strerror) from error
        self.records += 1

    def rewrite(self, forgotten_exp: int, records: Iterable[bytes | bytearray], *, boot_digest: bytes) -> None:
        """Replace the whole file in one step, and go on appending to the new one. `records` are packed, many in one."""
        head = pack_record(_HEADER_MARK, forgotten_exp) + pack_record(boot_digest, _NO_EXP)
        data = b"".join((head, *records))
        fresh = self._path.with_name(f"{self._path.name}.new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            _write_new(fresh, data)
            self.close()  # Windows replaces no open file
            fresh.replace(self._path)
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | _O_BINARY)
        except OSError as error:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise self._refused(error.strerror) from error
        self.records = len(data) // RECORD_BYTES

    def discard(self) -> None:
        """Remove what is incomplete from now on, so that the next start doesn't rely on it."""
        self.close()
        with suppress(OSError):  # a read-only disk: the next start finds that it can't write, and concludes the same
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def _set_aside(self, content: ReplayContent, why: str) -> ReplayContent:
        aside = self._path.with_name(f"{self._path.name}.damaged")
        try:
            self._path.replace(aside)
            where = f"It was set aside as {aside}."
        except OSError as error:
            where = f"It could not be set aside ({error.strerror})."
        problem = f"The file of spent tokens {why}. {where} Tokens issued before this start are refused."
        return ReplayContent(content.records, content.forgotten_exp, is_complete=False, problem=problem)

    def _refused(self, why: str | None) -> StorageError:
        return StorageError(
            f"The file of spent tokens cannot be written ({self._path}: {why})",
            hint="Make room on the disk, or check the folder's owner and permissions; it is tried again by itself.",
        )


def _write_new(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _O_BINARY, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)


def _parse(data: bytes) -> ReplayContent:
    """Read every sound record. A torn last one was never answered for: its token's session had not begun."""
    whole = len(data) // RECORD_BYTES
    sound: list[tuple[bytes, int]] = []
    for start in range(0, whole * RECORD_BYTES, RECORD_BYTES):
        body = data[start : start + RECORD_BYTES - 4]
        exp, checksum = _TAIL.unpack_from(data, start + _DIGEST_BYTES)
        if zlib.crc32(body) == checksum:
            sound.append((body[:_DIGEST_BYTES], exp))
    if not sound or sound[0][0] != _HEADER_MARK:
        return ReplayContent(tuple(sound), is_complete=False)
    is_complete = len(sound) == whole <= _MOST_RECORDS_READ
    has_boot = len(sound) > 1 and sound[1][1] == _NO_EXP
    boot_digest = sound[1][0] if has_boot else b""
    return ReplayContent(tuple(sound[1 + has_boot :]), sound[0][1], is_complete, boot_digest=boot_digest)
