"""The coordinator's key, beside the beats: a link whose key can't be fetched yet still keeps the agent registered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from core.backoff import Backoff
from core.coordinator_link import Link
from core.deadlines import Sleep, cancel_all
from core.errors import AgentError

FIRST_KEY_LIMIT_S = 1.0  # a coordinator that hangs on its key still gets this agent registered


class KeyFetch:
    """Asks a link for the key until it is held. All on the loop of whoever holds the link."""

    def __init__(
        self,
        *,
        on_key: Callable[[str], None],
        on_held: Callable[[], None],
        on_failure: Callable[[str], None],
        on_bug: Callable[[BaseException], None],
        new_backoff: Callable[[], Backoff],
        sleep: Sleep,
    ) -> None:
        """`on_key` gets PEM text, and `on_held` follows it; `on_failure` gets each failure's detail, `on_bug` what
        must not happen.
        """
        self._on_key = on_key
        self._on_held = on_held
        self._on_failure = on_failure
        self._on_bug = on_bug
        self._new_backoff = new_backoff
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None
        self._was_tried = asyncio.Event()  # this link's first fetch is over, with a key or without

    def start(self, link: Link) -> None:
        """Begin, if it isn't under way."""
        if self._task is None or self._task.done():
            self._was_tried.clear()
            self._task = asyncio.create_task(self._run(link), name="coordinator-key")
            self._task.add_done_callback(self._note_end)

    async def wait_tried(self) -> None:
        """Who registers is sent clients, and without a key they would be refused: give the first fetch a moment."""
        if self._task is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_KEY_LIMIT_S):
                await self._was_tried.wait()

    async def stop(self) -> None:
        """The link is over."""
        task, self._task = self._task, None
        if task is not None:
            await cancel_all(task)

    async def _run(self, link: Link) -> None:
        backoff = self._new_backoff()
        while True:
            try:
                self._on_key(await link.fetch_key())
            except AgentError as error:
                self._was_tried.set()
                self._on_failure(error.detail)
                await self._sleep(backoff.next_wait_s())
            else:
                self._on_held()
                self._was_tried.set()
                return

    def _note_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (bug := task.exception()) is not None:
            self._on_bug(bug)
