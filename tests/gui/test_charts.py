"""Which charts there are, and the shapes in them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from core.snapshot import ProcessorHeatView, Reason
from tests.fakes.machines import card, measured
from titan_gui.charts import ChartSpec, Unit, axis_steps, chart_data, specs_of, time_ticks, value_text
from titan_gui.history import History, Span

NOW = 1_800_000_000.0


def recorded(*cards: str, seconds: range = range(0, 60, 2)) -> History:
    history = History()
    for second in seconds:
        history.record(measured(NOW + second, *(card(uuid) for uuid in cards)), NOW + second)
    return history


def spec_named(history: History, name: str) -> ChartSpec:
    return next(spec for spec in specs_of(history) if spec.name == name)


def test_a_machine_without_a_card_has_no_charts_of_cards() -> None:
    assert [spec.title for spec in specs_of(recorded())] == ["RAM", "CPU"]


def test_each_card_has_its_memory_chart_and_its_line() -> None:
    specs = specs_of(recorded("a", "b"))

    assert [spec.title for spec in specs] == [
        "VRAM 1: Card a",
        "VRAM 2: Card b",
        "RAM",
        "CPU",
        "GPU load",
        "GPU temperature",
    ]
    assert [line.key.gpu for line in specs[4].lines] == ["a", "b"]


def test_the_processors_temperature_has_its_line_where_it_is_told() -> None:
    alone, beside = History(), History()
    for history, cards in ((alone, ()), (beside, ("a",))):
        for second in range(0, 10, 2):
            sample = measured(NOW - 60 + second, *map(card, cards))
            history.record(replace(sample, processor_heat=ProcessorHeatView(celsius=71.0 + second)), NOW)
    heat = spec_named(alone, "temperature")
    assert (heat.title, [line.label for line in heat.lines]) == ("CPU temperature", [""])
    heat = spec_named(beside, "temperature")
    assert (heat.title, [line.label for line in heat.lines]) == ("Temperature", ["GPU:", "CPU:"])
    assert [*chart_data(beside, heat, Span.MINUTES, NOW).values_at(None).values()][1] == 79.0


def test_others_use_stands_on_top_of_ours() -> None:
    history = recorded("a", seconds=range(0, 4, 2))

    data = chart_data(history, spec_named(history, "vram-a"), Span.MINUTES, NOW + 2)
    ours, others = (shape for shape in data.shapes if shape.is_area)

    assert ours.points == ((-2.0, 4000.0), (0.0, 4000.0), (0.0, 0.0), (-2.0, 0.0))
    assert others.points == ((-2.0, 6000.0), (0.0, 6000.0), (0.0, 4000.0), (-2.0, 4000.0))


def test_a_gap_splits_the_shapes() -> None:
    history = recorded("a", seconds=range(0, 4, 2))
    for second in (100, 102):
        history.record(measured(NOW + second, card("a")), NOW + second)

    data = chart_data(history, spec_named(history, "gpu_load"), Span.MINUTES, NOW + 102)

    assert [len(shape.points) for shape in data.shapes] == [2, 2]
    assert all(not math.isnan(y) for shape in data.shapes for _, y in shape.points)


def test_the_legend_leaves_out_a_kind_of_use_that_never_was() -> None:
    history = recorded("a")

    data = chart_data(history, spec_named(history, "cpu"), Span.MINUTES, NOW + 58)

    assert [line.label for line in data.shown_lines] == ["ours", "others"]


def test_where_it_cannot_be_told_whose_use_it_is_the_legend_has_one_figure() -> None:
    history = History()
    for at in (NOW, NOW + 2):
        history.record(measured(at, cpu_percent_ours=None), at)

    data = chart_data(history, spec_named(history, "cpu"), Span.MINUTES, NOW + 2)

    assert [line.label for line in data.shown_lines] == ["in use"]


def test_a_first_sample_that_cannot_be_told_apart_leaves_no_figure_in_the_legend() -> None:
    history = History()
    history.record(measured(NOW, cpu_percent_ours=None), NOW)
    for at in (NOW + 2, NOW + 4):
        history.record(measured(at), at)

    data = chart_data(history, spec_named(history, "cpu"), Span.MINUTES, NOW + 4)

    assert [line.label for line in data.shown_lines] == ["ours", "others"]


def test_before_any_sample_the_legend_is_there_with_dashes() -> None:
    history = History()

    data = chart_data(history, spec_named(history, "cpu"), Span.MINUTES, NOW)

    assert list(data.values_at(None).values()) == [None, None]


def test_hovering_gives_the_nearest_sample_and_nothing_in_a_gap() -> None:
    history = recorded("a", seconds=range(0, 4, 2))
    history.record(measured(NOW + 200, card("a", load=90.0)), NOW + 200)
    data = chart_data(history, spec_named(history, "gpu_load"), Span.MINUTES, NOW + 200)
    (line,) = data.shown_lines

    assert data.values_at(None) == {line: 90.0}
    assert data.values_at(-198.9) == {line: 50.0}
    assert data.values_at(-100.0) == {line: None}


def test_hovering_over_a_pause_says_so() -> None:
    history = recorded("a")
    paused = (Reason(code="paused_by_owner", sentence="Paused."),)
    history.record(measured(NOW + 60, card("a"), reasons=paused), NOW + 60)

    data = chart_data(history, spec_named(history, "cpu"), Span.MINUTES, NOW + 100)

    assert data.shade_at(-10) == "paused"
    assert data.shade_at(-70) == ""


@pytest.mark.parametrize("total_mb", [512, 2048, 8192, 16_000, 24_576, 81_920, 1_048_576])
def test_memory_axis_has_few_figures_within_it(total_mb: int) -> None:
    steps = axis_steps(ChartSpec("ram", "RAM", Unit.MEMORY, float(total_mb), (), is_stacked=True))

    assert 2 <= len(steps) <= 7
    assert steps[0] == 0
    assert steps[-1] <= total_mb


def test_time_ticks_are_round_local_times_within_the_span() -> None:
    ticks = time_ticks(NOW, Span.MINUTES)

    assert len(ticks) in (5, 6)
    assert all(-600 <= x <= 0 and text.endswith(tuple("02468")) for x, text in ticks)
    assert len(time_ticks(NOW, Span.DAY)) in (6, 7)


def test_value_texts() -> None:
    assert value_text(None, Unit.PERCENT) == "–"
    assert value_text(0.0, Unit.PERCENT) == "0 %"
    assert value_text(2048, Unit.MEMORY) == "2.0 GB"
    assert value_text(61.4, Unit.CELSIUS) == "61 °C"
