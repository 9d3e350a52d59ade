"""The week's grid: its text, its hours on the local clock, and both changes of the clocks."""

from __future__ import annotations

import contextlib
import time
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.rules.schedule import (
    ALWAYS,
    NEVER,
    BadSchedule,
    Grid,
    format_schedule,
    is_allowed,
    next_change,
    parse_schedule,
)

BERLIN = ZoneInfo("Europe/Berlin")  # back on 25 Oct 2026 at 03:00, forward on 29 Mar 2026 at 02:00
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")  # changes by half an hour
SPARSE, DENSE = st.integers(0, 3).map(lambda n: n == 0), st.integers(0, 3).map(lambda n: n > 0)
grids = st.one_of(
    *(st.tuples(*(st.tuples(*(hour,) * 24),) * 7) for hour in (st.booleans(), SPARSE, DENSE)),
)


def at(text: str, zone: ZoneInfo = BERLIN, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


@settings(deadline=None)  # a busy machine is no failure
@given(grids)
def test_what_is_written_is_read_back(grid: Grid) -> None:
    text = format_schedule(grid)
    assert parse_schedule(text) == grid
    assert format_schedule(parse_schedule(text)) == text
    assert len(text) < 4096


@settings(deadline=None)  # a busy machine is no failure
@given(st.text(alphabet="montuewdhfrisaly0123456789-, ", max_size=40))
def test_any_other_text_is_refused_and_never_a_crash(text: str) -> None:
    with contextlib.suppress(BadSchedule):
        grid = parse_schedule(text)
        assert parse_schedule(format_schedule(grid)) == grid


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("always", "always"),
        ("Never", "never"),
        ("mon 22-06, sat-sun all", "mon 22-06, sat-sun all"),
        ("daily 0-24", "always"),
        ("weekdays 9-12 13-17", "mon-fri 09-12 13-17"),
        ("fri-mon 8-9", "mon 08-09, fri-sun 08-09"),
        ("sun 23-1", "sun 23-01"),
        ("daily 22-6", "mon-sun 22-06"),
    ],
)
def test_an_owner_may_write_it_loosely(text: str, written: str) -> None:
    assert format_schedule(parse_schedule(text)) == written


@pytest.mark.parametrize(
    "text", ["", "mon", "mon 8", "mon 8-8", "mon 24-6", "mon 8-25", "monday 8-9", "mon 8-9,,", "8-9"]
)
def test_half_a_schedule_is_refused(text: str) -> None:
    with pytest.raises(BadSchedule, match="must be like"):
        parse_schedule(text)


def test_a_night_spans_midnight_and_the_end_of_the_week() -> None:
    grid = parse_schedule("sun 22-06")
    assert not is_allowed(grid, at("2026-11-22T21:59:59"), BERLIN)
    assert is_allowed(grid, at("2026-11-22T22:00"), BERLIN)  # a Sunday
    assert is_allowed(grid, at("2026-11-23T05:59:59"), BERLIN)
    assert not is_allowed(grid, at("2026-11-23T06:00"), BERLIN)
    assert next_change(grid, at("2026-11-22T23:17"), BERLIN) == at("2026-11-23T06:00")
    assert next_change(grid, at("2026-11-23T06:00"), BERLIN) == at("2026-11-29T22:00")


def test_clocks_set_forward_end_the_skipped_hour_at_once() -> None:
    grid = parse_schedule("sun 1-3")
    assert is_allowed(grid, at("2026-03-29T01:59"), BERLIN)
    end = next_change(grid, at("2026-03-29T01:30"), BERLIN)
    assert end == at("2026-03-29T03:00")  # an hour after 01:00, since 02:00 never comes
    assert end - at("2026-03-29T01:00") == 3600
    only_skipped = parse_schedule("sun 2-3")
    assert next_change(only_skipped, at("2026-03-28T12:00"), BERLIN) == at("2026-04-05T02:00")


def test_clocks_set_back_count_the_repeated_hour_twice() -> None:
    grid = parse_schedule("sun 2-3")
    start = next_change(grid, at("2026-10-24T12:00"), BERLIN)
    assert start == at("2026-10-25T02:00")
    assert is_allowed(grid, at("2026-10-25T02:30", fold=1), BERLIN)
    assert next_change(grid, start, BERLIN) == start + 2 * 3600


def test_a_zone_that_changes_by_half_an_hour() -> None:
    grid = parse_schedule("sun 1-2")  # 4 Apr 2027: at 02:00 back to 01:30
    start = at("2027-04-04T01:00", LORD_HOWE)
    assert next_change(grid, start, LORD_HOWE) == start + 1.5 * 3600


@settings(deadline=None)  # a busy machine is no failure
@given(grids, st.integers(1_700_000_000, 1_900_000_000), st.sampled_from([BERLIN, LORD_HOWE]))
def test_the_next_change_is_the_first_instant_with_the_other_answer(grid: Grid, wall: int, zone: ZoneInfo) -> None:
    change = next_change(grid, wall, zone)
    if grid in (ALWAYS, NEVER):
        assert change is None
        return
    assert change is not None
    assert change > wall
    assert is_allowed(grid, change, zone) is not is_allowed(grid, wall, zone)
    assert is_allowed(grid, change - 1, zone) is is_allowed(grid, wall, zone)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system's zone can't be changed for one process")
def test_the_systems_own_zone_is_as_right_at_both_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent names no zone: the system's counts."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        grid = parse_schedule("sun 1-3")
        lengths = []
        for day in ("2026-03-28T12:00", "2026-10-24T12:00"):
            opens = next_change(grid, at(day))
            assert opens == next_change(grid, at(day), BERLIN)
            assert opens is not None
            closes = next_change(grid, opens)
            assert closes == next_change(grid, opens, BERLIN)
            assert closes is not None
            assert not is_allowed(grid, closes)
            assert is_allowed(grid, closes - 1)
            lengths.append((closes - opens) / 3600)
        assert lengths == [1, 3]  # 02:00 to 03:00 never comes, or twice
    finally:
        monkeypatch.undo()
        time.tzset()
