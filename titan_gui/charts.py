"""Which charts there are, and what each draws: History → shapes in (seconds before now, value). Pure.

Texts are English source strings; whoever shows them passes them through `tr()`.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from titan_gui.history import Card, History, Points, Span, Stretch
from titan_gui.history_table import NAN
from titan_gui.series import CPU_HEAT, Metric, Part, SeriesKey
from titan_gui.view_model import memory_text

Xy = tuple[float, float]


class Unit(StrEnum):
    MEMORY = "GB"  # values are MiB
    PERCENT = "%"
    CELSIUS = "°C"


@dataclass(frozen=True, slots=True)
class Line:
    """One series of a chart. `role` picks the colour: "ours", "others", "whole" or a card's number."""

    key: SeriesKey
    label: str
    role: str


@dataclass(frozen=True, slots=True)
class ChartSpec:
    """One chart. Stacked lines add up (ours below, others' use on top); the others each start at zero."""

    name: str
    title: str
    unit: Unit
    top: float  # the axis ends here
    lines: tuple[Line, ...]
    is_stacked: bool


@dataclass(frozen=True, slots=True)
class Shape:
    """A filled area (closed) or an open line; x in seconds before now (≤ 0), y in the chart's unit."""

    role: str
    points: tuple[Xy, ...]
    is_area: bool


@dataclass(frozen=True, slots=True)
class ChartData:
    """Everything that one chart shows at one instant."""

    spec: ChartSpec
    span: Span
    now: float  # seconds since the epoch: where x is 0
    shapes: tuple[Shape, ...]
    stretches: tuple[Stretch, ...]
    points: tuple[Points, ...]  # one per line, for hovering

    @property
    def shown_lines(self) -> tuple[Line, ...]:
        """The lines of the legend: of those that add up, the ones that are drawn; ours and others' before any."""
        pairs = zip(self.spec.lines, self.points, strict=True)
        measured = tuple(line for line, points in pairs if next(_runs(points, self.now), None) is not None)
        if not self.spec.is_stacked:
            return self.spec.lines
        return measured or self.spec.lines[:2]

    def values_at(self, x: float | None) -> dict[Line, float | None]:
        """Each shown line's value at x (seconds before now), or the newest; None where nothing was measured."""
        found = dict(zip(self.spec.lines, self.points, strict=True))
        return {line: _value_at(found[line], self.now, x, self.span) for line in self.shown_lines}

    def shade_at(self, x: float) -> str:
        """ "paused", "offline", or "" while it served."""
        at = self.now + x
        return next((one.shade.value for one in self.stretches if one.begins_at <= at < one.ends_at), "")


def specs_of(history: History) -> tuple[ChartSpec, ...]:
    """The charts for this machine. One memory chart per card; load and temperature have a line per card.

    Temperature has one of the processor too, where that is told.
    """
    cards = history.cards
    ram_top = float(history.total_ram_mb or 1024)
    specs = [_vram_spec(card, number, len(cards)) for number, card in enumerate(cards)]
    specs.append(ChartSpec("ram", "RAM", Unit.MEMORY, ram_top, _split_lines(Metric.RAM), is_stacked=True))
    specs.append(ChartSpec("cpu", "CPU", Unit.PERCENT, 100.0, _split_lines(Metric.CPU), is_stacked=True))
    if cards:
        load = _card_lines(Metric.GPU_LOAD, cards)
        specs.append(ChartSpec("gpu_load", "GPU load", Unit.PERCENT, 100.0, load, is_stacked=False))
    if cards or history.has_cpu_heat:
        specs.append(_heat_spec(cards, has_cpu=history.has_cpu_heat))
    return tuple(specs)


def chart_data(history: History, spec: ChartSpec, span: Span, now: float) -> ChartData:
    points = tuple(history.points(line.key, span, now) for line in spec.lines)
    make = _stacked_shapes if spec.is_stacked else _line_shapes
    shapes = tuple(make(spec.lines, points, now))
    return ChartData(spec, span, now, shapes, history.stretches(span, now), points)


def value_text(value: float | None, unit: Unit) -> str:
    """ "9.8 GB", "37 %", "61 °C"; a dash for what isn't measured."""
    if value is None:
        return "–"
    return memory_text(value) if unit is Unit.MEMORY else f"{value:.0f} {unit.value}"


def widest_texts(spec: ChartSpec) -> tuple[str, ...]:
    """What `value_text` can say at its widest within the axis, in figures of one width."""
    if spec.unit is Unit.MEMORY:
        return (memory_text(999), memory_text(max(spec.top, 1024)))
    return (value_text(100.0, spec.unit),)


