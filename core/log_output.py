"""Where log lines go: one writer thread, a stream that may break, and files that rotate."""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from core.log_format import LogEvent, json_line

MAX_WAITING = 10_000  # events; a stuck terminal or disk costs memory up to here, then events are dropped and counted
FILE_RETRY_S = 60.0


class LogFile:
    """A JSON-lines file that only its owner can read, rotated by size: agent.log, then .1 (newest) ... .N."""

    def __init__(self, path: Path, *, max_bytes: int, backups: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._backups = backups
        self._fd: int | None = None
        self._size = 0

    def write(self, line: str) -> None:
        """Append one line. Raises OSError; the next call starts afresh."""
        data = f"{line}\n".encode(errors="backslashreplace")
        try:
            if self._fd is None:
                self._open()
            if self._size and self._size + len(data) > self._max_bytes:
                self._rotate()
            self._append(data)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = None

    def _append(self, data: bytes) -> None:
        assert self._fd is not None
        written = os.write(self._fd, data)
        self._size += written
        if written < len(data):  # a disk that fills up: finish or fail, a later line must not join half a one
            self._size += os.write(self._fd, data[written:])

    def _open(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
        self._fd = os.open(self.path, flags | getattr(os, "O_NONBLOCK", 0), 0o600)
        status = os.fstat(self._fd)
        if stat.S_ISFIFO(status.st_mode):  # who reads it could stop every line, the terminal's too
            raise OSError(errno.EINVAL, "it is a pipe")
        if hasattr(os, "fchmod") and stat.S_ISREG(status.st_mode):
            os.fchmod(self._fd, 0o600)
        self._size = status.st_size

    def _rotate(self) -> None:
        self.close()  # Windows renames no open file
        for number in range(self._backups, 0, -1):
            older = self._numbered(number - 1)
            if older.exists():
                older.replace(self._numbered(number))
        if self._backups == 0:
            self.path.unlink(missing_ok=True)
        self._open()

    def _numbered(self, number: int) -> Path:
        return self.path if number == 0 else self.path.with_name(f"{self.path.name}.{number}")


class _LeaveStream:
    """Among the events: what comes after it is for the file only."""


class LogWriter:
    """One daemon thread that writes events in order to the stream and to the file. Neither's failure is the agent's.

    `put` never blocks. When the stream breaks (its reader left) only the file goes on; when the file breaks only the
    stream goes on, one warning says so, and the file is tried again each minute.
    """

    def __init__(
        self,
        stream: TextIO,
        line_of: Callable[[LogEvent], str],
        log_file: LogFile | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._stream: TextIO | None = stream
        self._line_of = line_of
        self._file = log_file
        self._clock = clock
        self._max_waiting = max_waiting
        self._file_retry_at: float | None = None  # None: the file works
        self._lost = 0
        self._waiting: queue.SimpleQueue[LogEvent | threading.Event | _LeaveStream | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, event: LogEvent) -> None:
        if self._waiting.qsize() < self._max_waiting:
            self._waiting.put(event)
        else:
            self._lost += 1

    def count_lost(self) -> None:
        self._lost += 1

    def flush(self, timeout_s: float) -> bool:
        if not self._thread.is_alive():
            return False
        reached = threading.Event()
        self._waiting.put(reached)
        return reached.wait(timeout_s)

    def leave_stream(self) -> None:
        self._waiting.put(_LeaveStream())

    def close(self, timeout_s: float) -> None:
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            if isinstance(item, threading.Event):
                item.set()
                continue
            if isinstance(item, _LeaveStream):
                self._stream = None
                continue
            self._write(item)
            if self._lost:
                lost, self._lost = self._lost, 0
                self._write(_own_event("warning", "log events lost", {"count": lost}))
        if self._file is not None:
            self._file.close()

    def _write(self, event: LogEvent) -> None:
        self._write_stream(event)
        if self._file is None or (self._file_retry_at is not None and self._clock() < self._file_retry_at):
            return
        try:
            self._file.write(json_line(event))
            self._file_retry_at = None
        except (OSError, ValueError) as error:
            is_news = self._file_retry_at is None
            self._file_retry_at = self._clock() + FILE_RETRY_S
            if is_news:
                fields = {"path": str(self._file.path), "reason": getattr(error, "strerror", None) or str(error)}
                self._write_stream(_own_event("warning", "log file cannot be written, going on without it", fields))

    def _write_stream(self, event: LogEvent) -> None:
        if self._stream is None:
            return
        try:
            line = f"{self._line_of(event)}\n"
            encoding = getattr(self._stream, "encoding", None) or "utf-8"
            self._stream.write(line.encode(encoding, "backslashreplace").decode(encoding))
            self._stream.flush()
        except (OSError, ValueError):  # the reader left, or the stream was closed
            self._stream = None


def _own_event(level: str, event: str, fields: dict[str, str | int]) -> LogEvent:
    return LogEvent(created=time.time(), level=level, event=event, logger="core.logs", fields=dict(fields))
