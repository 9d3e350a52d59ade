"""The hours of the week in which the owner shares: a 7 × 24 grid, its readable text, and when it changes next.

"always", "never", or days with hours: "mon-fri 22-06, sat-sun all". "22-06" begins on the named day and ends on the
next. Hours are the local clock's: where it is set back the repeated hour counts both times, where it is set forward
the skipped one never comes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, tzinfo
from functools import lru_cache

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
FORM = 'like "always", "never" or "mon-fri 22-06, sat-sun all"'

# Seven days from Monday, 24 hours each; True: sharing is allowed.
Grid = tuple[tuple[bool, ...], ...]

ALWAYS: Grid = ((True,) * 24,) * 7
NEVER: Grid = ((False,) * 24,) * 7

_GROUPS = {"daily": (0, 7), "weekdays": (0, 5), "weekends": (5, 7)}
_HOURS = re.compile(r"(\d{1,2})-(\d{1,2})", re.ASCII)
# Local hours begin at multiples of a quarter of an hour of absolute time: every zone's offset is one.
_STEP_S = 900
_WEEK_STEPS = 8 * 86_400 // _STEP_S  # and a day more, for a week that is longer by a change of clocks


class BadSchedule(ValueError):
    """A text that is no schedule. Its text is the remedy, in the form "must be ..."."""


def parse_schedule(text: str) -> Grid:
    """The grid that a text says. Raises BadSchedule."""
    words = " ".join(text.lower().split())
    if words in ("always", "never"):
        return ALWAYS if words == "always" else NEVER
    hours = [[False] * 24 for _ in DAYS]
    for entry in words.split(","):
        days, *ranges = entry.split() or [""]
        if not ranges:
            raise BadSchedule(f"must be {FORM}: {entry.strip()[:20]!r} has no hours")
        for day in _days(days):
            for span in ranges:
                for hour in _hours(span):
                    hours[(day + hour // 24) % 7][hour % 24] = True
    return tuple(tuple(day) for day in hours)


def format_schedule(grid: Grid) -> str:
    """The shortest text that `parse_schedule` takes back; days in a row with the same hours stand together."""
    if grid in (ALWAYS, NEVER):
        return "always" if grid == ALWAYS else "never"
    texts = _texts_of_days(grid)
    entries: list[str] = []
    first = 0
    while first < 7:
        last = first
        while last < 6 and texts[last + 1] == texts[first]:
            last += 1
        if texts[first]:
            days = DAYS[first] if first == last else f"{DAYS[first]}-{DAYS[last]}"
            entries.append(f"{days} {texts[first]}")
        first = last + 1
    return ", ".join(entries)


def is_allowed(grid: Grid, wall: float, zone: tzinfo | None = None) -> bool:
    """Whether sharing is allowed at `wall`, seconds since the epoch. `zone` None is the system's own."""
    local = datetime.fromtimestamp(wall, zone)
    return grid[local.weekday()][local.hour]


def next_change(grid: Grid, wall: float, zone: tzinfo | None = None) -> float | None:
    """When the answer of `is_allowed` changes next, seconds since the epoch; None: it never does."""
    return _next_change(grid, int(wall // _STEP_S), zone)


@lru_cache(maxsize=8)  # asked each second while the schedule keeps the machine closed
def _next_change(grid: Grid, step: int, zone: tzinfo | None) -> float | None:
    if grid in (ALWAYS, NEVER):
        return None
    now = is_allowed(grid, step * _STEP_S, zone)
    for later in range(step + 1, step + _WEEK_STEPS):
        if is_allowed(grid, later * _STEP_S, zone) is not now:
            return float(later * _STEP_S)
    return None


def _texts_of_days(grid: Grid) -> list[str]:
    """Each day's hours as text; a night is written with the day on which it begins."""
    runs = [list(_runs(day)) for day in grid]
    for day, own in enumerate(runs):
        following = runs[(day + 1) % 7]
        if not own or not following:
            continue
        start, end = own[-1]
        morning_start, morning_end = following[0]
        if start > 0 and end == 24 and morning_start == 0 and morning_end < start:
            own[-1] = (start, morning_end)
            del following[0]
    return [" ".join("all" if run == (0, 24) else f"{run[0]:02}-{run[1]:02}" for run in own) for own in runs]


def _runs(day: Sequence[bool]) -> Iterator[tuple[int, int]]:
    start: int | None = None
    for hour, is_on in enumerate((*day, False)):
        if is_on and start is None:
            start = hour
        elif not is_on and start is not None:
            yield start, hour
            start = None


def _days(text: str) -> range | list[int]:
    if text in _GROUPS:
        return range(*_GROUPS[text])
    first, _, last = text.partition("-")
    if first not in DAYS or (last or first) not in DAYS:
        raise BadSchedule(f"must be {FORM}: {text[:20]!r} is no day, and days are {', '.join(DAYS)}")
    start, end = DAYS.index(first), DAYS.index(last or first)
    return [(start + ahead) % 7 for ahead in range((end - start) % 7 + 1)]


def _hours(text: str) -> range:
    """The hours from the named day's midnight on; 24 and more are the next day's."""
    if text == "all":
        return range(24)
    found = _HOURS.fullmatch(text)
    start, end = (int(found[1]), int(found[2])) if found else (0, 0)
    if found is None or start > 23 or end > 24 or start == end:
        raise BadSchedule(f"must be {FORM}: {text[:20]!r} is no span of hours from 0 to 24")
    return range(start, end if end > start else end + 24)
