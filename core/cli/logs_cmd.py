"""`titan logs`: the agent's log files, readable or as the JSON lines that they are. Works without a running agent."""

from __future__ import annotations

import calendar
import contextlib
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from core.cli import door
from core.cli.output import JsonOption, ProfileOption, plain
from core.errors import StorageError
from core.log_format import LogEvent, text_line
from core.paths import storage_error

POLL_S = 0.25
_EVENT_KEYS = ("ts", "level", "event", "logger", "exception")


def show_logs(
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, metavar="N", help="How many of the last ones.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as new ones come.")] = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """What the agent wrote to its log."""
    path = door.paths_of(profile).log_file
    show = _json_printer if as_json else _text_printer()
    follower = LogFollower(path)
    if not follow and not path.exists():
        raise StorageError(f"There is no log yet: {path}", hint="The agent writes it once it has run: `titan run`.")
    for line in follower.last(lines):
        show(line)
    while follow:
        for line in follower.new():
            show(line)
        sys.stdout.flush()
        time.sleep(POLL_S)


class LogFollower:
    """Read the last lines of a rotating log, then what is added, across a rotation."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._inode: int | None = None
        self._rest = b""  # a line that isn't whole yet

    def last(self, count: int) -> list[str]:
        """The last `count` lines, older files included. Raises StorageError."""
        found: deque[str] = deque(self.new(), maxlen=count)
        number = 1
        while len(found) < count and (older := self._path.with_name(f"{self._path.name}.{number}")).exists():
            try:
                text = older.read_text(encoding="utf-8", errors="replace")
            except OSError as error:
                raise storage_error("read", older, error) from error
            found.extendleft(reversed(text.splitlines()[-(count - len(found)) :]))
            number += 1
        return list(found)

    def new(self) -> Iterator[str]:
        """Whole lines that came since the last call. A file that isn't there yet gives none. Raises StorageError."""
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self._offset:
                    self._inode, self._offset, self._rest = status.st_ino, 0, b""
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return
        except OSError as error:
            raise storage_error("read", self._path, error) from error
        self._offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace")


def render_line(line: str, *, has_colour: bool) -> str:
    """A JSON line as text with its date; anything else as it is, without control characters."""
    try:
        values: dict[str, Any] = json.loads(line)
        moment = calendar.timegm(time.strptime(values["ts"][:19], "%Y-%m-%dT%H:%M:%S"))
        event = LogEvent(
            created=moment,
            level=str(values["level"]),
            event=str(values["event"]),
            logger=str(values["logger"]),
            fields={key: value for key, value in values.items() if key not in _EVENT_KEYS},
            exception=str(values.get("exception", "")),
        )
    except (ValueError, KeyError, TypeError):
        return plain(line)
    return f"{time.strftime('%Y-%m-%d', time.localtime(moment))} {text_line(event, has_colour=has_colour)}"


def _json_printer(line: str) -> None:
    with contextlib.suppress(ValueError):  # a line that a full disk cut would break the reader: left out
        json.loads(line)
        typer.echo(line)


def _text_printer() -> Callable[[str], None]:
    has_colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return lambda line: typer.echo(render_line(line, has_colour=has_colour))
