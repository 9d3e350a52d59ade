"""`titan update`: whether there is a newer version. It is told, never installed."""

from __future__ import annotations

from typing import Annotated

import typer

from core.cli import door, output
from core.cli.output import JsonOption, ProfileOption


def update(
    skip: Annotated[
        str | None, typer.Option("--skip", metavar="VERSION", help="Don't tell of this version again.")
    ] = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the release index (setting update_index_url) for a newer version. Nothing is installed."""
    name, arguments = ("check_updates", {}) if skip is None else ("skip_update", {"version": skip})
    message, result = door.execute(profile, name, arguments, timeout_s=60.0)
    if as_json:
        output.print_json({"message": message, **result})
    else:
        typer.echo(output.plain(message))
