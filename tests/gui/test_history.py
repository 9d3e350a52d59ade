"""What the charts draw: ours and others' use told apart, nothing invented, nothing without bound."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engines import LoadedModel
from core.snapshot import AgentSnapshot, Reason
from core.state import AgentState
from tests.fakes.machines import card, machine, measured
from titan_gui.history import History, Span
from titan_gui.series import MAX_CARDS, Metric, Part, SeriesKey, Shade, shade_of, values_of

NOW = 1_800_000_000.0
RAM_OURS = SeriesKey(Metric.RAM, Part.OURS)
CPU_WHOLE = SeriesKey(Metric.CPU, Part.WHOLE)
PAUSED = (Reason(code="paused_by_owner", sentence="Paused by you."),)


def vram(part: Part, uuid: str = "GPU-1") -> SeriesKey:
    return SeriesKey(Metric.VRAM, part, uuid)


def test_ours_and_others_add_up_to_what_is_used() -> None:
    values = values_of(measured(NOW, card(used_mb=6000, ours_mb=4500)))

    assert values[vram(Part.OURS)] + values[vram(Part.OTHERS)] == 6000
    assert values[vram(Part.OURS)] == 4500
    assert values[RAM_OURS] == 1000
    assert values[SeriesKey(Metric.RAM, Part.OTHERS)] == 5000
    assert values[SeriesKey(Metric.CPU, Part.OTHERS)] == 30.0


def test_an_unmeasured_figure_is_missing_and_never_zero() -> None:
    values = values_of(
        measured(NOW, card(used_mb=None, load=None, temperature=None), free_ram_mb=None, cpu_percent=None)
    )

    assert not values


def test_a_card_of_a_container_counts_what_the_engine_says() -> None:
    values = values_of(measured(NOW, card(used_mb=6000, ours_mb=None)))

    assert values[vram(Part.OURS)] == 4000


def test_several_cards_without_our_process_are_not_split_by_guess() -> None:
    values = values_of(measured(NOW, card("GPU-1", ours_mb=None), card("GPU-2", ours_mb=None)))

    assert values[vram(Part.WHOLE)] == 6000
    assert vram(Part.OURS) not in values


def test_with_nothing_loaded_all_use_is_by_others() -> None:
    snapshot = replace(measured(NOW, card(ours_mb=None)), loaded_models=())

    assert values_of(snapshot)[vram(Part.OURS)] == 0


def test_an_engine_that_does_not_say_where_its_model_lives_leaves_it_open() -> None:
    snapshot = replace(measured(NOW, card(ours_mb=None)), loaded_models=(LoadedModel(name="m"),))

    assert vram(Part.WHOLE) in values_of(snapshot)


def test_our_use_is_never_more_than_all_use() -> None:
    assert values_of(measured(NOW, card(used_mb=3000, ours_mb=9000)))[vram(Part.OTHERS)] == 0


def test_own_use_that_is_not_known_is_shown_as_one_figure() -> None:
    values = values_of(measured(NOW, cpu_percent_ours=None))

    assert values[CPU_WHOLE] == 40.0


def test_points_come_back_in_order_within_the_span() -> None:
    history = History()
    for second in range(0, 900, 2):
        history.record(measured(NOW + second, own_ram_mb=second), NOW + second)

    points = history.points(RAM_OURS, Span.MINUTES, NOW + 898)

    assert points.times[0] >= NOW + 298
    assert list(points.times) == sorted(points.times)
    assert points.latest == 898


def test_time_without_samples_is_a_gap_in_the_line() -> None:
    history = History()
    for second in (0, 2, 60, 62):
        history.record(measured(NOW + second), NOW + second)

    points = history.points(RAM_OURS, Span.MINUTES, NOW + 62)

    assert [math.isnan(value) for value in points.values] == [False, False, True, False, False]


def test_a_day_is_kept_as_means_per_minute() -> None:
    history = History()
    for second in range(0, 180, 2):
        history.record(measured(NOW + second, own_ram_mb=100 * (second // 60)), NOW + second)

    points = history.points(RAM_OURS, Span.DAY, NOW + 180)

    assert points.values == (0.0, 100.0, 200.0)  # the last minute is not over yet


def test_a_figure_that_came_for_half_a_minute_has_the_mean_of_that_half() -> None:
    history = History()
    history.record(measured(NOW, own_ram_mb=None), NOW)
    history.record(measured(NOW + 30, own_ram_mb=500), NOW + 30)

    assert history.points(RAM_OURS, Span.DAY, NOW + 31).values == (500.0,)


def test_the_same_sample_is_recorded_once() -> None:
    history = History()
    snapshot = measured(NOW)
    history.record(snapshot, NOW)
    version = history.version
    history.record(replace(snapshot, tokens_per_second=1.0), NOW + 0.25)

    assert history.version == version
    assert len(history.points(RAM_OURS, Span.MINUTES, NOW + 1).times) == 1


def test_a_clock_set_back_forgets_the_future() -> None:
    history = History()
    for second in (0, 10, 20, -100, -98):
        history.record(measured(NOW + second), NOW + second)

    times = history.points(RAM_OURS, Span.MINUTES, NOW).times

    assert times[0] == NOW - 100
    assert times[-1] == NOW - 98


def test_a_pause_is_a_stretch_that_ends_with_it() -> None:
    history = History()
    history.record(measured(NOW), NOW)
    history.record(measured(NOW + 10, reasons=PAUSED), NOW + 10)
    history.record(measured(NOW + 40), NOW + 40)

    (stretch,) = history.stretches(Span.MINUTES, NOW + 60)

    assert (stretch.begins_at, stretch.ends_at, stretch.shade) == (NOW + 10, NOW + 40, Shade.PAUSED)


def test_a_pause_that_holds_ends_now_and_begins_with_the_span() -> None:
    history = History()
    history.record(measured(NOW, reasons=PAUSED), NOW)

    (stretch,) = history.stretches(Span.MINUTES, NOW + 5000)

    assert (stretch.begins_at, stretch.ends_at) == (NOW + 4400, NOW + 5000)


@pytest.mark.parametrize(
    ("snapshot", "shade"),
    [
        (AgentSnapshot(), Shade.OFFLINE),
        (AgentSnapshot(state=AgentState.CONNECTING), Shade.OFFLINE),
        (AgentSnapshot(state=AgentState.PAUSED, reasons=PAUSED), Shade.PAUSED),
        (AgentSnapshot(state=AgentState.READY), Shade.NONE),
        (AgentSnapshot(state=AgentState.FAILED, reasons=PAUSED), Shade.OFFLINE),
    ],
)
def test_shade_of(snapshot: AgentSnapshot, shade: Shade) -> None:
    assert shade_of(snapshot) is shade


def test_memory_stays_bounded_with_cards_that_come_and_go() -> None:
    history = History()
    for second in range(0, 4000, 2):
        cards = [card(f"GPU-{second // 100}-{number}") for number in range(3)]
        history.record(measured(NOW + second, *cards), NOW + second)

    assert len(history.cards) == MAX_CARDS
    assert len(list(history._recent.keys)) < 300  # 40 sets of cards came by, with 12 series each


def test_a_card_that_was_taken_out_is_forgotten_after_two_days_at_most() -> None:
    history = History()
    history.record(measured(NOW, card("gone")), NOW)
    for minute in range(1, 2 * 1440 + 2):
        history.record(measured(NOW + 60 * minute), NOW + 60 * minute)

    assert history.cards == ()


def test_a_state_that_flaps_costs_no_memory_without_end() -> None:
    history = History()
    for second in range(3000):
        history.record(measured(NOW + second, reasons=PAUSED if second % 2 else ()), NOW + second)

    assert len(history.stretches(Span.DAY, NOW + 3000)) <= 513


@given(st.lists(st.tuples(st.floats(-2000, 2000), st.one_of(st.none(), st.integers(0, 16_000))), max_size=60))
def test_whatever_the_clock_does_times_grow_and_values_are_those_given(samples: list[tuple[float, int | None]]) -> None:
    history = History()
    given_values = {float(value) for _, value in samples if value is not None}
    for offset, value in samples:
        snapshot = replace(
            measured(NOW), machine=machine(NOW + offset, total_ram_mb=20_000, own_ram_mb=value, free_ram_mb=0)
        )
        history.record(snapshot, NOW + offset)

    points = history.points(RAM_OURS, Span.MINUTES, NOW + 3000)

    neighbours = zip(points.times, points.times[1:], points.values[1:], strict=False)
    assert all(one < two or math.isnan(value) for one, two, value in neighbours)
    assert {value for value in points.values if not math.isnan(value)} <= given_values
