"""How every command speaks: text, or JSON alone on stdout with --json; errors with their remedy on stderr."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import AgentError, AlreadyRunningError, ConfigError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

EXIT_FAILED = 1
EXIT_BAD_SETTINGS = 2
EXIT_ALREADY_RUNNING = 3

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line feed


class _State:
    """Whether --json was given, for the error that a command may end with."""

    uses_json = False


def reset() -> None:
    _State.uses_json = False


def _take_json(value: bool) -> bool:
    _State.uses_json = _State.uses_json or value
    return value


JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.", callback=_take_json)]
ProfileOption = Annotated[str | None, typer.Option("--profile", help="The profile to use.", metavar="NAME")]


def print_json(value: object) -> None:
    """One JSON object on one line, so that a stream of them is JSON lines."""
    typer.echo(json.dumps(value, ensure_ascii=False))


def print_text(*parts: RenderableType) -> None:
    """Text, tables and the like on stdout, in the terminal's width and, where it wants them, its colours."""
    terminal = console()
    with terminal.capture() as captured:
        for part in parts:
            terminal.print(part)
    for line in captured.get().splitlines():
        typer.echo(line.rstrip(), color=True)  # the colours are decided; tables pad each line with blanks


def console(*, to_stderr: bool = False) -> Console:
    """A console that obeys NO_COLOR, TERM=dumb and pipes. It never reads markup: text in brackets is just text."""
    from rich.console import Console

    return Console(stderr=to_stderr, markup=False, highlight=False, emoji=False, soft_wrap=False)


def exit_code(error: AgentError) -> int:
    if isinstance(error, AlreadyRunningError):
        return EXIT_ALREADY_RUNNING
    return EXIT_BAD_SETTINGS if isinstance(error, ConfigError) else EXIT_FAILED


def error_text(error: AgentError) -> str:
    """`title: detail`, several problems one a line, and what to do next."""
    problems = problems_of(error)
    head = f"{error.title}: {problems[0]}" if len(problems) == 1 else "\n  ".join([f"{error.title}:", *problems])
    return plain(f"{head}\n{error.hint}" if error.hint else head)


def problems_of(error: AgentError) -> tuple[str, ...]:
    return error.problems if isinstance(error, ConfigError) else (error.detail,)


def report_error(error: AgentError) -> None:
    """The message on stderr; with --json one object on stdout, in the shape of `titan config`'s errors, instead."""
    if _State.uses_json:
        print_json({"error": error.title, "problems": problems_of(error), "hint": error.hint})
    else:
        typer.echo(error_text(error), err=True)


def plain(text: str) -> str:
    """Without control characters: what another machine sent must not move the cursor or change the title."""
    return _CONTROL.sub("", text)


def stdout_is_terminal() -> bool:
    return sys.stdout.isatty()


def as_object(value: Any) -> Mapping[str, Any]:
    """A part of a snapshot that is an object; {} where there is none."""
    return value if isinstance(value, Mapping) else {}
