"""What the owner may ask of the ledger: `contribution` for the window and `titan ledger`, and `export_ledger`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from core.commands import CommandError, CommandOutcome, CommandTable
from core.contribution import LAST_DAYS, MOST_DAYS
from core.ledger import Ledger
from core.ledger_export import FORMATS
from core.plurals import counted

MOST_RECENT = 1_000
DEFAULT_RECENT = 50

Arguments = Mapping[str, str]


def add_ledger_commands(table: CommandTable, ledger: Ledger) -> None:
    async def contribution(arguments: Arguments) -> CommandOutcome:
        result = await ledger.contribution(
            days=_count(arguments, "days", default=LAST_DAYS, least=1, most=MOST_DAYS),
            recent=_count(arguments, "recent", default=DEFAULT_RECENT, least=0, most=MOST_RECENT),
        )
        return CommandOutcome("What this machine gave.", result)

    async def export_ledger(arguments: Arguments) -> CommandOutcome:
        path, file_format = Path(arguments.get("path", "")), arguments.get("format", "csv")
        if not path.is_absolute() or "\0" in str(path):
            raise CommandError(f"path is {str(path)!r}, which is no absolute path of a file")
        if file_format not in FORMATS:
            raise CommandError(f"there is no format {file_format!r}", hint=f"There are: {', '.join(FORMATS)}.")
        sessions = await ledger.export(path, file_format)
        return CommandOutcome(
            f"Wrote {counted(sessions, 'session')} to {path}.",
            {"path": str(path), "format": file_format, "sessions": sessions},
        )

    table.add("contribution", contribution, arguments=("days", "recent"))
    table.add("export_ledger", export_ledger, arguments=("path", "format"))


def _count(arguments: Arguments, name: str, *, default: int, least: int, most: int) -> int:
    text = arguments.get(name, str(default))
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not least <= number <= most:
        raise CommandError(f"{name} is {text[:40]!r}, which is no whole number from {least} to {most:,}")
    return number
