"""Events with fields, as JSON lines or readable text, to stderr and to rotating files. Never a prompt, answer or token.

The standard library's logging underneath, because structlog costs 5.5 MB and 80 ms here (logging: 0.2 MB, 1 ms).
`get_logger(__name__).info("session ended", model=name, tokens=12)` works before and after `configure`, on any thread.
An event is copied and redacted where it is logged, and written by one thread: a slow terminal or disk never stops the
loop. The redaction in core/log_format.py is the last guard; the promise is that nobody passes such text.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TextIO

from core.log_format import LogEvent, event_of_record, json_line, text_line
from core.log_output import LogFile, LogWriter

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
FORMATS = ("auto", "json", "text")
OUR_LOGGERS = ("core", "titan_gui")  # at the owner's level; everything else is foreign and heard from "warning" on
LOG_FILE_NAME = "agent.log"
FLOOD_LIMIT = 20  # foreign events of one kind in one window
FLOOD_WINDOW_S = 60.0

ExcInfo = bool | BaseException


class EventLogger:
    """Log an event's name and its fields. Never raises and never blocks for long.

    Field values may be str, numbers, bool, None, paths, enums, exceptions, and lists or mappings of these; of anything
    else only the type's name is written, so that no object's repr can leak text.
    """

    __slots__ = ("_bound", "_logger")

    def __init__(self, logger: logging.Logger, bound: dict[str, object] | None = None) -> None:
        self._logger = logger
        self._bound = bound or {}

    def bind(self, **fields: object) -> EventLogger:
        """A logger that adds these fields to every event."""
        return EventLogger(self._logger, {**self._bound, **fields})

    def debug(self, event: str, /, **fields: object) -> None:
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, /, *, exc_info: ExcInfo = False, **fields: object) -> None:
        self._log(logging.ERROR, event, fields, exc_info=exc_info)

    def exception(self, event: str, /, **fields: object) -> None:
        """An error with the traceback of the exception that is being handled."""
        self._log(logging.ERROR, event, fields, exc_info=True)

    def _log(self, level: int, event: str, fields: dict[str, object], *, exc_info: ExcInfo = False) -> None:
        if self._logger.isEnabledFor(level):
            merged = {**self._bound, **fields}
            self._logger.log(level, "%s", event, extra={"event_fields": merged}, exc_info=exc_info or None)


def get_logger(name: str) -> EventLogger:
    return EventLogger(logging.getLogger(name))


def configure(
    *,
    level: str = "info",
    log_format: str = "auto",
    folder: Path | None = None,
    stream: TextIO | None = None,
    max_bytes: int = 5_000_000,
    backups: int = 4,
) -> LogSession:
    """Send every event to `stream` (default: stderr) and, with a folder, to rotating JSON files there.

    The files take (1 + backups) × max_bytes at most. A folder that cannot be written costs the file only: one warning
    says so. Close the returned session (or use it as a context manager) to write what is left and undo everything.
    """
    quiet_grpc_core()
    target = stream if stream is not None else sys.stderr
    use_text = log_format == "text" or (log_format == "auto" and target.isatty())
    line_of = _text_formatter(target) if use_text else json_line
    log_file = LogFile(folder / LOG_FILE_NAME, max_bytes=max_bytes, backups=backups) if folder is not None else None
    return LogSession(LogWriter(target, line_of, log_file), level, is_text=use_text)


def set_level(level: str) -> None:
    """Change the level of our own loggers while running."""
    for name in OUR_LOGGERS:
        logging.getLogger(name).setLevel(LEVELS[level])


def silence() -> None:
    """For commands that talk to a person: nothing is logged unless `configure` is called (not even to lastResort)."""
    quiet_grpc_core()
    logging.getLogger().addHandler(logging.NullHandler())


def quiet_grpc_core() -> None:
    """Keep gRPC's C core from writing its own unstructured lines to stderr. Must come before grpc is imported."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


