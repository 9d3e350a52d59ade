"""What an owner does about the running agent's engine: start it again, and see that it really answers."""

from __future__ import annotations

from typing import Annotated

import typer

from core.cli import door, output
from core.cli.output import JsonOption, ProfileOption

RETRY_LIMIT_S = 60.0
SELFTEST_LIMIT_S = 200.0  # the test's own limit, and a little


def retry(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Start the engine again after failures, and trust it again at once."""
    _do(profile, "retry_engine", {}, RETRY_LIMIT_S, as_json)


def selftest(
    model: Annotated[str | None, typer.Option("--model", metavar="NAME", help="Default: the first offered.")] = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send one prompt through the running agent's token check, gRPC and engine, and show how fast it was."""
    _do(profile, "self_test", {} if model is None else {"model": model}, SELFTEST_LIMIT_S, as_json)


def _do(profile: str | None, name: str, arguments: dict[str, str], limit_s: float, as_json: bool) -> None:
    message, result = door.execute(profile, name, arguments, timeout_s=limit_s)
    output.print_json({"message": message, **result}) if as_json else typer.echo(output.plain(message))
