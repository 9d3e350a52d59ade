"""`titan logs`: the agent's log files, readable or as the JSON lines that they are. Works without a running agent."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Annotated

import typer

from core.cli import door
from core.cli.output import JsonOption, ProfileOption, plain
from core.errors import StorageError
from core.log_follower import LogFollower
from core.log_format import dated_line, read_json_line

POLL_S = 0.25


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


def render_line(line: str, *, has_colour: bool) -> str:
    """A JSON line as text with its date; anything else as it is, without control characters."""
    event = read_json_line(line)
    return plain(line) if event is None else dated_line(event, has_colour=has_colour)


def _json_printer(line: str) -> None:
    with contextlib.suppress(ValueError):  # a line that a full disk cut would break the reader: left out
        json.loads(line)
        typer.echo(line)


def _text_printer() -> Callable[[str], None]:
    has_colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return lambda line: typer.echo(render_line(line, has_colour=has_colour))
