"""What the charts draw: the last ten minutes as sampled, the last day as means per minute. Pure, bounded, cheap.

Recording goes on while no window is open, so a sample costs some dictionary look-ups. None is never 0: a figure that
wasn't measured is NaN in here, and the line has a gap there.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from core.gpu import GpuSample
from core.snapshot import AgentSnapshot
from titan_gui.history_table import NAN, Minute, Table
from titan_gui.series import CPU_HEAT, MAX_CARDS, SeriesKey, Shade, shade_of, values_of

MAX_STRETCHES = 512  # an agent that flaps for a day must not grow without end


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
        self._recent = Table(600)  # one sample each second at the most
        self._minutes = Table(1440)
        self._minute = Minute()
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
