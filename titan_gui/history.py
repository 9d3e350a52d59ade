"""What the charts draw: the last ten minutes as sampled, the last day as means per minute. Pure, bounded, cheap.

Recording goes on while no window is open, so a sample costs some dictionary look-ups. None is never 0: a figure that
wasn't measured is NaN in here, and the line has a gap there.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from core.gpu import GpuSample
from core.snapshot import AgentSnapshot
from core.state import AgentState

NAN = math.nan
MAX_CARDS = 16
MAX_STRETCHES = 512  # an agent that flaps for a day must not grow without end


class Metric(StrEnum):
    VRAM = "vram"  # MiB
    RAM = "ram"  # MiB
    CPU = "cpu"  # percent over all cores
    GPU_LOAD = "gpu_load"  # percent
    GPU_TEMPERATURE = "gpu_temperature"  # °C
    CPU_TEMPERATURE = "cpu_temperature"


class Part(StrEnum):
    OURS = "ours"  # the agent and its engine
    OTHERS = "others"
    WHOLE = "whole"  # where it can't be told whose it is


class SeriesKey(NamedTuple):
    """One line: what, whose, and of which card ("" for the machine)."""

    metric: Metric
    part: Part
    gpu: str = ""


CPU_HEAT = SeriesKey(Metric.CPU_TEMPERATURE, Part.WHOLE)


class Span(StrEnum):
    """The two ranges of the charts."""

    MINUTES = "10 minutes"
    DAY = "24 hours"

    @property
    def seconds(self) -> float:
        return 600.0 if self is Span.MINUTES else 86_400.0

    @property
    def gap_s(self) -> float:
        """Two neighbours further apart than this are not joined: nothing was measured between them."""
        return 10.0 if self is Span.MINUTES else 150.0


class Shade(StrEnum):
    """Why nobody was served for a while."""

    NONE = ""
    PAUSED = "paused"  # at least one reason blocked
    OFFLINE = "offline"  # the agent didn't run, or the coordinator was away


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time in which nobody was served, seconds since the epoch."""

    begins_at: float
    ends_at: float
    shade: Shade


@dataclass(frozen=True, slots=True)
class Card:
    """A graphics card that was seen."""

    uuid: str
    name: str
    total_mb: int | None


@dataclass(frozen=True, slots=True)
class Points:
    """One line's points, oldest first; NaN where nothing was measured."""

    times: tuple[float, ...]
    values: tuple[float, ...]

    @property
    def latest(self) -> float | None:
        """The newest value; None where it wasn't measured."""
        return None if not self.values or math.isnan(self.values[-1]) else self.values[-1]