class LogSession:
    """The handlers, hooks and writer thread of one `configure` call."""

    def __init__(self, writer: LogWriter, level: str, *, is_text: bool = False) -> None:
        self.is_text = is_text  # the stream gets lines for people, not JSON
        self._writer = writer
        self._handler = _WriterHandler(writer)
        self._undo = contextlib.ExitStack()
        root = logging.getLogger()
        self._undo.callback(root.setLevel, root.level)
        self._undo.callback(root.removeHandler, self._handler)
        for name in OUR_LOGGERS:
            logger = logging.getLogger(name)
            self._undo.callback(logger.setLevel, logger.level)
        root.setLevel(logging.WARNING)
        root.addHandler(self._handler)
        set_level(level)
        logging.captureWarnings(True)
        self._undo.callback(logging.captureWarnings, False)
        self._undo.enter_context(_uncaught_exceptions_logged())
        atexit.register(self.close)
        writer.start()

    def __enter__(self) -> LogSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def flush(self, timeout_s: float = 2.0) -> bool:
        """Wait until everything logged so far is written; False when the limit came first."""
        return self._writer.flush(timeout_s)

    def leave_stream(self) -> None:
        """Write what was logged so far; from now on only the file gets events."""
        self._writer.leave_stream()

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what is left, for `timeout_s` at most, and restore logging as it was. May be called twice."""
        atexit.unregister(self.close)
        self._undo.close()
        self._writer.close(timeout_s)


class FloodGuard:
    """Lets each kind of foreign event through FLOOD_LIMIT times a minute: a stranger who sends garbage must not be able
    to push everything else out of the rotating files (grpc logs a traceback for each message that it can't parse)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._window_ends_at = 0.0
        self._counts: Counter[tuple[str, str]] = Counter()

    def allows(self, record: logging.LogRecord) -> bool:
        """Count the record. The last one allowed is marked `left_out_for_s`: more of its kind are not shown."""
        now = self._clock()
        if now >= self._window_ends_at:
            self._window_ends_at = now + FLOOD_WINDOW_S
            self._counts.clear()
        key = (record.name, str(record.msg)[:40])  # the start: the rest may differ each time
        self._counts[key] += 1
        if self._counts[key] == FLOOD_LIMIT:
            record.left_out_for_s = round(self._window_ends_at - now)
        return self._counts[key] <= FLOOD_LIMIT


class _WriterHandler(logging.Handler):
    """Turns records into events. An event that cannot be made is counted as lost; logging never raises."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer
        self._guard = FloodGuard()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if record.name.partition(".")[0] in OUR_LOGGERS or self._guard.allows(record):
                self._writer.put(event_of_record(record))
        except Exception:  # noqa: BLE001 - the edge of logging: a bad field must not end a session
            self._writer.count_lost()

    def createLock(self) -> None:
        self.lock = None  # the writer's queue is thread-safe; a lock here would only make the loop wait


@contextlib.contextmanager
def _uncaught_exceptions_logged() -> Iterator[None]:
    """Send what would be printed as a bare traceback (main thread, other threads, __del__) to the log."""
    log = logging.getLogger("core.uncaught")
    before = (sys.excepthook, threading.excepthook, sys.unraisablehook)

    def on_main(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            before[0](kind, error, trace)
            return
        log.critical("uncaught exception", exc_info=(kind, error, trace))

    def on_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            fields = {"event_fields": {"thread": args.thread.name if args.thread else "?"}}
            log.critical("uncaught exception in a thread", exc_info=args.exc_value, extra=fields)

    def on_unraisable(args: sys.UnraisableHookArgs) -> None:
        if args.exc_value is not None:
            log.error("exception that nobody could catch", exc_info=args.exc_value)

    sys.excepthook, threading.excepthook, sys.unraisablehook = on_main, on_thread, on_unraisable
    try:
        yield
    finally:
        sys.excepthook, threading.excepthook, sys.unraisablehook = before


def _text_formatter(stream: TextIO) -> Callable[[LogEvent], str]:
    has_colour = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return lambda event: text_line(event, has_colour=has_colour, local_time=time.localtime)
