"""Sums of sessions over the days of the owner's calendar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.contribution import (
    ALWAYS,
    MAX_COUNT,
    MAX_NAME,
    HeldRows,
    LedgerRow,
    Sums,
    contribution_json,
    days_of,
    last_days,
    row_of,
    summary_of,
    sums_of,
)
from core.ledger_store import LedgerStore
from core.sessions import EndReason
from tests.fakes.session_records import STARTED_AT, ended, ledger_row

DAY_S = 86_400.0


def zone_of(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except ZoneInfoNotFoundError:
        pytest.skip("this machine has no time zone database")


def at(zone: tzinfo, year: int, month: int, day: int, hour: int, minute: int = 0) -> float:
    return datetime(year, month, day, hour, minute, tzinfo=zone).timestamp()


reasons = st.sampled_from(EndReason)
rows = st.builds(
    ledger_row,
    started_at=st.floats(STARTED_AT - 12 * DAY_S, STARTED_AT + 3 * DAY_S),
    end_reason=reasons,
    prompt_tokens=st.none() | st.integers(0, 10**6),
    completion_tokens=st.just(0) | st.integers(0, 10**6),
    seconds=st.floats(0, 600),
)
zones = st.integers(-12 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def naive_sums(chosen: Sequence[LedgerRow]) -> Sums:
    """Added up one by one, as a person would."""
    sessions = failed = prompt = completion = 0
    seconds = 0.0
    for row in chosen:
        failed += 1 if row.end_reason in ("engine_failed", "fault") else 0
        if row.completion_tokens == 0 and row.end_reason != "completed":
            continue  # nobody got anything
        sessions += 1
        prompt += 0 if row.prompt_tokens is None else row.prompt_tokens
        completion += row.completion_tokens
        seconds += row.seconds
    return Sums(
        sessions=sessions, failed=failed, prompt_tokens=prompt, completion_tokens=completion, seconds=seconds
    )  # fmt: skip


def assert_same(found: Sums, expected: Sums) -> None:
    assert math.isclose(found.seconds, expected.seconds, rel_tol=1e-9, abs_tol=1e-6)
    counts = ("sessions", "failed", "prompt_tokens", "completion_tokens")
    assert [getattr(found, name) for name in counts] == [getattr(expected, name) for name in counts]


def local_day(row: LedgerRow, zone: tzinfo) -> date:
    return datetime.fromtimestamp(row.started_at, zone).date()


@given(kept=st.lists(rows, max_size=40), zone=zones)
def test_summary_is_the_naive_sum(kept: list[LedgerRow], zone: tzinfo) -> None:
    summary = summary_of(HeldRows(kept), STARTED_AT, zone)

    today = datetime.fromtimestamp(STARTED_AT, zone).date()
    week = {today - timedelta(days=back) for back in range(7)}
    assert_same(summary.today, naive_sums([row for row in kept if local_day(row, zone) == today]))
    assert_same(summary.last_7_days, naive_sums([row for row in kept if local_day(row, zone) in week]))
    assert_same(summary.all, naive_sums(kept))


@given(kept=st.lists(rows, max_size=40), zone=zones)
def test_last_seven_bars_add_up_to_the_week(kept: list[LedgerRow], zone: tzinfo) -> None:
    source = HeldRows(kept)

    bars = days_of(source, 7, STARTED_AT, zone)

    assert_same(sum((bar.sums for bar in bars), Sums()), summary_of(source, STARTED_AT, zone).last_7_days)
    assert [bar.day for bar in bars] == sorted(bar.day for bar in bars)


@pytest.mark.parametrize(
    ("day", "hours"),
    [
        (date(2024, 3, 31), 23),  # clocks go from 2:00 to 3:00
        (date(2024, 10, 27), 25),  # and back from 3:00 to 2:00
        (date(2024, 10, 28), 24),
    ],
)
def test_day_of_a_clock_change_has_its_real_length(day: date, hours: int) -> None:
    berlin = zone_of("Europe/Berlin")

    (found,) = last_days(1, at(berlin, day.year, day.month, day.day, 12), berlin)

    assert (found.day, found.period.end - found.period.start) == (day, hours * 3600)


def test_sessions_around_a_clock_change_fall_on_their_local_day() -> None:
    berlin = zone_of("Europe/Berlin")
    moments = [
        at(UTC, 2024, 10, 26, 21, 59),  # 23:59 on the 26th
        at(UTC, 2024, 10, 26, 22),  # 0:00 on the 27th
        at(UTC, 2024, 10, 27, 0, 30),  # 2:30, for the first time
        at(UTC, 2024, 10, 27, 1, 30),  # 2:30, for the second time
        at(UTC, 2024, 10, 27, 22, 59),  # 23:59 on the 27th
        at(UTC, 2024, 10, 27, 23, 0),  # 0:00 on the 28th
    ]
    source = HeldRows([ledger_row(started_at=moment) for moment in moments])

    bars = days_of(source, 3, at(berlin, 2024, 10, 28, 9), berlin)

    assert [(bar.day.day, bar.sums.sessions) for bar in bars] == [(26, 1), (27, 4), (28, 1)]


def test_days_without_a_midnight_neither_overlap_nor_leave_a_gap() -> None:
    beirut = zone_of("Asia/Beirut")  # clocks go forward at midnight: 2024-03-31 begins at 1:00

    days = last_days(5, at(beirut, 2024, 4, 2, 12), beirut)

    assert all(before.period.end == after.period.start for before, after in pairwise(days))
    assert datetime.fromtimestamp(days[2].period.start, beirut).hour == 1


def test_the_systems_own_zone_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    if not hasattr(time, "tzset"):
        pytest.skip("this system has no tzset")
    zone_of("Europe/Berlin")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        (found,) = last_days(1, at(UTC, 2024, 3, 31, 12))
    finally:
        monkeypatch.undo()
        time.tzset()

    assert found.period.end - found.period.start == 23 * 3600


def test_session_of_the_future_counts_in_all_only() -> None:
    summary = summary_of(HeldRows([ledger_row(started_at=STARTED_AT + 3 * DAY_S)]), STARTED_AT, UTC)

    assert (summary.today.sessions, summary.last_7_days.sessions, summary.all.sessions) == (0, 0, 1)


def test_row_holds_what_the_session_was() -> None:
    row = row_of(ended(end_reason=EndReason.CLIENT_GONE, prompt_tokens=None, time_to_first_token_ms=None), "Q8_0")

    assert row == LedgerRow(
        started_at=STARTED_AT,
        model="tiny:latest",
        quant="Q8_0",
        engine="ollama",
        client="c0ffee00",
        prompt_tokens=None,
        completion_tokens=20,
        seconds=1.5,
        end_reason="client_gone",
        time_to_first_token_ms=None,
    )


@given(
    number=st.integers(),
    real=st.floats(),
    text=st.text(st.characters(), max_size=300) | st.just("\ud800 lone surrogate \0"),
)
def test_any_value_becomes_one_that_a_table_takes(number: int, real: float, text: str) -> None:
    row = row_of(
        ended(
            model=text,
            engine=text,
            client=text,
            started_at=real,
            seconds=real,
            time_to_first_token_ms=real,
            prompt_tokens=number,
            completion_tokens=number,
        ),
        text,
    )

    assert 0 <= row.completion_tokens <= MAX_COUNT
    assert row.prompt_tokens == row.completion_tokens
    assert math.isfinite(sums_of([row] * 3).seconds)
    assert len(row.model) <= MAX_NAME
    row.model.encode()
    datetime.fromtimestamp(row.started_at, UTC)


@pytest.mark.parametrize(
    ("end_reason", "tokens", "served", "failed"),
    [
        (EndReason.COMPLETED, 20, 1, 0),
        (EndReason.COMPLETED, 0, 1, 0),  # an empty answer is one
        (EndReason.CLIENT_GONE, 3, 1, 0),
        (EndReason.RULE, 3, 1, 0),
        (EndReason.REFUSED, 0, 0, 0),
        (EndReason.CLIENT_GONE, 0, 0, 0),
        (EndReason.RULE, 0, 0, 0),
        (EndReason.ENGINE_FAILED, 0, 0, 1),
        (EndReason.ENGINE_FAILED, 3, 1, 1),
    ],
)
def test_what_counts_as_served_is_what_got_an_answer(
    tmp_path: Path, end_reason: EndReason, tokens: int, served: int, failed: int
) -> None:
    """In memory, in the file, and by its model."""
    row = ledger_row(end_reason=end_reason, completion_tokens=tokens, seconds=2.0)
    expected = Sums(
        sessions=served, failed=failed, prompt_tokens=7 * served, completion_tokens=tokens, seconds=2.0 * served
    )
    assert sums_of([row]) == expected
    with closing(LedgerStore.open(tmp_path / "ledger.sqlite")) as store:
        store.add([row])
        assert store.sums(ALWAYS) == expected
        assert store.sessions_by_model(ALWAYS) == ({row.model: 1} if served else {})


def test_everything_as_plain_values() -> None:
    source = HeldRows([ledger_row(), ledger_row(started_at=STARTED_AT - DAY_S, end_reason=EndReason.FAULT)])

    result = contribution_json(source, days=2, recent=1, now=STARTED_AT, zone=UTC)

    one = {"sessions": 1, "prompt_tokens": 7, "completion_tokens": 20, "seconds": 1.5}
    two = {"sessions": 2, "failed": 1, "prompt_tokens": 14, "completion_tokens": 40, "seconds": 3.0}
    assert result["summary"] == {"today": {**one, "failed": 0}, "last_7_days": two, "all": two}
    assert result["days"] == [{"day": "2023-11-13", **one, "failed": 1}, {"day": "2023-11-14", **one, "failed": 0}]
    assert isinstance(result["recent"], list)
    assert [entry["end_reason"] for entry in result["recent"]] == ["fault"]
