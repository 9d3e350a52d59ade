"""The owner's rules as a table, and when a reason ends. Pure: the clock is a parameter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from core.cli.durations import format_duration
from core.cli.output import plain
from core.reasons.catalogue import KINDS


def rules_table(
    views: Sequence[Mapping[str, Any]], now: float, sharing: Mapping[str, Any] | None = None
) -> RenderableType:
    """One row a rule, strongest first. `now` is seconds since the epoch; `sharing` the reason "sharing_now"."""
    if not views:
        return Text("No rule is looked at before the setup is done.")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    table.add_column("rule")
    table.add_column("now")
    table.add_column("what it does")
    table.add_column("setting", no_wrap=True)
    for view in views:
        mark, says, style = _now(view)
        kind = KINDS[view["code"]]
        cells = (mark, kind.title, says, view["effect"], kind.setting)
        table.add_row(*(Text(plain(cell), style=style) for cell in cells))
    return Group(
        table,
        Text(),
        *_sentences(views, now),
        *_sharing(sharing, now),
        Text("Change one: titan config set SETTING VALUE", style="dim"),
    )


def countdown(reason: Mapping[str, Any], now: float) -> str:
    """When a reason ends, and when it ends the running sessions, as the end of its sentence; "" for neither."""
    parts = [
        f"{words} {format_duration(left_s)}"
        for words, left_s in (
            ("another", (reason["ends_at"] or 0) - now),
            ("running sessions end in", (reason["sessions_end_at"] or 0) - now),
        )
        if left_s > 0
    ]
    return f" ({'; '.join(parts)})" if parts else ""


def _sentences(views: Sequence[Mapping[str, Any]], now: float) -> Iterator[RenderableType]:
    """Below the table, where lines are wide: what holds and why, then what can't be told, a line for each cause."""
    for view in views:
        if view.get("waits_until"):
            yield Text(plain(f"· {view['sentence']} (waits)"))
        elif view["holds"]:
            yield Text(plain(f"✗ {view['sentence']}{countdown(view, now)}"), style="yellow")
    untold: dict[str, list[str]] = {}
    for view in views:
        if view["is_on"] and view["unknown"]:
            untold.setdefault(view["unknown"], []).append(KINDS[view["code"]].title)
    for cause, titles in untold.items():
        yield Text(plain(f"? {', '.join(titles)}: {cause}"))
    if untold or any(view["holds"] for view in views):
        yield Text()


def _sharing(reason: Mapping[str, Any] | None, now: float) -> Iterator[RenderableType]:
    """What the owner's word overrides, until when, and how it ends before."""
    if reason is not None:
        yield Text(plain(f"{reason['sentence']}{countdown(reason, now)}"), style="green")
        yield Text(plain(f"→ {reason['remedy']}"), style="cyan")
        yield Text()


def _now(view: Mapping[str, Any]) -> tuple[str, str, str]:
    """A mark, the words, and the style of the row."""
    if view.get("waits_until"):
        return "·", "waits", ""
    if view["holds"]:
        return "✗", "holds", "yellow"
    if not view["is_on"]:
        return " ", "off", "dim"
    if view["unknown"]:
        return "?", "can't be told here", ""
    return "·", "doesn't hold", ""
