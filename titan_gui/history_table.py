"""Rows of figures in bounded memory: a ring, and the minute that isn't over yet. NaN: not measured."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping

from titan_gui.series import SeriesKey

NAN = math.nan


class Table:
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


class Minute:
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
