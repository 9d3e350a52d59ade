"""Fewer sessions above the target temperature, one at a time, and a break when one is still too many."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from core.rules.look import LOST_S
from core.rules.pace import STEP_S, Heat, Pace, next_pace
from core.signals import Unknown


def card(celsius: float | Unknown, target_c: float = 70.0) -> Heat:
    return Heat("gpu_warm", celsius, target_c)


def processor(celsius: float | Unknown, target_c: float = 80.0) -> Heat:
    return Heat("cpu_warm", celsius, target_c)


def paces(*celsius: float | Unknown, most: int = 4, target_c: float = 70.0, every_s: float = STEP_S) -> list[int]:
    pace, seen = Pace(most), []
    for number, value in enumerate(celsius):
        pace = next_pace(pace, [card(value, target_c)], most=most, now=1000.0 + number * every_s)
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
    before = next_pace(Pace(4), [card(70)], most=4, now=1000.0)
    assert next_pace(before, [card(70)], most=2, now=1001.0).sessions == 2


def test_card_and_processor_each_have_a_target_and_the_one_that_is_passed_further_is_named() -> None:
    pace = next_pace(Pace(4), [card(60), processor(85)], most=4, now=1000.0)
    assert (pace.sessions, pace.code) == (3, "cpu_warm")
    pace = next_pace(pace, [card(76), processor(81)], most=4, now=1030.0)
    assert (pace.sessions, pace.code) == (2, "gpu_warm")
    assert next_pace(pace, [card(60), processor(78)], most=4, now=1060.0).sessions == 2  # not cool enough yet
    assert next_pace(pace, [card(60), processor(75)], most=4, now=1060.0).sessions == 3
    assert next_pace(pace, [card(60), processor(99, 0.0)], most=4, now=1060.0).sessions == 3


def test_a_card_that_never_tells_leaves_the_processors_target_to_decide() -> None:
    pace = next_pace(Pace(4), [card(Unknown("no card")), processor(85)], most=4, now=1000.0)
    assert (pace.sessions, pace.code) == (3, "cpu_warm")
    assert next_pace(pace, [card(Unknown("no card")), processor(75)], most=4, now=1030.0).sessions == 4


def test_a_break_whose_temperature_is_lost_ends_after_ten_minutes_with_one_session() -> None:
    silent = [card(Unknown("The driver does not answer."))]
    broken = Pace(0, 1000.0, "gpu_warm")
    assert next_pace(broken, silent, most=4, now=1000.0 + LOST_S - 1).sessions == 0
    after = next_pace(broken, silent, most=4, now=1000.0 + LOST_S)
    assert after.sessions == 1
    assert next_pace(after, silent, most=4, now=1000.0 + 10 * LOST_S).sessions == 1


def test_a_target_that_the_owner_takes_back_lets_the_other_one_decide() -> None:
    slowed = Pace(2, 1000.0, "cpu_warm")
    assert next_pace(slowed, [card(60), processor(99, 0.0)], most=4, now=1030.0).sessions == 3
    assert next_pace(slowed, [card(60, 0.0), processor(99, 0.0)], most=4, now=1001.0).sessions == 4


degrees = st.just(Unknown("It does not answer.")) | st.floats(-20, 150)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.tuples(st.floats(0, 60), degrees, degrees), max_size=60), st.integers(1, 8))
def test_no_sequence_of_temperatures_changes_it_twice_within_a_step(
    moments: list[tuple[float, float | Unknown, float | Unknown]], most: int
) -> None:
    pace, now, changed = Pace(most), 1000.0, []
    for passed_s, of_card, of_processor in moments:
        now += passed_s
        after = next_pace(pace, [card(of_card), processor(of_processor)], most=most, now=now)
        assert 0 <= after.sessions <= most
        assert abs(after.sessions - pace.sessions) <= 1
        if after.sessions != pace.sessions:
            changed.append(now)
        pace = after
    assert all(later - earlier >= STEP_S for earlier, later in pairwise(changed))
