"""`titan run`: the agent itself, in the foreground, without windows. Its options are made from the settings."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from core.cli import output
from core.cli.plain_run import serve
from core.config import DECLARATIONS
from core.config_values import Declaration, Kind
from core.errors import AgentError, ConfigError
from core.log_format import LogEvent, json_line

SHORT_NAMES = {
    "coordinator_endpoint": "--coordinator",
    "agent_port": "--port",
    "supported_models": "--models",
    "max_concurrent_jobs": "--max-jobs",
}
_LONG = "__long"


def run(**options: Any) -> None:
    """Serve until Ctrl+C or SIGTERM: register with the coordinator, answer its clients, drain at the end.

    Options override the environment, which overrides the settings file (titan config show).
    """
    if options.pop("as_json") and options["log_format"] is None:
        options["log_format"] = "json"
    raise typer.Exit(serve(lambda: _overrides(options), str(options["log_format"] or "auto")))


def _overrides(options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that were given, by name. Raises ConfigError for a --set that is not KEY=VALUE."""
    given: dict[str, Any] = {}
    problems = []
    for pair in options.get("set_values") or ():
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            problems.append(f"--set {pair!r} is not KEY=VALUE")
        given[key.strip().lower().replace("-", "_")] = value
    if problems:
        raise ConfigError(problems, hint="For example: titan run --set queue_size=4")
    for name in DECLARATIONS:
        for spelling in (f"{name}{_LONG}", name):
            if options.get(spelling) is not None:
                given[name] = options[spelling]
    return given


def report(error: AgentError, log_format: str) -> None:
    """On a terminal as every command does; otherwise as one more JSON line, so that `titan run 2>&1 | jq .` works."""
    if log_format == "text" or (log_format != "json" and sys.stderr.isatty()):
        output.report_error(error)
        return
    if error.is_logged:
        return
    fields: dict[str, Any] = {"title": error.title, "problems": list(output.problems_of(error)), "hint": error.hint}
    event = LogEvent(created=time.time(), level="error", event="ended by an error", logger="core.cli", fields=fields)
    typer.echo(json_line(event), err=True)


def _parameters(declaration: Declaration) -> list[inspect.Parameter]:
    """The setting's option; where it has a short name, that one is shown and the other taken all the same."""
    short = SHORT_NAMES.get(declaration.name)
    if short is None:
        return [_parameter(declaration.name, declaration.option, declaration)]
    return [
        _parameter(declaration.name, short, declaration),
        _parameter(f"{declaration.name}{_LONG}", declaration.option, declaration, hidden=True),
    ]


def _parameter(name: str, spelling: str, declaration: Declaration, *, hidden: bool = False) -> inspect.Parameter:
    is_flag = declaration.kind is Kind.BOOL
    choices = f" One of {', '.join(declaration.choices)}." if declaration.choices else ""
    option = typer.Option(
        spelling,
        help=f"{declaration.help}{choices}",
        metavar=None if is_flag else declaration.unit.upper() or "VALUE",
        rich_help_panel=declaration.group,
        show_default=False,
        hidden=hidden,
    )
    annotation: Any = Annotated[bool | None, option] if is_flag else Annotated[str | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _signature() -> inspect.Signature:
    headless = typer.Option("--headless", help="Accepted for scripts: `titan run` never opens a window.")
    set_values = typer.Option("--set", metavar="KEY=VALUE", help="Any setting, by its name; may be repeated.")
    json = typer.Option("--json", help="Log JSON lines, on a terminal too: the same as --log-format json.")
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Signature(
        [
            inspect.Parameter("headless", keyword, default=False, annotation=Annotated[bool, headless]),
            inspect.Parameter("set_values", keyword, default=None, annotation=Annotated[list[str] | None, set_values]),
            inspect.Parameter("as_json", keyword, default=False, annotation=Annotated[bool, json]),
            *(parameter for declaration in DECLARATIONS.values() for parameter in _parameters(declaration)),
        ]
    )


run.__signature__ = _signature()  # type: ignore[attr-defined]
run.__annotations__ = {
    name: parameter.annotation
    for name, parameter in run.__signature__.parameters.items()  # type: ignore[attr-defined]
}
