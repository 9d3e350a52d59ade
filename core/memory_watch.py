"""Free RAM, read twice a second while a model of ours is in memory: the sample of the machine comes too late for that.

Two seconds are enough for a program to take a gigabyte; the system would then kill one, and the owner's may be it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from core.host_meter import RamReading

INTERVAL_S = 0.5


class MemoryWatch:
    """Reads only while `is_needed`; `read` blocks for a moment, and is called on a worker thread."""

    def __init__(
        self,
        read: Callable[[], RamReading | None],
        *,
        is_needed: Callable[[], bool],
        on_reading: Callable[[RamReading], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._read = read
        self._is_needed = is_needed
        self._on_reading = on_reading
        self._sleep = sleep

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            await self._sleep(INTERVAL_S)
            if self._is_needed():
                reading = await asyncio.to_thread(self._read)
                if reading is not None:
                    self._on_reading(reading)
