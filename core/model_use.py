"""Which models were asked for most in the last days, by the ledger: what is worth having in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from core.errors import StorageError
from core.logs import get_logger

log = get_logger(__name__)


class ModelUse:
    """Keeps the last answer, for whoever can't wait for the disk. All on the loop thread."""

    def __init__(self, ask: Callable[[], Awaitable[tuple[str, ...]]]) -> None:
        """`ask` gives the names, the most used first; raises StorageError (Ledger.most_used)."""
        self._ask = ask
        self._task: asyncio.Task[None] | None = None
        self.names: tuple[str, ...] = ()

    async def refresh(self) -> None:
        """Ask now. What can't be read changes nothing."""
        try:
            self.names = await self._ask()
        except StorageError as error:
            log.warning("use of the models not known", error=error.detail)

    def refresh_soon(self) -> None:
        """The same in the background."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self.refresh(), name="model-use")

    async def refreshed(self, limit_s: float) -> None:
        """Wait for the answer that was asked for, a slow disk not for ever."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=limit_s)

    async def close(self) -> None:
        if self._task is not None:
            await asyncio.wait([self._task])
