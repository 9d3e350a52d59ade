"""What is written, what is never written, and that logging harms nobody."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import errno
import io
import json
import logging
import math
import stat
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import logs
from core.engines import Prompt
from core.errors import EngineUnreachable
from core.log_format import LogEvent, clean_string, event_of_record, json_line, read_json_line, text_line
from core.log_output import LogFile, LogWriter

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ0aXRhbiJ9.c2lnbmF0dXJl"


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class FakeFullDisk(LogFile):
    """A disk that is full while `is_full` is set."""

    is_full = True

    def _append(self, data: bytes) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super()._append(data)


class FakeStuckTerminal(io.StringIO):
    """A terminal that takes nothing until it is released (Ctrl+S, a stopped pager)."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.released = threading.Event()

    def write(self, text: str) -> int:
        self.entered.set()
        self.released.wait(10)
        return super().write(text)


class FakeBrokenPipe(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def log_lines(act: Callable[[], object], *, level: str = "info", folder: Path | None = None) -> list[dict[str, Any]]:
    """Everything that `act` logs, as read back from JSON lines."""
    stream = io.StringIO()
    with logs.configure(level=level, stream=stream, folder=folder):
        act()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def log_one(**fields: object) -> dict[str, Any]:
    (line,) = log_lines(lambda: logs.get_logger("core.test").info("tried", **fields))
    return line


def make_event(event: str = "event", level: str = "info", **fields: Any) -> LogEvent:
    return LogEvent(created=0.25, level=level, event=event, logger="core.test", fields=fields)


def test_event_and_its_fields_are_one_json_line() -> None:
    line = log_one(model="llama", tokens=12, is_done=True, rate=1.5, nothing=None, where=Path("a/b"), names=("x", "y"))

    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "info",
        "event": "tried",
        "logger": "core.test",
        "model": "llama",
        "tokens": 12,
        "is_done": True,
        "rate": 1.5,
        "nothing": None,
        "where": str(Path("a/b")),
        "names": ["x", "y"],
    }


def test_time_is_utc_with_milliseconds() -> None:
    assert json.loads(json_line(make_event()))["ts"] == "1970-01-01T00:00:00.250Z"


def test_a_written_event_is_read_again_to_the_second() -> None:
    event = dataclasses.replace(make_event(), exception="T\n  f\nE: y")
    assert read_json_line(json_line(event)) == dataclasses.replace(event, created=0)


@pytest.mark.parametrize(
    "line", ["", "no json", "[1]", '{"ts":1}', '{"ts":"1970-01-01T00:00:00.250Z","level":"info"', "{}"]
)
def test_what_is_no_event_is_not_read_as_one(line: str) -> None:
    assert read_json_line(line) is None


@pytest.mark.parametrize(
    "name", ["prompt", "token", "content", "session_token", "text", "api_key", "authorization", "Authorization"]
)
def test_fields_with_secret_names_are_replaced(name: str) -> None:
    assert log_one(**{name: "canary"})[name] == "[redacted]"
    assert log_one(request={"headers": [{name: "canary"}]})["request"] == {"headers": [{name: "[redacted]"}]}


def test_tokens_in_strings_and_tracebacks_are_replaced() -> None:
    def act() -> None:
        try:
            raise ValueError(f"cannot parse {JWT} at all")
        except ValueError as error:
            logs.get_logger("core.test").exception("failed", reason=error, header=f"Bearer {JWT}", key="bearer sk-1")

    (line,) = log_lines(act)

    assert JWT not in json.dumps(line)
    assert "eyJ" not in json.dumps(line)
    assert "sk-1" not in json.dumps(line)
    assert "ValueError: cannot parse [redacted] at all" in line["exception"]


def test_a_cut_token_is_replaced_too() -> None:
    assert clean_string(f"x {JWT[:30]}") == "x [redacted]"


def test_objects_are_written_as_their_type_so_that_a_repr_leaks_nothing() -> None:
    prompt = Prompt(model="m", text="canary", max_tokens=1)

    line = log_one(request=prompt, raw=b"canary", many=[prompt])

    assert "canary" not in json.dumps(line)
    assert line["request"] == "<Prompt>"
    assert line["raw"] == "<6 bytes>"


def test_foreign_numbers_and_enums_stay_json() -> None:
    class Phase(enum.Enum):
        RUNNING = "running"

    line = log_one(rate=math.nan, limit=math.inf, big=10**5000, phase=Phase.RUNNING, deep=[[[[[["x"]]]]]])

    assert (line["rate"], line["limit"], line["big"], line["phase"]) == ("nan", "inf", "<large int>", "running")


def test_lone_surrogates_and_line_breaks_stay_one_json_line(tmp_path: Path) -> None:
    (line,) = log_lines(lambda: logs.get_logger("core.test").info("a\nb", name="\ud800"), folder=tmp_path)

    assert line["event"] == "a\nb"
    assert len((tmp_path / "agent.log").read_text().splitlines()) == 1


