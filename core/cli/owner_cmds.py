"""What an owner tells the running agent: pause, resume, finish, share now, and which sessions run."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from core.cli import door, output
from core.cli.durations import parse_duration
from core.cli.output import JsonOption, ProfileOption

ForOption = Annotated[
    str | None, typer.Option("--for", metavar="TIME", help="Resume by itself after 90s, 15m, 1h30m, 2d ...")
]


def pause(
    duration: ForOption = None,
    now: Annotated[bool, typer.Option("--now", help="End running sessions at once.")] = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take no new sessions; running ones may finish, or end at once with --now."""
    arguments = {"mode": "stop" if now else "finish"}
    if duration is not None:
        arguments["for_s"] = _seconds(duration)
    _do(profile, "pause", arguments, as_json)


def resume(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Serve again."""
    _do(profile, "resume", {}, as_json)


def finish(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Let running sessions finish, then pause."""
    _do(profile, "finish", {}, as_json)


def share_now(
    duration: Annotated[str, typer.Option("--for", metavar="TIME", help="For so long: 45m, 4h ... up to 2d.")] = "1h",
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Share although you are here, on battery, or outside your hours; a pause, heat and short memory still hold."""
    _do(profile, "share_now", {"for_s": _seconds(duration)}, as_json)


def follow_rules(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Let all your rules count again: the end of share-now."""
    _do(profile, "follow_rules", {}, as_json)


def sessions(
    cancel: Annotated[str | None, typer.Option("--cancel", metavar="ID", help="End this session.")] = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """The live sessions: which model, how far, how fast. Never what was asked or answered."""
    if cancel is not None:
        _do(profile, "cancel_session", {"session_id": cancel}, as_json)
        return
    snapshot = door.fetch_snapshot(profile)
    if as_json:
        output.print_json({"sessions": snapshot["sessions"], "max_jobs": snapshot["max_jobs"]})
        return
    from core.cli.render_tables import sessions_table

    output.print_text(sessions_table(snapshot, time.time()))


def _seconds(duration: str) -> str:
    """In plain digits. Raises BadDuration."""
    return f"{parse_duration(duration):.3f}".rstrip("0").rstrip(".")


def _do(profile: str | None, name: str, arguments: dict[str, str], as_json: bool) -> None:
    message, result = door.execute(profile, name, arguments)
    if as_json:
        output.print_json({"message": message, **result})
    else:
        typer.echo(output.plain(message))
