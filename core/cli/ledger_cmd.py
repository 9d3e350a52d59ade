"""`titan ledger`: what this machine gave, from the running agent, or from the file when none runs."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from core.cli import door, output
from core.cli.output import JsonOption, ProfileOption
from core.contribution import LAST_DAYS, MOST_DAYS
from core.errors import AgentNotRunning, StorageError
from core.plurals import counted

EXPORT_LIMIT_S = 300.0
_PERIODS = (("today", "today"), ("last 7 days", "last_7_days"), ("all", "all"))

DaysOption = Annotated[int, typer.Option("--days", min=1, max=MOST_DAYS, metavar="N", help="Show the last N days.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print the days as CSV and nothing else.")]
ExportOption = Annotated[
    Path | None,
    typer.Option(
        "--export",
        metavar="FILE",
        help="Write every session to FILE instead: JSON with --json or where its name ends with .json, else CSV.",
    ),
]


def ledger(
    days: DaysOption = LAST_DAYS,
    as_csv: CsvOption = False,
    export: ExportOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """What this machine gave: sessions that got an answer, and tokens, in all and by day. Never what was asked."""
    if as_csv and as_json:
        raise typer.BadParameter("--csv and --json exclude each other")
    if export is not None:
        is_json = as_json or (export.suffix.lower() == ".json" and not as_csv)
        message, result = _export(profile, export.absolute(), "json" if is_json else "csv")
        output.print_json({"message": message, **result}) if as_json else typer.echo(output.plain(message))
        return
    given = _contribution(profile, days)
    if as_json:
        output.print_json(given)
    elif as_csv:
        typer.echo(days_csv(given["days"]), nl=False)
    else:
        from core.cli.render_ledger import days_table, periods_table

        output.print_text(periods_table({name: given["summary"][key] for name, key in _PERIODS}), "")
        output.print_text(days_table(given["days"]))


def days_csv(days: list[Mapping[str, Any]]) -> str:
    """A header line and a line a day; every value is a date or a number."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(days[0]))
    writer.writeheader()
    writer.writerows(days)
    return text.getvalue()


def _contribution(profile: str | None, days: int) -> dict[str, Any]:
    try:
        return door.execute(profile, "contribution", {"days": str(days), "recent": "0"})[1]
    except AgentNotRunning:
        from core.contribution import HeldRows, contribution_json
        from core.ledger_store import LedgerStore

        path = door.paths_of(profile).ledger_file
        if not path.exists():
            return contribution_json(HeldRows(), days=days, recent=0, now=time.time())
        with closing(LedgerStore.open_for_reading(path)) as store:
            return contribution_json(store, days=days, recent=0, now=time.time())


def _export(profile: str | None, path: Path, file_format: str) -> tuple[str, dict[str, Any]]:
    arguments = {"path": str(path), "format": file_format}
    try:
        return door.execute(profile, "export_ledger", arguments, timeout_s=EXPORT_LIMIT_S)
    except AgentNotRunning:
        from core.ledger_export import export_rows
        from core.ledger_store import LedgerStore

        file = door.paths_of(profile).ledger_file
        if not file.exists():
            raise StorageError(
                f"There is no ledger yet: {file}", hint="The agent begins one when it runs: `titan run`."
            ) from None
        with closing(LedgerStore.open_for_reading(file)) as store:
            sessions = export_rows(store.rows(), path, file_format, ledger=file)
        return f"Wrote {counted(sessions, 'session')} to {path}.", {**arguments, "sessions": sessions}
