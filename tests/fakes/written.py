"""Waiting for a write that goes on in a worker thread."""

from __future__ import annotations

import asyncio

from core.delayed_writer import DelayedWriter


async def written(writer: DelayedWriter) -> None:
    """Until no write goes on, and one that was asked for waits for its time."""
    await asyncio.sleep(0)
    async with writer._writing:
        pass