class History:
    """Fed with every snapshot; remembers a day. Times are seconds since the epoch."""

    def __init__(self) -> None:
        self.total_ram_mb: int | None = None
        self.has_cpu_heat = False  # whether the processor's temperature was ever told
        self._cards: dict[str, Card] = {}
        self._recent = _Table(600)  # one sample each second at the most
        self._minutes = _Table(1440)
        self._minute = _Minute()
        self._stretches: deque[Stretch] = deque(maxlen=MAX_STRETCHES)
        self._shade = Shade.NONE
        self._shade_since = 0.0
        self._taken_at = 0.0
        self.version = 0  # grows with every change: a chart that has drawn this one has nothing to do

    @property
    def cards(self) -> tuple[Card, ...]:
        """Every card of the last day, in the order in which they were first seen."""
        return tuple(self._cards.values())

    def record(self, snapshot: AgentSnapshot, now: float) -> None:
        """Take a snapshot in. Only a new sample of the machine, and a change of state, cost anything."""
        shade = shade_of(snapshot)
        if shade is not self._shade:
            self._end_stretch(now)
            self._shade, self._shade_since = shade, now
            self.version += 1
        machine = snapshot.machine
        if machine is None or abs(machine.taken_at - self._taken_at) < 1.0:
            return
        self._taken_at = machine.taken_at
        self.version += 1
        self.total_ram_mb = machine.total_ram_mb
        cards = machine.gpus[:MAX_CARDS]
        self._see(cards)
        values = values_of(snapshot)
        self.has_cpu_heat = self.has_cpu_heat or CPU_HEAT in values
        self._recent.append(machine.taken_at, values)
        done = self._minute.add(machine.taken_at, values)
        if done is not None:
            self._minutes.append(*done)
            self._forget_cards()

    def points(self, key: SeriesKey, span: Span, now: float) -> Points:
        """A line's points within the span that ends now."""
        table = self._recent if span is Span.MINUTES else self._minutes
        rows = table.rows(key, now - span.seconds)
        if span is Span.DAY and self._minute.count:
            rows.append(self._minute.mean_of(key))
        return _with_gaps(rows, span.gap_s)

    def stretches(self, span: Span, now: float) -> tuple[Stretch, ...]:
        """The times without serving that reach into the span, cut to it; the one that holds now ends now."""
        begin = now - span.seconds
        every = [*self._stretches]
        if self._shade is not Shade.NONE:
            every.append(Stretch(self._shade_since, now, self._shade))
        return tuple(
            Stretch(max(begin, one.begins_at), min(now, one.ends_at), one.shade)
            for one in every
            if one.ends_at > begin and one.begins_at < now
        )

    def _see(self, cards: Iterable[GpuSample]) -> None:
        for card in cards:
            self._cards[card.uuid] = Card(card.uuid, card.name, card.total_mb)
        while len(self._cards) > MAX_CARDS:
            self._cards.pop(next(iter(self._cards)))

    def _forget_cards(self) -> None:
        """A card that nothing is known of any more was taken out a day ago or more."""
        known = {key.gpu for table in (self._recent, self._minutes) for key in table.keys}
        self._cards = {uuid: card for uuid, card in self._cards.items() if uuid in known}

    def _end_stretch(self, now: float) -> None:
        if self._shade is not Shade.NONE and now > self._shade_since:
            self._stretches.append(Stretch(self._shade_since, now, self._shade))


def shade_of(snapshot: AgentSnapshot) -> Shade:
    """Whether nobody can be served now, and why."""
    if snapshot.state in (AgentState.STOPPED, AgentState.STARTING, AgentState.STOPPING, AgentState.FAILED):
        return Shade.OFFLINE
    if snapshot.blocking_reasons:
        return Shade.PAUSED
    return Shade.OFFLINE if snapshot.state is AgentState.CONNECTING else Shade.NONE


def values_of(snapshot: AgentSnapshot) -> dict[SeriesKey, float]:
    """Every figure that the snapshot's sample has. Ours and others' add up to what is used."""
    machine = snapshot.machine
    if machine is None:
        return {}
    values: dict[SeriesKey, float] = {}
    used_ram = None
    if machine.total_ram_mb is not None and machine.free_ram_mb is not None:
        used_ram = float(machine.total_ram_mb - machine.free_ram_mb)
    _split(values, Metric.RAM, "", used_ram, machine.own_ram_mb)
    _split(values, Metric.CPU, "", machine.cpu_percent, machine.cpu_percent_ours)
    if snapshot.processor_heat.celsius is not None:
        values[CPU_HEAT] = snapshot.processor_heat.celsius
    cards = [card for card in machine.gpus[:MAX_CARDS] if not card.is_lost]
    for card in cards:
        _split(values, Metric.VRAM, card.uuid, card.used_mb, _ours_on(card, snapshot, is_only=len(cards) == 1))
        if card.utilisation_percent is not None:
            values[SeriesKey(Metric.GPU_LOAD, Part.WHOLE, card.uuid)] = card.utilisation_percent
        if card.temperature_c is not None:
            values[SeriesKey(Metric.GPU_TEMPERATURE, Part.WHOLE, card.uuid)] = card.temperature_c
    return values