@given(
    st.dictionaries(st.text(max_size=8), st.recursive(st.text() | st.floats() | st.integers(), st.lists, max_leaves=10))
)
def test_any_field_gives_one_line_of_strict_json(fields: dict[str, object]) -> None:
    record = logging.makeLogRecord({"msg": "event", "levelname": "INFO", "event_fields": fields})

    line = json_line(event_of_record(record))

    assert "\n" not in line
    json.loads(line, parse_constant=lambda name: pytest.fail(name))


def test_fields_cannot_replace_the_events_own_keys() -> None:
    line = log_one(ts=1, level="x", logger="y")

    assert (line["level"], line["ts_"], line["level_"], line["logger_"]) == ("info", 1, "x", "y")


def test_bound_fields_are_in_every_event() -> None:
    (line,) = log_lines(lambda: logs.get_logger("core.test").bind(session_id="s1").info("ended", tokens=3))

    assert (line["session_id"], line["tokens"]) == ("s1", 3)


def test_agent_errors_are_written_with_title_and_detail() -> None:
    assert log_one(reason=EngineUnreachable("no answer from localhost:11434"))["reason"] == (
        "Engine connection failed: no answer from localhost:11434"
    )


def test_level_applies_to_our_loggers_and_can_change() -> None:
    def act() -> None:
        logs.get_logger("core.test").debug("unheard")
        logs.set_level("debug")
        logs.get_logger("core.test").debug("heard")

    assert [line["event"] for line in log_lines(act)] == ["heard"]


def test_foreign_loggers_are_heard_from_warning_on() -> None:
    def act() -> None:
        logging.getLogger("aiohttp.access").info("GET /")
        logging.getLogger("grpc").warning("lost %s", "link", extra={"peer": "10.0.0.1"})

    (line,) = log_lines(act, level="debug")

    assert (line["event"], line["logger"], line["peer"]) == ("lost link", "grpc", "10.0.0.1")


def test_a_foreign_record_with_wrong_arguments_is_kept() -> None:
    record = logging.makeLogRecord({"msg": "only %s and %s", "args": ("one",), "levelname": "WARNING"})

    assert event_of_record(record).event == "only %s and %s"


def test_flood_of_one_foreign_event_leaves_room_for_the_others() -> None:
    def act() -> None:
        for number in range(500):
            logging.getLogger("grpc").error("Unexpected DecodeError in a request from %s", number)
        logging.getLogger("grpc").error("another kind")
        for _ in range(30):
            logs.get_logger("core.test").error("ours")

    events = [line["event"] for line in log_lines(act)]

    assert sum(event.startswith("Unexpected") for event in events) == logs.FLOOD_LIMIT
    assert events.count("another kind") == 1
    assert events.count("ours") == 30


def test_flood_guard_says_that_it_leaves_out_and_opens_again() -> None:
    now = [100.0]
    guard = logs.FloodGuard(lambda: now[0])

    def tell() -> logging.LogRecord | None:
        record = logging.makeLogRecord({"name": "grpc", "msg": "again"})
        return record if guard.allows(record) else None

    told = [tell() for _ in range(logs.FLOOD_LIMIT + 5)]
    assert [record is None for record in told] == [False] * logs.FLOOD_LIMIT + [True] * 5
    last = told[logs.FLOOD_LIMIT - 1]
    assert last is not None
    assert event_of_record(last).fields == {"left_out_for_s": 60}

    now[0] += logs.FLOOD_WINDOW_S
    assert tell() is not None


def test_python_warnings_are_captured() -> None:
    def act() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(True)
            warnings.warn("old call", DeprecationWarning, stacklevel=1)

    (line,) = log_lines(act)

    assert "old call" in line["event"]


def test_uncaught_exceptions_of_threads_and_finalisers_are_logged() -> None:
    class Leaky:
        def __del__(self) -> None:
            raise RuntimeError("in finaliser")

    def fail() -> None:
        raise RuntimeError("in thread")

    def act() -> None:
        thread = threading.Thread(target=fail, name="worker")
        thread.start()
        thread.join()
        Leaky()
        sys.excepthook(RuntimeError, RuntimeError("in main"), None)

    lines = log_lines(act)

    assert [line["exception"].splitlines()[-1] for line in lines] == [
        "RuntimeError: in thread",
        "RuntimeError: in finaliser",
        "RuntimeError: in main",
    ]
    assert lines[0]["thread"] == "worker"


def test_close_restores_logging_as_it_was() -> None:
    before = (sys.excepthook, threading.excepthook, logging.getLogger().handlers[:], logging.getLogger().level)

    log_lines(lambda: None)

    assert before == (sys.excepthook, threading.excepthook, logging.getLogger().handlers[:], logging.getLogger().level)


