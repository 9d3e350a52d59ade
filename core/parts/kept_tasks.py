"""Tasks that go on for as long as the agent runs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any


class KeptTasks:
    """One that dies cancels whoever entered the agent, and its error is raised by `close`: on purpose and visibly."""

    def __init__(self) -> None:
        self._group: asyncio.TaskGroup | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        self._group = await asyncio.TaskGroup().__aenter__()

    def add(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """After `open`."""
        assert self._group is not None
        self._tasks.append(self._group.create_task(work, name=name))

    async def close(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End them; the arguments are those of __aexit__. Raises an ExceptionGroup when one has died."""
        assert self._group is not None
        for task in self._tasks:
            task.cancel()
        try:
            await self._group.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            if any(part is not error for part in group.exceptions):
                raise
            # Only the caller's own error, which leaves by itself.