def _split(values: dict[SeriesKey, float], metric: Metric, gpu: str, used: float | None, ours: float | None) -> None:
    if used is None:
        return
    if ours is None:
        values[SeriesKey(metric, Part.WHOLE, gpu)] = used
        return
    ours = min(max(ours, 0.0), used)
    values[SeriesKey(metric, Part.OURS, gpu)] = ours
    values[SeriesKey(metric, Part.OTHERS, gpu)] = used - ours


def _ours_on(card: GpuSample, snapshot: AgentSnapshot, *, is_only: bool) -> float | None:
    """Our engine's memory on one card, MiB; None where it can't be told.

    The driver's list of processes decides. Where it doesn't know ours (containers, some systems), an engine that says
    how much it holds decides, and on one card only: nobody says how it is spread over several.
    """
    ours = {*snapshot.engine.pids, snapshot.pid}
    measured = [one.used_mb for one in card.processes if one.pid in ours and one.used_mb is not None]
    said = [model.vram_mb for model in snapshot.loaded_models]
    if not any(vram_mb is None or vram_mb for vram_mb in said):
        return float(sum(measured))  # nothing is loaded there
    if is_only and None not in said:
        return float(max(sum(measured), sum(vram_mb or 0 for vram_mb in said)))
    return float(sum(measured)) if measured else None


def _with_gaps(rows: list[tuple[float, float]], gap_s: float) -> Points:
    times: list[float] = []
    values: list[float] = []
    for at, value in rows:
        if times and at - times[-1] > gap_s:
            times.append(at)
            values.append(NAN)
        times.append(at)
        values.append(value)
    return Points(tuple(times), tuple(values))


class _Table:
    """Rows in a ring: one array of times, and one of values per series."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._times = array("d", [NAN]) * capacity
        self._columns: dict[SeriesKey, array[float]] = {}
        self._first = 0
        self._count = 0

    @property
    def keys(self) -> Iterable[SeriesKey]:
        return self._columns.keys()

    def append(self, at: float, values: Mapping[SeriesKey, float]) -> None:
        """Add a row. Rows that a clock set back has put into the future are forgotten."""
        while self._count and self._times[self._slot(self._count - 1)] >= at:
            self._count -= 1
        if self._count == self._capacity:
            self._first = (self._first + 1) % self._capacity
            self._count -= 1
        slot = self._slot(self._count)
        self._count += 1
        self._times[slot] = at
        for key in values.keys() - self._columns.keys():
            self._columns[key] = array("d", [NAN]) * self._capacity
        for key, column in tuple(self._columns.items()):
            column[slot] = values.get(key, NAN)
            if slot == 0 and self._count == self._capacity and all(map(math.isnan, column)):
                del self._columns[key]  # a card that is gone

    def rows(self, key: SeriesKey, since: float) -> list[tuple[float, float]]:
        column = self._columns.get(key)
        if column is None:
            return []
        slots = map(self._slot, range(self._count))
        return [(self._times[slot], column[slot]) for slot in slots if self._times[slot] >= since]

    def _slot(self, index: int) -> int:
        return (self._first + index) % self._capacity


class _Minute:
    """The minute that isn't over yet: sums and counts per series."""

    def __init__(self) -> None:
        self.count = 0
        self._number = -1
        self._sums: dict[SeriesKey, tuple[float, int]] = {}

    def add(self, at: float, values: Mapping[SeriesKey, float]) -> tuple[float, dict[SeriesKey, float]] | None:
        """Count a sample; returns the minute before (its middle, its means) when this sample begins another one."""
        number = int(at // 60)
        done = None
        if number != self._number:
            if self.count:
                done = (self._middle, {key: total / count for key, (total, count) in self._sums.items()})
            self._number, self.count, self._sums = number, 0, {}
        self.count += 1
        for key, value in values.items():
            total, count = self._sums.get(key, (0.0, 0))
            self._sums[key] = (total + value, count + 1)
        return done

    def mean_of(self, key: SeriesKey) -> tuple[float, float]:
        total, count = self._sums.get(key, (0.0, 0))
        return self._middle, total / count if count else NAN

    @property
    def _middle(self) -> float:
        return self._number * 60.0 + 30.0
