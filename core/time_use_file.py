"""The record of core/time_use.py on disk: one short line a stretch, appended twice a minute, made small at each start.

A line says `start end what reason`; it takes the place of every line before it that starts no earlier, so a stretch
that goes on is one more line and nothing is ever written in the middle. Without fsync: a killed process loses at most
`FLUSH_INTERVAL_S`, a power cut what the system had not written yet.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from core.atomic_file import set_aside, write_atomically
from core.errors import StorageError
from core.logs import get_logger
from core.paths import storage_error
from core.snapshot import AgentSnapshot
from core.time_use import DAY_S, Doing, Stretch, TimeRecord, day, doing_of

log = get_logger(__name__)

FILE_NAME = "time-use.txt"  # beside the ledger
FLUSH_INTERVAL_S = 30.0
CLOSE_LIMIT_S = 2.0
MOST_BYTES = 2_000_000  # a day of sessions, one after the other; then the file is made small again
_MOST_READ_BYTES = 16_000_000
_HEADER = "titan time use 1\n"
_LATEST = 253_402_300_799.0  # the end of the year 9999
_NO_REASON = "-"

OnNotice = Callable[[str, str], None]


class RecordDamaged(StorageError):
    """The file isn't what we wrote; it should be set aside."""


class TimeUse:
    """One profile's record. Everything runs on one loop, and the disk is waited for in a worker thread.

    `on_notice(old, new)`: `old` no longer holds, `new` is for the owner; either may be "".
    """

    def __init__(
        self, path: Path, *, clock: Callable[[], float] = time.time, on_notice: OnNotice = lambda old, new: None
    ) -> None:
        self._path = path
        self._clock = clock
        self._on_notice = on_notice
        self._record = TimeRecord()
        self._is_open = False
        self._opening: asyncio.Task[None] | None = None
        self._flushed_at = -math.inf
        self._flushing: asyncio.Task[None] | None = None
        self._trouble = ""

    def start(self) -> None:
        """Read what earlier runs left, in the background. Looks before that are not taken down."""
        self._opening = asyncio.get_running_loop().create_task(self._open(), name="time-use-open")

    async def _open(self) -> None:
        stretches, notice, trouble = await asyncio.to_thread(_open_file, self._path, self._clock())
        self._record = TimeRecord(stretches)
        self._is_open = True
        if notice:
            log.warning("time use", notice=notice)
            self._on_notice("", notice)
        self._tell(trouble)

    def look(self, snapshot: AgentSnapshot) -> None:
        """Take down what the agent does now: at each change, and every few seconds. Returns at once."""
        if not self._is_open:
            return
        now = self._clock()
        self._record.look(now, *doing_of(snapshot))
        if not 0 <= now - self._flushed_at < FLUSH_INTERVAL_S and self._flushing is None:
            self._flushed_at = now
            self._flushing = asyncio.get_running_loop().create_task(self._flush(), name="time-use-flush")

    def today(self) -> tuple[Stretch, ...]:
        """The last 24 hours, without a hole."""
        now = self._clock()
        self._record.go_on(now)
        return day(self._record.stretches, now)

    async def close(self) -> None:
        """Write what isn't written, within 2 s: a disk that hangs must not keep the agent from stopping."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await self._finish()

    async def _finish(self) -> None:
        if self._opening is not None:
            await self._opening
        if not self._is_open:
            return
        self._is_open = False
        self._record.end(self._clock())
        if self._flushing is not None:
            await asyncio.wait([self._flushing])
        await self._flush()

    async def _flush(self) -> None:
        since, self._record.changed_from = self._record.changed_from, math.inf
        stretches = tuple(stretch for stretch in self._record.stretches if stretch.start >= since)
        everything = self._record.stretches
        try:
            if self._trouble:  # what was missed meanwhile is written too
                await asyncio.to_thread(_write_all, self._path, everything)
            elif stretches:
                await asyncio.to_thread(_append, self._path, stretches, everything)
            self._tell("")
        except StorageError as error:
            self._record.changed_from = min(since, self._record.changed_from)
            self._tell(_not_kept(error))
        finally:
            self._flushing = None

    def _tell(self, trouble: str) -> None:
        if trouble != self._trouble:
            before, self._trouble = self._trouble, trouble
            if trouble:
                log.warning("time use", notice=trouble)
            self._on_notice(before, trouble)


def read_stretches(path: Path) -> tuple[Stretch, ...]:
    """What the file says, oldest first; () where there is none. Raises RecordDamaged, StorageError."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_READ_BYTES)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise storage_error("read", path, error) from error
    text = data.decode("ascii", "replace")
    if not text.startswith(_HEADER):
        raise RecordDamaged(f"{path} has no line at its start that says what it is")
    lines = text[len(_HEADER) :].splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()  # cut off in the middle by a crash: less than a minute
    record = TimeRecord()
    for number, line in enumerate(lines, start=2):
        record.put(_stretch_of(path, number, line))
    return record.stretches


def _open_file(path: Path, now: float) -> tuple[tuple[Stretch, ...], str, str]:
    """The last day's stretches, what is to be told of them, and why the record can't be kept ("" when it can)."""
    notice = ""
    stretches: tuple[Stretch, ...] = ()
    try:
        try:
            stretches = tuple(stretch for stretch in read_stretches(path) if stretch.end >= now - DAY_S)
        except RecordDamaged as error:
            aside = set_aside(path)
            notice = f"The record of your day was damaged, so it was set aside as {aside.name}: {error.detail}"
        _write_all(path, stretches)
    except StorageError as error:
        return stretches, notice, _not_kept(error)
    return stretches, notice, ""


def _stretch_of(path: Path, number: int, line: str) -> Stretch:
    try:
        start_text, end_text, what, code = line.split()
        start, end = float(start_text), float(end_text)
        if not 0 <= start <= end <= _LATEST:
            raise ValueError
        return Stretch(start=start, end=end, what=Doing(what), reason_code="" if code == _NO_REASON else code)
    except ValueError:
        raise RecordDamaged(f"line {number} of {path} can't be read") from None


def _lines(stretches: tuple[Stretch, ...]) -> bytes:
    return "".join(
        f"{stretch.start:.3f} {stretch.end:.3f} {stretch.what} {stretch.reason_code or _NO_REASON}\n"
        for stretch in stretches
    ).encode("ascii", "replace")


def _write_all(path: Path, stretches: tuple[Stretch, ...]) -> None:
    write_atomically(path, _HEADER.encode() + _lines(stretches), mode=0o600)


def _append(path: Path, stretches: tuple[Stretch, ...], everything: tuple[Stretch, ...]) -> None:
    """Add lines; where the file is gone or has grown big it is written anew from `everything`."""
    size = 0
    with suppress(OSError):
        size = path.stat().st_size
    if not 0 < size < MOST_BYTES:
        _write_all(path, everything)
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
        try:
            data = memoryview(_lines(stretches))
            while data:
                data = data[os.write(descriptor, data) :]
        finally:
            os.close(descriptor)
    except OSError as error:
        raise storage_error("write", path, error) from error


def _not_kept(error: StorageError) -> str:
    return f"The record of your day is not kept: {error.detail}"
