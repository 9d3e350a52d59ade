"""The answer of the command `time_use` → what the day's ribbon shows: columns, hours, texts. Pure.

Texts are English source strings; whoever shows them passes them through `tr()`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo

from core.time_use import Doing, Stretch, title_of
from titan_gui.view_model import clock_text, duration_text

# A column is a minute or two. What is looked for shows in it although it held for seconds: a session, a pause, a fault.
_COMMON = frozenset({Doing.READY, Doing.OFF, Doing.ASLEEP})
_COMMON_WEIGHT = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class LegendEntry:
    """One line of the legend; `reason_code` "" where nothing stands behind it."""

    what: Doing
    reason_code: str
    title: str
    percent: str  # "12 %", "< 1 %"
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeView:
    """A day as shown. `stretches` have no hole between them."""

    since: float = 0.0  # seconds since the epoch
    until: float = 0.0
    stretches: tuple[Stretch, ...] = ()
    legend: tuple[LegendEntry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Neighbouring columns that show the same: from `first` up to and without `end`.

    `stretch` is all of it: from where the first one that shows in it begins to where the last one ends.
    """

    first: int
    end: int
    stretch: Stretch


@dataclass(frozen=True, slots=True, kw_only=True)
class HourTick:
    share: float  # of the ribbon's width, 0 to 1
    text: str


def time_view_of(result: Mapping[str, object]) -> TimeView:
    """Read the command's result; what isn't understood (another version's word) is left out."""
    stretches = tuple(filter(None, (_stretch(entry) for entry in _entries(result.get("stretches")))))
    legend = tuple(filter(None, (_legend(entry) for entry in _entries(result.get("shares")))))
    if not stretches:
        return TimeView()
    return TimeView(since=stretches[0].start, until=stretches[-1].end, stretches=stretches, legend=legend)


def runs_of(view: TimeView, width: int) -> tuple[Run, ...]:
    """What each of `width` columns shows, neighbours joined."""
    begun: list[tuple[int, Stretch]] = []  # the first column of each run, and what that column shows
    last: list[Stretch] = []  # what the run's last column shows
    number = 0
    step = (view.until - view.since) / max(1, width)
    for column in range(width if view.stretches else 0):
        start, end = view.since + column * step, view.since + (column + 1) * step
        while number < len(view.stretches) - 1 and view.stretches[number].end <= start:
            number += 1
        stretch = view.stretches[number]
        if stretch.end < end:  # else it has the column to itself
            stretch = _heaviest(view.stretches, number, start, end)
        if last and last[-1].does(stretch.what, stretch.reason_code):
            last[-1] = stretch
        else:
            begun.append((column, stretch))
            last.append(stretch)
    ends = (*(column for column, _ in begun[1:]), width)
    return tuple(
        Run(first=first, end=end, stretch=replace(stretch, end=until.end))
        for (first, stretch), until, end in zip(begun, last, ends, strict=False)  # without any, `ends` has one too many
    )


def text_of(run: Run, view: TimeView) -> str:
    """ "14:10 to 15:30, 1 h 20 min: Paused: a listed program runs"."""
    stretch = run.stretch
    until = "now" if view.until - stretch.end < 1 else clock_text(stretch.end)
    title = title_of(stretch.what, stretch.reason_code)
    return f"{clock_text(stretch.start)} to {until}, {duration_text(stretch.seconds)}: {title}"


def summary_text(view: TimeView) -> str:
    """For a screen reader: the legend as one sentence."""
    return "; ".join(f"{entry.title} {entry.percent}" for entry in view.legend)


def hour_ticks(view: TimeView, every_h: int, zone: tzinfo | None = None) -> tuple[HourTick, ...]:
    """Local full hours that `every_h` divides. Where clocks change, the hours stand where they were."""
    length = view.until - view.since
    if length <= 0:
        return ()
    ticks = []
    first = math.ceil(view.since / 900) * 900  # local hours begin at quarters of UTC hours, in every zone there is
    for at in range(int(first), int(view.until) + 1, 900):
        local = datetime.fromtimestamp(at, zone)
        if local.minute == 0 and local.hour % every_h == 0:
            ticks.append(HourTick(share=(at - view.since) / length, text=f"{local:%H:%M}"))
    return tuple(ticks)


def _heaviest(stretches: Sequence[Stretch], number: int, start: float, end: float) -> Stretch:
    """The stretch that counts most between two instants, from the one of that number on."""
    best, most = stretches[number], -1.0
    while number < len(stretches) and stretches[number].start < end:
        stretch = stretches[number]
        weight = min(stretch.end, end) - max(stretch.start, start)
        weight *= _COMMON_WEIGHT if stretch.what in _COMMON else 1.0
        if weight > most:
            best, most = stretch, weight
        number += 1
    return best


def _stretch(entry: Mapping[str, object]) -> Stretch | None:
    start, end = entry.get("start"), entry.get("end")
    try:
        what = Doing(str(entry.get("what")))
    except ValueError:
        return None
    if not isinstance(start, int | float) or not isinstance(end, int | float):
        return None
    return Stretch(start=start, end=end, what=what, reason_code=str(entry.get("reason_code") or ""))


def _legend(entry: Mapping[str, object]) -> LegendEntry | None:
    seconds, percent = entry.get("seconds"), entry.get("percent")
    try:
        what = Doing(str(entry.get("what")))
    except ValueError:
        return None
    if not isinstance(seconds, int | float) or not isinstance(percent, int | float):
        return None
    code = str(entry.get("reason_code") or "")
    text = "< 1 %" if percent < 1 else f"{percent:.0f} %"
    return LegendEntry(what=what, reason_code=code, title=title_of(what, code), percent=text, seconds=float(seconds))


def _entries(value: object) -> list[Mapping[str, object]]:
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list | tuple) else []
