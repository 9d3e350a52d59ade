"""The record of core/time_use.py on disk: one short line a stretch, appended twice a minute, made small at each start.

A line says `start end what reason`; it takes the place of every line before it that starts no earlier, so a stretch
that goes on is one more line and nothing is ever written in the middle. Without fsync: a killed process loses at most
half a minute, a power cut what the system had not written yet.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from core.atomic_file import read_plain, set_aside, write_atomically
from core.delayed_writer import CLOSE_LIMIT_S, DelayedWriter, OnNotice
from core.errors import StorageError
from core.logs import get_logger
from core.paths import storage_error
from core.snapshot import AgentSnapshot
from core.time_use import DAY_S, Doing, Stretch, TimeRecord, day, doing_of

log = get_logger(__name__)

FILE_NAME = "time-use.txt"  # beside the ledger
MOST_BYTES = 2_000_000  # a day of sessions, one after the other; then the file is made small again
_MOST_READ_BYTES = 16_000_000
_HEADER = "titan time use 1\n"
_LATEST = 253_402_300_799.0  # the end of the year 9999
_NO_REASON = "-"


class RecordDamaged(StorageError):
    """The file isn't what we wrote; it should be set aside."""


class TimeUse:
    """One profile's record. Everything runs on one loop, and the disk is waited for in a worker thread.

    `on_notice(old, new)`: `old` no longer holds, `new` is for the owner; either may be "".
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.time,
        on_notice: OnNotice = lambda old, new: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._path = path
        self._clock = clock
        self._on_notice = on_notice
        self._record = TimeRecord()
        self._is_open = False
        self._opening: asyncio.Task[None] | None = None
        self._writer = DelayedWriter("The record of your day", self._write, on_notice=on_notice, sleep=sleep)

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
        if trouble is not None:
            self._writer.note_trouble(trouble)

    def look(self, snapshot: AgentSnapshot) -> None:
        """Take down what the agent does now: at each change, and every few seconds. Returns at once."""
        if self._is_open:
            self._record.look(self._clock(), *doing_of(snapshot))
            self._writer.note_change()

    def today(self) -> tuple[Stretch, ...]:
        """The last 24 hours, without a hole."""
        now = self._clock()
        self._record.go_on(now)
        return day(self._record.stretches, now)

    async def close(self) -> None:
        """Write what isn't written; a disk that hangs must not keep the agent from stopping."""
        if self._opening is not None:
            await asyncio.wait([self._opening], timeout=CLOSE_LIMIT_S)
        if self._is_open:
            self._is_open = False
            self._record.end(self._clock())
            self._writer.note_change()
            await self._writer.close()

    async def _write(self) -> None:
        since, self._record.changed_from = self._record.changed_from, math.inf
        stretches = tuple(stretch for stretch in self._record.stretches if stretch.start >= since)
        everything = self._record.stretches
        try:
            if self._writer.trouble:  # what was missed meanwhile is written too
                await asyncio.to_thread(_write_all, self._path, everything)
            elif stretches:
                await asyncio.to_thread(_append, self._path, stretches, everything)
        except StorageError:
            self._record.changed_from = min(since, self._record.changed_from)
            raise


def read_stretches(path: Path) -> tuple[Stretch, ...]:
    """What the file says, oldest first; () where there is none. Raises RecordDamaged, StorageError."""
    try:
        data = read_plain(path, _MOST_READ_BYTES)
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


def _open_file(path: Path, now: float) -> tuple[tuple[Stretch, ...], str, StorageError | None]:
    """The last day's stretches, what is to be told of them, and why the record can't be kept."""
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
        return stretches, notice, error
    return stretches, notice, None


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
