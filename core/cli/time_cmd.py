"""`titan time`: what the last 24 hours went to, from the running agent, or from the file when none runs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from core.cli import door, output
from core.cli.output import JsonOption, ProfileOption
from core.errors import AgentNotRunning


def show_time(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Where the last 24 hours went: serving, ready, getting ready, paused and why, unreachable, broken, asleep, off."""
    used = _time_use(profile)
    if as_json:
        output.print_json(used)
    else:
        output.print_text(hours_line(used["stretches"], used["since"], used["until"]), "")
        output.print_text(_shares_table(used["shares"]))


# For a terminal without colours.
MARKS = {
    "serving": "█",
    "ready": "▒",
    "preparing": "g",
    "paused": "p",
    "unreachable": "u",
    "broken": "!",
    "asleep": "z",
    "off": "·",
}
MARKS_A_DAY = 72  # of 20 minutes: fits a terminal of 80 columns


def hours_line(stretches: Sequence[Mapping[str, Any]], since: float, until: float) -> str:
    """The day as one line of marks, each for what took most of its time; the two ends' clock time beside it."""
    step = (until - since) / MARKS_A_DAY
    marks = "".join(
        _longest(stretches, since + number * step, since + (number + 1) * step) for number in range(MARKS_A_DAY)
    )
    begins = time.strftime("%H:%M", time.localtime(since))
    return f"{marks}\n{begins}{'now':>{MARKS_A_DAY - len(begins)}}"


def _longest(stretches: Sequence[Mapping[str, Any]], start: float, end: float) -> str:
    sums: dict[str, float] = {}
    for stretch in stretches:
        seconds = min(stretch["end"], end) - max(stretch["start"], start)
        if seconds > 0:
            sums[stretch["what"]] = sums.get(stretch["what"], 0.0) + seconds
    return MARKS.get(max(sums, key=lambda what: sums[what]), "?") if sums else " "


def _shares_table(shares: Sequence[Mapping[str, Any]]) -> Any:
    from rich.table import Table

    from core.cli.durations import format_duration

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    table.add_column("the last 24 hours")
    table.add_column("share", justify="right")
    table.add_column("time", justify="right")
    for share in shares:
        mark = MARKS.get(share["what"], "?")
        table.add_row(mark, share["title"], f"{share['percent']:.1f} %", format_duration(share["seconds"]))
    return table


def _time_use(profile: str | None) -> dict[str, Any]:
    try:
        return door.execute(profile, "time_use")[1]
    except AgentNotRunning:
        from core.time_use import day, time_use_json
        from core.time_use_file import FILE_NAME, read_stretches

        stretches = read_stretches(door.paths_of(profile).data_dir / FILE_NAME)
        return time_use_json(day(stretches, time.time()))
