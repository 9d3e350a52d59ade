"""Free RAM between two samples: read only while something of ours is in memory."""

from __future__ import annotations

import asyncio

import pytest

from core.host_meter import RamReading
from core.memory_watch import FAR_INTERVAL_S, INTERVAL_S, NEAR_INTERVAL_S, UNNEEDED_INTERVAL_S, MemoryWatch


class Turns:
    """A sleep that ends the watch after so many turns."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.lengths_s: list[float] = []

    async def __call__(self, length_s: float) -> None:
        self.lengths_s.append(length_s)
        self.left -= 1
        if self.left < 0:
            raise asyncio.CancelledError


async def watched(*loaded: bool, free_mb: list[int | None]) -> tuple[list[int], list[float]]:
    """What was told, and how long it slept before each reading, of a machine on which 400 MB must stay free."""
    needed, left, told = list(loaded), list(free_mb), list[int]()
    turns = Turns(len(loaded))

    def read() -> RamReading | None:
        free = left.pop(0)
        return None if free is None else RamReading(total_mb=8000, available_mb=free)

    watch = MemoryWatch(
        read,
        is_needed=lambda: needed.pop(0),
        kept_mb=lambda ram: 400,
        on_reading=lambda ram: told.append(ram.available_mb),
        sleep=turns,
    )
    with pytest.raises(asyncio.CancelledError):
        await watch.run()
    assert left == []
    return told, turns.lengths_s


async def test_it_reads_only_while_a_model_of_ours_is_in_memory() -> None:
    told, _ = await watched(False, True, False, True, free_mb=[700, 600])
    assert told == [700, 600]


async def test_it_looks_closer_while_memory_is_nearly_short() -> None:
    told, lengths_s = await watched(True, True, True, free_mb=[800, 799, 900])
    assert told == [799, 900]  # and that it is over
    assert lengths_s == [INTERVAL_S, INTERVAL_S, NEAR_INTERVAL_S, INTERVAL_S]


async def test_the_more_is_free_the_later_it_looks_again() -> None:
    _, lengths_s = await watched(True, True, True, free_mb=[1600, 1599, 8000])
    assert lengths_s == [INTERVAL_S, FAR_INTERVAL_S, INTERVAL_S, FAR_INTERVAL_S]


async def test_plenty_is_left_to_the_samples_to_tell() -> None:
    told, _ = await watched(True, True, True, True, free_mb=[1900, 799, 900, 1100])
    assert told == [799, 900]


async def test_what_is_not_measured_is_not_told() -> None:
    assert await watched(True, free_mb=[None]) == ([], [INTERVAL_S, UNNEEDED_INTERVAL_S])
