"""`titan doctor`: what this machine still needs to serve, each failure with its remedy."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from core.cli import door, output
from core.cli.output import JsonOption, ProfileOption
from core.errors import AgentError, ControlError
from core.plurals import counted

if TYPE_CHECKING:
    from core.config_load import LoadedSettings
    from core.doctor import Report

_MARKS = {
    "ok": ("✓", "green"),
    "note": ("·", ""),
    "warning": ("!", "yellow"),
    "broken": ("✗", "bold red"),
    "skipped": ("-", "dim"),
}


def doctor(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Check everything that serving needs. Exits 1 when something is broken."""
    from core.doctor import is_healthy

    reports = door.run(_examine(profile, show=not as_json))
    healthy = is_healthy(reports)
    if as_json:
        output.print_json({"ok": healthy, "checks": [asdict(report) for report in reports]})
    else:
        typer.echo(f"\n{summary(reports)}")
    if not healthy:
        raise typer.Exit(output.EXIT_FAILED)


def summary(reports: tuple[Report, ...]) -> str:
    count = sum(report.verdict == "broken" for report in reports)
    warnings = sum(report.verdict == "warning" for report in reports)
    if count:
        return f"{counted(count, 'thing')} to fix before this machine can serve."
    return "Ready to serve" + (f", with {counted(warnings, 'warning')}." if warnings else ".")


async def _examine(profile: str | None, *, show: bool) -> tuple[Report, ...]:
    from core.doctor import examine
    from core.doctor_checks import make_checks

    paths = door.paths_of(profile)
    checks = make_checks(_load(profile), paths, await _snapshot(profile))
    if not show:
        return await examine(checks)
    width = max(len(check.name) for check in checks)
    return await examine(checks, lambda report: output.print_text(report_line(report, width)))


def report_line(report: Report, width: int) -> Any:
    """One check as a line: mark, name, finding, and the remedy below."""
    from rich.table import Table
    from rich.text import Text

    mark, style = _MARKS[report.verdict]
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column(width=width, no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(Text(mark, style=style), Text(report.name, style="bold"), Text(output.plain(report.detail)))
    if report.remedy:
        table.add_row("", "", Text(f"→ {output.plain(report.remedy)}", style="cyan"))
    return table


def _load(profile: str | None) -> LoadedSettings | AgentError:
    from core.config_load import load_settings

    try:
        return load_settings(overrides={"profile": profile})
    except AgentError as error:
        return error


async def _snapshot(profile: str | None) -> dict[str, Any] | None:
    try:
        async with door.open_client(profile) as client:
            return await client.snapshot()
    except (TimeoutError, ControlError):
        return None
