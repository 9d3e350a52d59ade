"""The agent's thread at its edges: what is asked before, at and after its end is answered or refused, never lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager

from core.runtime import AgentThread

LIMIT_S = 20.0


class Ended:
    """What `on_end` was told."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._event = threading.Event()

    def __call__(self, error: BaseException | None) -> None:
        self.error = error
        self._event.set()

    def wait(self) -> BaseException | None:
        assert self._event.wait(LIMIT_S)
        return self.error


@asynccontextmanager
async def nothing() -> AsyncIterator[None]:
    yield


async def answer() -> str:
    return "done"


def test_a_command_is_run_on_the_threads_loop() -> None:
    ended = Ended()
    thread = AgentThread(nothing, ended)
    thread.start().result(LIMIT_S)
    assert thread.submit(answer()).result(LIMIT_S) == "done"
    thread.post_stop()
    assert ended.wait() is None
    assert thread.join(LIMIT_S)


def test_a_command_before_the_start_or_after_the_end_is_refused() -> None:
    ended = Ended()
    thread = AgentThread(nothing, ended)
    assert thread.submit(answer()).cancelled()
    thread.start().result(LIMIT_S)
    thread.post_stop()
    ended.wait()
    assert thread.submit(answer()).cancelled()


def test_a_command_posted_as_the_last_thing_of_the_agent_is_answered_or_refused() -> None:
    posted: list[Future[str]] = []

    @asynccontextmanager
    async def ends_with_a_command() -> AsyncIterator[None]:
        yield
        other = threading.Thread(target=lambda: posted.append(thread.submit(answer())))
        other.start()
        other.join()

    ended = Ended()
    thread = AgentThread(ends_with_a_command, ended)
    thread.start().result(LIMIT_S)
    thread.post_stop()
    assert ended.wait() is None
    assert [future.done() for future in posted] == [True]


def test_a_command_is_refused_while_the_loop_is_only_cleaned_up() -> None:
    """Nobody would run it any more: its future would never be done, and the window would wait for its answer."""
    posted: list[Future[str]] = []
    left: list[asyncio.Task[None]] = []

    async def left_over() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            posted.append(thread.submit(answer()))

    @asynccontextmanager
    async def leaves_a_task() -> AsyncIterator[None]:
        left.append(asyncio.create_task(left_over()))
        await asyncio.sleep(0)  # it has begun
        yield

    ended = Ended()
    thread = AgentThread(leaves_a_task, ended)
    thread.start().result(LIMIT_S)
    thread.post_stop()
    assert ended.wait() is None
    assert [future.cancelled() for future in posted] == [True]


def test_a_stop_before_the_start_opens_nothing() -> None:
    opened: list[bool] = []

    @asynccontextmanager
    async def open_agent() -> AsyncIterator[None]:
        opened.append(True)
        yield

    ended = Ended()
    thread = AgentThread(open_agent, ended)
    thread.post_stop()
    started = thread.start()
    assert ended.wait() is None
    assert started.cancelled()
    assert opened == []


def test_a_start_that_fails_is_told_twice() -> None:
    @asynccontextmanager
    async def fails() -> AsyncIterator[None]:
        raise OSError("no door")
        yield

    ended = Ended()
    thread = AgentThread(fails, ended)
    error = thread.start().exception(LIMIT_S)
    assert isinstance(error, OSError)
    assert ended.wait() is error
