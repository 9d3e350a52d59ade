"""A blocking call that may hang for ever, on a thread that never holds up the program's end.

The threads of `asyncio.to_thread` are waited for when the program ends: a server that sends a byte each ten seconds
would keep it from ending.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class DaemonCall(Generic[T]):
    """One call at a time, each on a thread of its own. One that hangs is left to itself, and none begins beside it."""

    def __init__(self, name: str) -> None:
        """`name` is the thread's."""
        self._name = name
        self._is_running = False

    async def __call__(self, work: Callable[[], T], *, limit_s: float) -> T:
        """The result of `work`, or its error. Raises TimeoutError after `limit_s`, and at once while one hangs."""
        if self._is_running:
            raise TimeoutError
        self._is_running = True
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def settle(value: T | None, failure: Exception | None) -> None:
            self._is_running = False
            if answer.cancelled():
                return
            if failure is None:
                answer.set_result(value)  # type: ignore[arg-type]  # a T where there is no failure
            else:
                answer.set_exception(failure)

        def run() -> None:
            value, failure = None, None
            try:
                value = work()
            except Exception as error:  # noqa: BLE001 - the thread edge: whoever waits must hear of it
                failure = error
            with suppress(RuntimeError):  # the loop has ended: nobody waits
                loop.call_soon_threadsafe(settle, value, failure)

        threading.Thread(target=run, name=self._name, daemon=True).start()
        async with asyncio.timeout(limit_s):
            return await answer
