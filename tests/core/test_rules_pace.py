"""Fewer sessions above the target temperature, one at a time, and a break when one is still too many."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from core.rules.pace import STEP_S, Pace, next_pace
from core.signals import Unknown


def paces(*celsius: float | Unknown, most: int = 4, target_c: float = 70.0, every_s: float = STEP_S) -> list[int]:
    pace, seen = Pace(most), []
    for number, value in enumerate(celsius):
        pace = next_pace(pace, target_c=target_c, celsius=value, most=most, now=1000.0 + number * every_s)
        seen.append(pace.sessions)
    return seen


def test_one_session_fewer_each_step_down_to_a_break_and_back_with_five_degrees_between() -> None:
    assert paces(70, 71, 71, 71, 71, 71, 70, 66, 65, 65, 65, 65, 65) == [4, 3, 2, 1, 0, 0, 0, 0, 1, 2, 3, 4, 4]


def test_nothing_changes_faster_than_a_card_can_show_it() -> None:
    assert paces(*[75.0] * 7, every_s=STEP_S / 3) == [3, 3, 3, 2, 2, 2, 1]


def test_what_cannot_be_told_changes_nothing_and_no_target_means_no_limit() -> None:
    assert paces(75, Unknown("no card"), Unknown("no card"), 75) == [3, 3, 3, 2]
    assert paces(99, 99, target_c=0.0) == [4, 4]


def test_the_owners_own_limit_is_never_passed() -> None:
    before = next_pace(Pace(4), target_c=70, celsius=70, most=4, now=1000.0)
    assert next_pace(before, target_c=70, celsius=70, most=2, now=1001.0).sessions == 2


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.tuples(st.floats(0, 60), st.floats(-20, 150)), max_size=60), st.integers(1, 8))
def test_no_sequence_of_temperatures_changes_it_twice_within_a_step(
    moments: list[tuple[float, float]], most: int
) -> None:
    pace, now, changed = Pace(most), 1000.0, []
    for passed_s, celsius in moments:
        now += passed_s
        after = next_pace(pace, target_c=70.0, celsius=celsius, most=most, now=now)
        assert 0 <= after.sessions <= most
        assert abs(after.sessions - pace.sessions) <= 1
        if after.sessions != pace.sessions:
            changed.append(now)
        pace = after
    assert all(later - earlier >= STEP_S for earlier, later in pairwise(changed))
