"""What a day went to, from looks alone: nothing lost, nothing counted twice, gaps named."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.snapshot import AgentSnapshot, Reason
from core.state import AgentState
from core.time_use import (
    ANSWER_GAP_S,
    DAY_S,
    LONGEST_GAP_S,
    MOST_STRETCHES,
    Doing,
    Stretch,
    TimeRecord,
    day,
    doing_of,
    shares_of,
)

T = 1_800_000_000.0
AWAY = Reason(code="coordinator_away", sentence="Away.", blocks=False)
ENGINE = Reason(code="engine_unreachable", sentence="No engine.")
LOADING = Reason(code="model_loading", sentence="Loading tiny.")
LISTED = Reason(code="listed_app", sentence="Paused while Steam runs.")


@pytest.mark.parametrize(
    ("snapshot", "said"),
    [
        (AgentSnapshot(state=AgentState.READY), (Doing.READY, "")),
        (AgentSnapshot(state=AgentState.READY, running_jobs=1), (Doing.SERVING, "")),
        (AgentSnapshot(state=AgentState.PAUSED, running_jobs=1, reasons=(LISTED,)), (Doing.SERVING, "")),
        (AgentSnapshot(state=AgentState.PAUSED, reasons=(LISTED, ENGINE)), (Doing.PAUSED, "listed_app")),
        (AgentSnapshot(state=AgentState.PAUSED, reasons=(ENGINE, AWAY)), (Doing.BROKEN, "engine_unreachable")),
        (AgentSnapshot(state=AgentState.PAUSED, reasons=(LOADING,)), (Doing.PREPARING, "model_loading")),
        (AgentSnapshot(state=AgentState.PAUSED, reasons=(LISTED, LOADING)), (Doing.PAUSED, "listed_app")),
        (AgentSnapshot(state=AgentState.CONNECTING, reasons=(AWAY,)), (Doing.UNREACHABLE, "coordinator_away")),
        (AgentSnapshot(state=AgentState.CONNECTING), (Doing.UNREACHABLE, "coordinator_away")),
        (AgentSnapshot(state=AgentState.STARTING), (Doing.OFF, "")),
        (AgentSnapshot(state=AgentState.STOPPING, running_jobs=1), (Doing.SERVING, "")),
    ],
)
def test_a_snapshot_says_what_is_done(snapshot: AgentSnapshot, said: tuple[Doing, str]) -> None:
    assert doing_of(snapshot) == said


def record_of(*looks: tuple[float, Doing], until: float) -> TimeRecord:
    """Looks at seconds after T, every 2 s between them as the agent does."""
    record = TimeRecord()
    what = looks[0][1]
    changes = dict(looks)
    for second in range(int(looks[0][0]), int(until) + 1):
        what = changes.get(float(second), what)
        record.look(T + second, what)
    return record


def spans(record: TimeRecord) -> list[tuple[float, float, Doing]]:
    return [(stretch.start - T, stretch.end - T, stretch.what) for stretch in record.stretches]


def test_each_change_begins_a_stretch() -> None:
    record = record_of((0, Doing.READY), (60, Doing.SERVING), (90, Doing.PAUSED), until=200)

    assert spans(record) == [(0, 60, Doing.READY), (60, 90, Doing.SERVING), (90, 200, Doing.PAUSED)]


def test_a_short_wait_between_two_sessions_counts_as_serving_and_a_long_one_does_not() -> None:
    short = record_of((0, Doing.SERVING), (10, Doing.READY), (39, Doing.SERVING), until=50)
    long = record_of((0, Doing.SERVING), (10, Doing.READY), (40, Doing.SERVING), until=50)

    assert spans(short) == [(0, 50, Doing.SERVING)]
    assert [span[2] for span in spans(long)] == [Doing.SERVING, Doing.READY, Doing.SERVING]
    assert ANSWER_GAP_S == 30


def test_a_short_pause_between_two_sessions_stays_a_pause() -> None:
    record = record_of((0, Doing.SERVING), (10, Doing.PAUSED), (15, Doing.SERVING), until=50)

    assert [span[2] for span in spans(record)] == [Doing.SERVING, Doing.PAUSED, Doing.SERVING]


def test_connecting_at_the_start_leaves_no_trace_and_a_short_session_does() -> None:
    record = TimeRecord()
    record.look(T, Doing.UNREACHABLE, "coordinator_away")
    record.look(T + 0.4, Doing.READY)
    record.look(T + 20, Doing.SERVING)
    record.look(T + 20.2, Doing.READY)
    record.look(T + 21, Doing.READY)

    assert [stretch.what for stretch in record.stretches] == [Doing.READY, Doing.SERVING, Doing.READY]
    assert record.stretches[0].start == T


def test_a_flicker_does_not_split_what_goes_on() -> None:
    record = record_of((0, Doing.READY), until=20)
    record.look(T + 20.2, Doing.UNREACHABLE)
    record.look(T + 20.5, Doing.READY)
    record.look(T + 22, Doing.READY)

    assert spans(record) == [(0, 22, Doing.READY)]


def test_a_gap_within_a_run_is_sleep_and_a_gap_between_runs_is_not_running() -> None:
    record = record_of((0, Doing.READY), until=100)
    record.look(T + 4_000, Doing.READY)
    record.end(T + 4_010)
    later = TimeRecord(record.stretches)
    later.look(T + 8_000, Doing.SERVING)
    later.look(T + 8_020, Doing.SERVING)

    kinds = [(stretch.what, stretch.seconds) for stretch in day(later.stretches, T + 8_020)]
    assert kinds == [
        (Doing.OFF, DAY_S - 8_020),
        (Doing.READY, 100),
        (Doing.ASLEEP, 3_900),
        (Doing.READY, 10),
        (Doing.OFF, 3_990),
        (Doing.SERVING, 20),
    ]


def test_a_late_look_is_no_sleep() -> None:
    record = TimeRecord()
    record.look(T, Doing.READY)
    record.look(T + LONGEST_GAP_S, Doing.READY)

    assert [stretch.what for stretch in record.stretches] == [Doing.READY]


def test_a_clock_that_was_set_back_forgets_the_future() -> None:
    record = record_of((0, Doing.READY), (50, Doing.SERVING), until=100)
    record.look(T + 20, Doing.PAUSED)
    record.look(T + 30, Doing.PAUSED)

    assert spans(record) == [(0, 20, Doing.READY), (20, 30, Doing.PAUSED)]


def test_a_day_is_cut_at_both_ends() -> None:
    stretches = (Stretch(start=T - 2 * DAY_S, end=T, what=Doing.READY),)

    assert day(stretches, T - 100) == (Stretch(start=T - 100 - DAY_S, end=T - 100, what=Doing.READY),)
    assert day((), T) == (Stretch(start=T - DAY_S, end=T, what=Doing.OFF),)


def test_shares_add_up_and_name_each_reason() -> None:
    stretches = (
        Stretch(start=T, end=T + 50, what=Doing.PAUSED, reason_code="in_use"),
        Stretch(start=T + 50, end=T + 75, what=Doing.SERVING),
        Stretch(start=T + 75, end=T + 100, what=Doing.PAUSED, reason_code="schedule"),
    )

    shares = shares_of(stretches)

    assert [(share.what, share.reason_code, share.percent) for share in shares] == [
        (Doing.SERVING, "", 25),
        (Doing.PAUSED, "in_use", 50),
        (Doing.PAUSED, "schedule", 25),
    ]
    assert shares_of(()) == ()


def test_a_day_of_endless_changes_stays_small() -> None:
    record = TimeRecord()
    for second in range(2 * MOST_STRETCHES):
        record.look(T + 2 * second, Doing.PAUSED if second % 2 else Doing.READY)

    assert len(record.stretches) <= MOST_STRETCHES + 1


looks = st.lists(st.tuples(st.floats(-100, 20_000), st.sampled_from(Doing)), max_size=60)


@given(looks)
def test_whatever_is_seen_the_day_has_no_hole_and_no_overlap(steps: list[tuple[float, Doing]]) -> None:
    record, now = TimeRecord(), T
    for step, what in steps:
        now += step
        record.look(now, what)

    whole = day(record.stretches, now)

    assert whole[0].start == now - DAY_S
    assert whole[-1].end == now
    assert all(one.end == other.start for one, other in pairwise(whole))
    assert all(stretch.seconds > 0 for stretch in whole)
    assert math.isclose(sum(share.percent for share in shares_of(whole)), 100)