def axis_steps(spec: ChartSpec) -> tuple[float, ...]:
    """Where the value axis has its figures: zero, the middle and the top, as whole as they can be."""
    if spec.unit is not Unit.MEMORY:
        return (0.0, 50.0, 100.0)
    gib = spec.top / 1024
    raw = max(gib / 4, 0.25)
    power = 2.0 ** math.floor(math.log2(raw))
    step = power if raw / power <= 1.5 else 2 * power
    return tuple(number * step * 1024 for number in range(int(gib / step) + 1))


def axis_text(value: float, unit: Unit) -> str:
    return f"{value / 1024:g}" if unit is Unit.MEMORY else f"{value:.0f}"


def time_ticks(now: float, span: Span) -> tuple[tuple[float, str], ...]:
    """(seconds before now, local time) at round times: each two minutes, or each four hours."""
    step = 120 if span is Span.MINUTES else 4 * 3600
    offset = time.localtime(now).tm_gmtoff
    first = math.ceil((now - span.seconds + offset) / step) * step - offset
    epochs = range(int(first), int(now) + 1, step)
    return tuple((epoch - now, time.strftime("%H:%M", time.localtime(epoch))) for epoch in epochs)


def _vram_spec(card: Card, number: int, count: int) -> ChartSpec:
    title = "VRAM" if count == 1 else f"VRAM {number + 1}: {card.name}"
    lines = _split_lines(Metric.VRAM, card.uuid)
    return ChartSpec(f"vram-{card.uuid}", title, Unit.MEMORY, float(card.total_mb or 1024), lines, is_stacked=True)


def _heat_spec(cards: tuple[Card, ...], *, has_cpu: bool) -> ChartSpec:
    """Cards and processor in one: in a laptop they share a cooler."""
    lines = _card_lines(Metric.GPU_TEMPERATURE, cards)
    if has_cpu and len(lines) == 1:
        lines = (replace(lines[0], label="GPU:"),)
    title = "GPU temperature" if not has_cpu else "Temperature" if cards else "CPU temperature"
    cpu = (Line(CPU_HEAT, "CPU:" if cards else "", "whole"),) if has_cpu else ()
    return ChartSpec("temperature", title, Unit.CELSIUS, 100.0, (*lines, *cpu), is_stacked=False)


def _split_lines(metric: Metric, gpu: str = "") -> tuple[Line, ...]:
    return (
        Line(SeriesKey(metric, Part.OURS, gpu), "ours", "ours"),
        Line(SeriesKey(metric, Part.OTHERS, gpu), "others", "others"),
        Line(SeriesKey(metric, Part.WHOLE, gpu), "in use", "whole"),
    )


def _card_lines(metric: Metric, cards: Iterable[Card]) -> tuple[Line, ...]:
    many = tuple(cards)
    return tuple(
        Line(SeriesKey(metric, Part.WHOLE, card.uuid), f"GPU {number + 1}:" if len(many) > 1 else "", str(number))
        for number, card in enumerate(many)
    )


def _stacked_shapes(lines: tuple[Line, ...], points: tuple[Points, ...], now: float) -> Iterator[Shape]:
    ours, others, whole = points
    floor = Points(ours.times, tuple(0.0 for _ in ours.times))
    above = Points(others.times, tuple(map(sum, zip(ours.values, others.values, strict=True))))
    bases = (floor, ours, Points(whole.times, tuple(0.0 for _ in whole.times)))
    for line, low, high in zip(lines, bases, (ours, above, whole), strict=True):
        for run in _runs(high, now):
            lower = [(high.times[i] - now, low.values[i]) for i in reversed(run)]
            upper = [(high.times[i] - now, high.values[i]) for i in run]
            yield Shape(line.role, (*upper, *lower), is_area=True)
            yield Shape(line.role, tuple(upper), is_area=False)


def _line_shapes(lines: tuple[Line, ...], points: tuple[Points, ...], now: float) -> Iterator[Shape]:
    for line, one in zip(lines, points, strict=True):
        for run in _runs(one, now):
            yield Shape(line.role, tuple((one.times[i] - now, one.values[i]) for i in run), is_area=False)


def _runs(points: Points, now: float) -> Iterator[range]:
    """The stretches without a gap, as index ranges of two points or more."""
    begin = None
    for index, value in enumerate((*points.values, NAN)):
        if math.isnan(value):
            if begin is not None and index - begin > 1:
                yield range(begin, index)
            begin = None
        elif begin is None:
            begin = index


def _value_at(points: Points, now: float, x: float | None, span: Span) -> float | None:
    if x is None:
        return points.latest
    index = bisect_left(points.times, now + x)
    near = [i for i in (index - 1, index) if 0 <= i < len(points.times)]
    near = [i for i in near if abs(points.times[i] - now - x) <= span.gap_s and not math.isnan(points.values[i])]
    best = min(near, key=lambda i: abs(points.times[i] - now - x), default=None)
    return None if best is None else points.values[best]
