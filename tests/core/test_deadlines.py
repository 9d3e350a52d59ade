from __future__ import annotations

import asyncio

import pytest

from core.deadlines import first_of, within
from tests.fakes.manual_clock import ManualClock


class Work:
    """Something that ends when told, and notes how it ended."""

    def __init__(self) -> None:
        self.finish = asyncio.Event()
        self.was_cancelled = False
        self.task: asyncio.Task[object] | None = None

    async def run(self) -> str:
        self.task = asyncio.current_task()
        try:
            await self.finish.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        return "done"


async def test_work_that_ends_in_time_gives_its_result() -> None:
    clock, work = ManualClock(), Work()
    waiting = asyncio.create_task(within(5.0, work.run(), clock.sleep))
    await clock.wait_for_sleep(5.0)
    work.finish.set()
    assert await waiting == "done"
    assert clock.sleeping == []


async def test_work_that_takes_too_long_is_cancelled() -> None:
    clock, work = ManualClock(), Work()
    waiting = asyncio.create_task(within(5.0, work.run(), clock.sleep))
    await clock.wait_for_sleep(5.0)
    await clock.advance(5.0)
    with pytest.raises(TimeoutError):
        await waiting
    assert work.was_cancelled


async def test_work_that_others_cancelled_is_a_lost_connection() -> None:
    clock, work = ManualClock(), Work()
    waiting = asyncio.create_task(within(5.0, work.run(), clock.sleep))
    await clock.wait_for_sleep(5.0)
    await asyncio.sleep(0)
    assert work.task is not None
    work.task.cancel()
    with pytest.raises(ConnectionError):
        await waiting


async def test_cancelled_caller_takes_its_work_along() -> None:
    clock, work = ManualClock(), Work()
    waiting = asyncio.create_task(within(5.0, work.run(), clock.sleep))
    await clock.wait_for_sleep(5.0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert work.was_cancelled
    assert clock.sleeping == []


async def test_watched_tasks_outlive_the_wait_and_the_rest_does_not() -> None:
    clock, work = ManualClock(), Work()
    watched = asyncio.create_task(work.run())
    waiting = asyncio.create_task(first_of(clock.sleep(1.0), clock.sleep(9.0), watched))
    await clock.wait_for_sleep(9.0)
    await clock.advance(1.0)
    await waiting
    assert not watched.done()
    assert clock.sleeping == []
    work.finish.set()
    await watched
