"""Brings what changes all day to disk: half a minute after a change, and at the end. A kill loses at most that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from core.errors import StorageError
from core.logs import get_logger

log = get_logger(__name__)

WRITE_AFTER_S = 30.0
CLOSE_LIMIT_S = 2.0

OnNotice = Callable[[str, str], None]  # (what no longer holds or "", what the owner should know or "")


class DelayedWriter:
    """One write at a time, on one loop. `write` waits for the disk in a worker thread and raises StorageError."""

    def __init__(
        self,
        what: str,
        write: Callable[[], Awaitable[None]],
        *,
        on_notice: OnNotice = lambda old, new: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`what` begins the owner's notice that the disk doesn't take it: "The energy of your days"."""
        self._what = what
        self._write = write
        self._on_notice = on_notice
        self._sleep = sleep
        self._is_changed = False
        self._waiting: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()
        self.trouble = ""  # the notice that stands; "" while the disk takes it

    def note_change(self) -> None:
        """There is something to write. Returns at once."""
        self._is_changed = True
        if self._waiting is None or self._waiting.done():
            self._waiting = asyncio.get_running_loop().create_task(self._write_later(), name="write-later")

    def note_trouble(self, error: StorageError) -> None:
        """The disk doesn't take it: told when it begins, and taken back once a write succeeds."""
        self._tell(f"{self._what} is not kept. {error.detail.rstrip('.')}. {error.hint}")

    async def close(self) -> None:
        """Write what isn't written, within 2 s: a disk that hangs must not keep the agent from stopping."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await self._write_changes()
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.wait([self._waiting])

    async def _write_later(self) -> None:
        while self._is_changed:  # again while the disk doesn't take it
            await self._sleep(WRITE_AFTER_S)
            await self._write_changes()

    async def _write_changes(self) -> None:
        async with self._writing:
            if not self._is_changed:
                return
            self._is_changed = False
            try:
                await self._write()
            except StorageError as error:
                self._is_changed = True
                self.note_trouble(error)
            else:
                self._tell("")

    def _tell(self, trouble: str) -> None:
        if trouble == self.trouble:
            return
        before, self.trouble = self.trouble, trouble
        if trouble:
            log.warning("not kept", notice=trouble)
        self._on_notice(before, trouble)
