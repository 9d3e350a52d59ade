"""Waiting with an injected clock: a limit on one piece of work, and the first of several events."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

Sleep = Callable[[float], Awaitable[None]]
T = TypeVar("T")


async def within(limit_s: float, work: Coroutine[Any, Any, T], sleep: Sleep) -> T:
    """The work's result. Raises TimeoutError once `sleep(limit_s)` has ended first; the work is then cancelled.

    Work that was cancelled by somebody else (a closed channel cancels its calls) raises ConnectionError: a
    CancelledError here always means that the caller's own task is being cancelled.
    """
    task = asyncio.create_task(work)
    timer = asyncio.ensure_future(_as_coroutine(sleep(limit_s)))
    try:
        await asyncio.wait({task, timer}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise TimeoutError
        if task.cancelled():
            raise ConnectionError("cancelled from elsewhere")
        return task.result()
    finally:
        await cancel_all(task, timer)


async def first_of(*events: Awaitable[Any] | asyncio.Task[Any]) -> None:
    """Return when the first event is there. Tasks are only watched; everything else is cancelled afterwards."""
    watched = [event for event in events if isinstance(event, asyncio.Task)]
    ours = [asyncio.ensure_future(_as_coroutine(event)) for event in events if not isinstance(event, asyncio.Task)]
    try:
        await asyncio.wait([*watched, *ours], return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel_all(*ours)


async def cancel_all(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait until they have ended; how they ended is not looked at."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _as_coroutine(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
