"""Waiting for what tells nobody: another process, the system, a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

LIMIT_S = 20.0


async def until(condition: Callable[[], bool], *, every_s: float = 0.005) -> None:
    """Until it holds; a TimeoutError after LIMIT_S."""
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(every_s)


async def until_it_is(ask: Callable[[], Awaitable[object]], wanted: object, *, every_s: float = 0.02) -> None:
    """Until the answer is `wanted`; an AssertionError with the last answer after LIMIT_S."""
    answer: object = None
    try:
        async with asyncio.timeout(LIMIT_S):
            while (answer := await ask()) != wanted:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(every_s)
    except TimeoutError:
        raise AssertionError(f"it stayed {answer}, and not {wanted}") from None
