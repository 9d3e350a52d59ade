"""Run one agent on one asyncio loop in one named thread, for a front end whose own loop owns the main thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

from core.event_loop import loop_factory

OpenAgent = Callable[[], AbstractAsyncContextManager[Any]]


class AgentThread:
    """One agent in one thread, started once. Knows nothing of Qt.

    `on_end` is called on the agent's thread as the last thing: None after an ordered stop, else the error that ended
    it. An agent that fails to start reports through `start`'s future and `on_end` both.
    """

    def __init__(self, open_agent: OpenAgent, on_end: Callable[[BaseException | None], None]) -> None:
        self._open_agent = open_agent
        self._on_end = on_end
        self._started: Future[None] = Future()
        self._stop = threading.Event()  # wanted, even before there is a loop
        self._loop: asyncio.AbstractEventLoop | None = None  # while what is posted to it is sure to be run
        self._posting = threading.Lock()  # held to take the loop away, so that nothing is posted to it afterwards
        self._wake: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="agent-loop", daemon=True)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> Future[None]:
        """Begin; the future is done when the agent is up, or has the error. The Qt thread never waits for it."""
        self._thread.start()
        return self._started

    def submit(self, command: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Run a command on the loop. Before the loop exists, or after it, the future is cancelled at once."""
        with self._posting:
            if self._loop is not None:
                return asyncio.run_coroutine_threadsafe(command, self._loop)
        command.close()
        gone: Future[Any] = Future()
        gone.cancel()
        return gone

    def post_stop(self) -> None:
        """Ask for an ordered stop and return at once; `on_end` tells when it is over. Safe at any time."""
        self._stop.set()
        loop, wake = self._loop, self._wake
        if loop is not None and wake is not None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(wake.set)

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread's end (never on the Qt thread while its loop runs); True when it has ended."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        failure: BaseException | None = None
        try:
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - the thread edge: nothing may die unseen
            failure = error
        if not self._started.done():
            if failure is not None:
                self._started.set_exception(failure)
            else:
                self._started.cancel()
        self._on_end(failure)

    async def _serve(self) -> None:
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        try:
            if self._stop.is_set():
                return
            async with self._open_agent():
                self._started.set_result(None)
                if not self._stop.is_set():
                    await self._wake.wait()
        finally:
            with self._posting:  # here, not after the loop: it still runs what was posted before, and ends it
                self._loop = None
