"""The contribution as tables. Pure: values in, a renderable out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from core.cli.durations import format_duration

BAR_WIDTH = 16  # the table fits 80 columns with it
_NUMBERS = ("served", "failed", "tokens in", "tokens out", "time")


def periods_table(sums: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    """Sums by the name of their period."""
    table = _table("")
    for name, values in sums.items():
        table.add_row(name, *_cells(values))
    return table


def days_table(days: Sequence[Mapping[str, Any]]) -> RenderableType:
    """One line a day, with a bar for the tokens that were given."""
    table = _table("day")
    table.add_column("", no_wrap=True, overflow="crop")
    most = max((day["completion_tokens"] for day in days), default=0)
    for day in days:
        table.add_row(day["day"], *_cells(day), bar_of(day["completion_tokens"], most))
    return table


def bar_of(value: int, most: int) -> str:
    """At most BAR_WIDTH blocks; whoever gave anything has at least one."""
    return "█" * max(1, round(BAR_WIDTH * value / most)) if value else ""


def _table(first: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first)
    for heading in _NUMBERS:
        table.add_column(heading, justify="right")
    return table


def _cells(sums: Mapping[str, Any]) -> tuple[str, ...]:
    counts = (sums["sessions"], sums["failed"], sums["prompt_tokens"], sums["completion_tokens"])
    return (*(f"{count:,}" for count in counts), format_duration(sums["seconds"]))
