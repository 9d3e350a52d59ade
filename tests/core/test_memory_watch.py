"""Free RAM between two samples: read only while something of ours is in memory."""

from __future__ import annotations

import asyncio

import pytest

from core.host_meter import RamReading
from core.memory_watch import INTERVAL_S, MemoryWatch


class Turns:
    """A sleep that ends the watch after so many turns."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.lengths_s: set[float] = set()

    async def __call__(self, length_s: float) -> None:
        self.lengths_s.add(length_s)
        self.left -= 1
        if self.left < 0:
            raise asyncio.CancelledError


async def watched(*, loaded: list[bool], readings: list[RamReading | None]) -> list[RamReading]:
    turns, seen = Turns(len(loaded)), list[RamReading]()
    watch = MemoryWatch(
        lambda: readings.pop(0), is_needed=lambda: loaded.pop(0), on_reading=lambda ram: seen.append(ram), sleep=turns
    )
    with pytest.raises(asyncio.CancelledError):
        await watch.run()
    assert turns.lengths_s == {INTERVAL_S}
    return seen


async def test_it_reads_only_while_a_model_of_ours_is_in_memory() -> None:
    first, second = RamReading(total_mb=8000, available_mb=900), RamReading(total_mb=8000, available_mb=100)
    assert await watched(loaded=[False, True, False, True], readings=[first, second]) == [first, second]


async def test_what_is_not_measured_is_not_told() -> None:
    assert await watched(loaded=[True], readings=[None]) == []
