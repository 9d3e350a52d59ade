"""A log record as one clean event, and the event as a line of JSON or of text. Pure: nothing is written here.

Redaction is the last guard: fields with a secret's name are replaced, whatever looks like a JWT or a bearer key is
replaced in every string, tracebacks included, and objects are written as their type's name only.
"""

from __future__ import annotations

import calendar
import enum
import json
import logging
import math
import re
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from core.errors import AgentError

REDACTED = "[redacted]"
SECRET_FIELDS = frozenset(
    {
        "answer",
        "api_key",
        "authorization",
        "content",
        "password",
        "prompt",
        "secret",
        "session_token",
        "text",
        "token",
    }
)
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]*\.eyJ[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*)?")
_BEARER = re.compile(r"(?i)\bbearer\s+[^\s'\",]+")
_MAX_STRING = 2_000  # characters of one field
_MAX_TRACEBACK = 16_000
_MAX_DEPTH = 4
_RESERVED = ("ts", "level", "event", "logger", "exception")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "event_fields", "taskName"}

JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEvent:
    """One redacted event, safe to write."""

    created: float  # seconds since the epoch
    level: str  # "debug" | "info" | "warning" | "error" | "critical"
    event: str
    logger: str
    fields: dict[str, JsonValue] = field(default_factory=dict)
    exception: str = ""  # a traceback, or ""


def event_of_record(record: logging.LogRecord) -> LogEvent:
    """Read a record of ours (`event_fields`) or of another library (message, arguments, extras)."""
    raw: object = getattr(record, "event_fields", None)
    if not isinstance(raw, Mapping):
        raw = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    return LogEvent(
        created=record.created,
        level=record.levelname.lower(),
        event=clean_string(_message_of(record)),
        logger=record.name,
        fields=clean_fields(raw),
        exception=_traceback_of(record),
    )


def clean_string(value: str, limit: int = _MAX_STRING) -> str:
    """Replace what looks like a token; cut what is longer than `limit` characters."""
    if "eyJ" in value:
        value = _JWT.sub(REDACTED, value)
    value = _BEARER.sub(f"Bearer {REDACTED}", value)
    return value if len(value) <= limit else f"{value[:limit]}… ({len(value)} characters)"


def clean_fields(fields: Mapping[str, object]) -> dict[str, JsonValue]:
    return {
        f"{key}_" if key in _RESERVED else key: REDACTED if key.lower() in SECRET_FIELDS else _clean(value, 1)
        for key, value in fields.items()
    }


def json_line(event: LogEvent) -> str:
    """One JSON object without a line break. Keys: ts (ISO 8601, UTC), level, event, logger, fields..., exception."""
    whole: dict[str, JsonValue] = {
        "ts": iso_time(event.created),
        "level": event.level,
        "event": event.event,
        "logger": event.logger,
        **event.fields,
    }
    if event.exception:
        whole["exception"] = event.exception
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def read_json_line(line: str) -> LogEvent | None:
    """The event that `json_line` wrote, its time to the second; None for anything else (a line cut by a full disk)."""
    try:
        values: dict[str, Any] = json.loads(line)
        created = calendar.timegm(time.strptime(values["ts"][:19], "%Y-%m-%dT%H:%M:%S"))
        time.localtime(created)  # raises for a time that can't be shown
        return LogEvent(
            created=created,
            level=str(values["level"]),
            event=str(values["event"]),
            logger=str(values["logger"]),
            fields={key: value for key, value in values.items() if key not in _RESERVED},
            exception=str(values.get("exception", "")),
        )
    except (ValueError, KeyError, TypeError, OverflowError, OSError):
        return None


def dated_line(event: LogEvent, *, has_colour: bool) -> str:
    """`text_line` with its day before it: for a log that is read later."""
    return f"{time.strftime('%Y-%m-%d', time.localtime(event.created))} {text_line(event, has_colour=has_colour)}"


def text_line(
    event: LogEvent, *, has_colour: bool, local_time: Callable[[float], time.struct_time] = time.localtime
) -> str:
    """`09:19:12 warning  event  key=value`, a traceback indented below. No control character gets through."""
    clock = time.strftime("%H:%M:%S", local_time(event.created))
    pairs = " ".join(f"{key}={_text_value(value)}" for key, value in event.fields.items())
    level = f"{event.level:<8}"
    if has_colour:
        level = f"\x1b[{_COLOURS.get(event.level, '0')}m{level}\x1b[0m"
        pairs = f"\x1b[2m{pairs}\x1b[0m" if pairs else ""
    line = f"{clock} {level} {_printable(event.event)}" + (f"  {pairs}" if pairs else "")
    if event.exception:
        line += "".join(f"\n    {_printable(part)}" for part in event.exception.splitlines())
    return line


def iso_time(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"


_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - another library's wrong format arguments must not lose the event
        return str(record.msg)


def _traceback_of(record: logging.LogRecord) -> str:
    if record.exc_info and record.exc_info[1] is not None:
        lines = traceback.format_exception(record.exc_info[1])
        return clean_string("".join(lines).rstrip(), _MAX_TRACEBACK)
    return clean_string(record.exc_text, _MAX_TRACEBACK) if record.exc_text else ""


def _clean(value: object, depth: int) -> JsonValue:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) < 2**63 else "<large int>"  # JSON readers keep 64 bits at most
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str | PurePath):
        return clean_string(str(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, enum.Enum):
        return _clean(value.value, depth)
    if isinstance(value, BaseException):
        return clean_string(_describe_error(value))
    return _clean_container(value, depth)


def _clean_container(value: object, depth: int) -> JsonValue:
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        return {
            str(key): REDACTED if str(key).lower() in SECRET_FIELDS else _clean(item, depth + 1)
            for key, item in value.items()
        }
    if depth < _MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [_clean(item, depth + 1) for item in value]
    return f"<{type(value).__name__}>"


def _describe_error(error: BaseException) -> str:
    if isinstance(error, AgentError):
        return f"{error.title}: {error.detail}"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _text_value(value: JsonValue) -> str:
    if isinstance(value, str) and re.fullmatch(r"[^\s\"=\x00-\x20\x7f-\x9f]+", value):
        return value
    return _printable(json.dumps(value, ensure_ascii=False))


def _printable(text: str) -> str:
    """Escape control characters: a remote name must not move the owner's cursor or fake a second line."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda match: f"\\x{ord(match[0]):02x}", text)