@pytest.mark.parametrize(
    ("log_format", "stream", "is_json"),
    [
        ("auto", io.StringIO, True),
        ("auto", FakeTerminal, False),
        ("json", FakeTerminal, True),
        ("text", io.StringIO, False),
    ],
)
def test_auto_is_text_on_a_terminal_and_json_elsewhere(
    log_format: str, stream: type[io.StringIO], is_json: bool
) -> None:
    target = stream()

    with logs.configure(log_format=log_format, stream=target):
        logs.get_logger("core.test").info("started")

    assert target.getvalue().startswith("{") is is_json


def test_text_line_is_readable_and_escapes_control_characters() -> None:
    event = make_event("started\x1b[2J", client="a b", model="llama:8b", odd="x\n\u2028y", tokens=3)

    line = text_line(event, has_colour=False, local_time=time.gmtime)

    assert line == '00:00:00 info     started\\x1b[2J  client="a b" model=llama:8b odd="x\\n\\x2028y" tokens=3'


def test_text_has_colour_only_on_a_terminal_that_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def logged() -> str:
        target = FakeTerminal()
        with logs.configure(stream=target):
            logs.get_logger("core.test").info("started")
        return target.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[" in logged()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in logged()
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b[" not in logged()


def test_files_rotate_within_their_bounds_and_only_the_owner_reads_them(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    with logs.configure(stream=io.StringIO(), folder=folder, max_bytes=2_000, backups=2) as session:
        for number in range(200):
            logs.get_logger("core.test").info("counted", number=number)
        assert session.flush()

    files = sorted(folder.iterdir())
    assert [file.name for file in files] == ["agent.log", "agent.log.1", "agent.log.2"]
    assert all(file.stat().st_size <= 2_000 for file in files)
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    numbers = [json.loads(line)["number"] for file in reversed(files) for line in file.read_text().splitlines()]
    assert numbers == list(range(numbers[0], 200))


def test_an_existing_file_is_continued_and_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "agent.log").write_text('{"event":"before"}\n')
    (tmp_path / "agent.log").chmod(0o644)

    log_lines(lambda: logs.get_logger("core.test").info("after"), folder=tmp_path)

    events = [json.loads(line)["event"] for line in (tmp_path / "agent.log").read_text().splitlines()]
    assert events == ["before", "after"]
    assert stat.S_IMODE((tmp_path / "agent.log").stat().st_mode) == 0o600


def test_an_unwritable_folder_is_said_once_and_stderr_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    def act() -> None:
        logs.get_logger("core.test").info("first")
        logs.get_logger("core.test").info("second")

    lines = log_lines(act, folder=tmp_path / "file" / "log")

    assert [line["event"] for line in lines] == [
        "first",
        "log file cannot be written, going on without it",
        "second",
    ]
    assert lines[1]["reason"] == "Not a directory"


def test_a_full_disk_is_said_once_and_the_file_is_used_again_when_there_is_room(tmp_path: Path) -> None:
    stream, now = io.StringIO(), [0.0]
    log_file = FakeFullDisk(tmp_path / "agent.log", max_bytes=10_000, backups=1)
    writer = LogWriter(stream, json_line, log_file, clock=lambda: now[0])
    writer.start()

    for event in ("one", "two"):
        writer.put(make_event(event))
    assert writer.flush(5)
    now[0] = 60.5  # tried again, and still full: no second warning
    writer.put(make_event("still full"))
    assert writer.flush(5)
    log_file.is_full, now[0] = False, 121.0
    writer.put(make_event("three"))
    writer.close(5)

    assert stream.getvalue().count("No space left on device") == 1
    assert [json.loads(line)["event"] for line in (tmp_path / "agent.log").read_text().splitlines()] == ["three"]


def test_a_reader_that_leaves_does_not_stop_the_file(tmp_path: Path) -> None:
    with logs.configure(stream=FakeBrokenPipe(), folder=tmp_path):
        logs.get_logger("core.test").info("one")
        logs.get_logger("core.test").info("two")

    assert len((tmp_path / "agent.log").read_text().splitlines()) == 2


def test_a_stuck_terminal_stops_nobody_and_loses_a_counted_number() -> None:
    stream = FakeStuckTerminal()
    writer = LogWriter(stream, json_line, None, max_waiting=10)
    writer.start()
    writer.put(make_event("stuck"))
    assert stream.entered.wait(5)

    for number in range(25):
        writer.put(make_event("waiting", number=number))  # returns at once, although nothing is taken
    stream.released.set()
    writer.close(5)

    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines].count("waiting") == 10
    assert [line["count"] for line in lines if line["event"] == "log events lost"] == [15]


async def test_a_task_that_dies_unseen_is_logged_with_its_traceback() -> None:
    stream = io.StringIO()

    async def die() -> None:
        raise RuntimeError("unseen")

    with logs.configure(stream=stream):
        task = asyncio.ensure_future(die())
        await asyncio.wait([task])
        del task

    (line,) = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert line["logger"] == "asyncio"
    assert "RuntimeError: unseen" in line["exception"]


def test_importing_logs_brings_in_no_logging_framework() -> None:
    code = "import sys, core.logs; print([m for m in ('structlog', 'rich', 'grpc', 'typer') if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
