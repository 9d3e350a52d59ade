"""Free RAM, read while a model of ours is in memory: once or twice a second, and ten times once it gets short.

The sample of the machine comes too late for that: two seconds are enough for a program to take a gigabyte, and the
system would then kill one, perhaps the owner's. The more is free, the longer a program needs to take it: reading once a
second from four times what must stay free on notices one as fast as reading twice from two times on does. A reading
takes 0.15 ms of processor time, thread included.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from core.host_meter import RamReading
from core.shared_beat import sleep_to_beat

FAR_INTERVAL_S = 1.0
INTERVAL_S = 0.5
NEAR_INTERVAL_S = 0.1
UNNEEDED_INTERVAL_S = 1.0  # without a model in memory, or a reading
FAR, NEAR = 4.0, 2.0  # times what must stay free


class MemoryWatch:
    """Reads only while `is_needed`; `read` blocks for a moment, and is called on a worker thread."""

    def __init__(
        self,
        read: Callable[[], RamReading | None],
        *,
        is_needed: Callable[[], bool],
        kept_mb: Callable[[RamReading], int],
        on_reading: Callable[[RamReading], None],
        sleep: Callable[[float], Awaitable[None]] = sleep_to_beat,
    ) -> None:
        """`kept_mb` is what must stay free (core/capacity.kept_free_mb). `on_reading` gets what comes near to that, and
        the first reading that no longer does.
        """
        self._read = read
        self._is_needed = is_needed
        self._kept_mb = kept_mb
        self._on_reading = on_reading
        self._sleep = sleep

    async def run(self) -> None:
        """Watch for ever."""
        interval_s, is_near = INTERVAL_S, False
        while True:
            await self._sleep(interval_s)
            reading = await asyncio.to_thread(self._read) if self._is_needed() else None
            if reading is None:
                interval_s, is_near = UNNEEDED_INTERVAL_S, False
                continue
            kept_mb = self._kept_mb(reading)
            was_near, is_near = is_near, reading.available_mb < NEAR * kept_mb
            is_far = reading.available_mb >= FAR * kept_mb
            interval_s = NEAR_INTERVAL_S if is_near else FAR_INTERVAL_S if is_far else INTERVAL_S
            if is_near or was_near:  # while there is plenty the samples tell it often enough
                self._on_reading(reading)
