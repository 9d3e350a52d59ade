"""The contribution ledger: a row per ended session, kept in SQLite by its own thread, so that the loop never waits.

`record` only appends to a bounded buffer. The buffer goes to the disk when it holds 500 rows, 20 s after its first row,
and at the end: a crash loses at most what ended within these 20 s. With nothing to write nothing ticks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from core.contribution import (
    LAST_DAYS,
    DaySums,
    LedgerRow,
    Period,
    Summary,
    contribution_json,
    days_of,
    last_days,
    summary_of,
)
from core.ledger_store import LedgerStore
from core.ledger_writer import LedgerWriter, OnNotice
from core.logs import get_logger

if TYPE_CHECKING:
    from core.inference import SessionRecord

log = get_logger(__name__)

FLUSH_INTERVAL_S = 20.0
FLUSH_ROWS = 500  # a second of the shortest sessions: each time is a commit
CLOSE_LIMIT_S = 2.0  # a disk that hangs must not keep the agent from stopping

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Ledger:
    """One ledger file. All methods are called on one loop; none of them blocks it.

    `on_notice(old, new)` runs on the loop: `old` no longer holds, `new` is for the owner; either may be "". `zone` None
    is the system's own zone. `clock` gives seconds since the epoch.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.time,
        zone: tzinfo | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        flush_interval_s: float = FLUSH_INTERVAL_S,
        on_notice: OnNotice = lambda old, new: None,
        open_store: Callable[[Path], LedgerStore] = LedgerStore.open,
    ) -> None:
        self._clock = clock
        self._zone = zone
        self._sleep = sleep
        self._flush_interval_s = flush_interval_s
        self._on_notice = on_notice
        self._writer = LedgerWriter(path, open_store=open_store, on_notice=self._post_notice)
        self._thread: ThreadPoolExecutor | None = None
        self._flushing: asyncio.Future[None] | None = None
        self._timer: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Open the file in the background; whatever is wrong with it becomes a notice."""
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._start_flush()

    def record(self, record: SessionRecord, *, quant: str = "") -> None:
        """Take an ended session down. Returns at once; before the start and after the end it is dropped."""
        if self._thread is None:
            return
        inbox = self._writer.inbox
        inbox.append((record, quant))
        if len(inbox) >= FLUSH_ROWS and self._flushing is None:
            self._start_flush()
        else:
            self._start_timer()

    async def flush(self) -> None:
        """Everything recorded so far is on the disk, or a notice says why not."""
        await self._run(self._writer.write)

    async def summary(self) -> Summary:
        """Today, the last 7 days and all. Raises StorageError, as every question here."""
        await self.flush()
        return await self._run(summary_of, self._writer, self._clock(), self._zone)

    async def most_used(self) -> tuple[str, ...]:
        """The models of the last 7 days as the coordinator names them, the one with most sessions first."""
        await self.flush()
        days = last_days(LAST_DAYS, self._clock(), self._zone)
        return await self._run(self._writer.most_used, Period(days[0].period.start, days[-1].period.end))

    async def days(self, count: int) -> tuple[DaySums, ...]:
        """A bar for each of the last `count` local days, the oldest first, today last."""
        await self.flush()
        return await self._run(days_of, self._writer, count, self._clock(), self._zone)

    async def recent(self, limit: int) -> list[LedgerRow]:
        """The sessions that ended last, the newest first."""
        await self.flush()
        return await self._run(self._writer.recent, limit)

    async def contribution(self, *, days: int, recent: int) -> dict[str, object]:
        """Summary, days and recent sessions as plain values (core.contribution.contribution_json)."""
        await self.flush()
        job = partial(contribution_json, days=days, recent=recent, now=self._clock(), zone=self._zone)
        return await self._run(job, self._writer)

    async def export(self, path: Path, file_format: str) -> int:
        """Write every session to `path` ("csv" or "json", core/ledger_export.py); returns how many there are."""
        await self.flush()
        return await self._run(self._writer.export, path, file_format)

    async def close(self) -> None:
        """Write what waits and close the file, within 2 s."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        try:
            async with asyncio.timeout(CLOSE_LIMIT_S):
                lost = await self._loop.run_in_executor(thread, self._writer.close)
            if lost:
                log.warning("ended sessions were not recorded", sessions=lost)
        except TimeoutError:
            log.warning("the ledger's disk doesn't answer", limit_s=CLOSE_LIMIT_S)
        thread.shutdown(wait=False)

    def _run(self, job: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> asyncio.Future[_T]:
        assert self._thread is not None, "the ledger isn't open"
        return self._loop.run_in_executor(self._thread, partial(job, *args, **kwargs))

    def _start_flush(self) -> None:
        self._flushing = self._run(self._writer.write)
        self._flushing.add_done_callback(self._on_flushed)

    def _on_flushed(self, flushed: asyncio.Future[None]) -> None:
        self._flushing = None
        if not flushed.cancelled() and (bug := flushed.exception()) is not None:
            log.error("the ledger's thread failed", exc_info=bug)
        if self._writer.has_waiting and self._thread is not None:
            self._start_timer()

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self._loop.create_task(self._flush_later(), name="ledger-flush")

    async def _flush_later(self) -> None:
        await self._sleep(self._flush_interval_s)
        self._timer = None
        if self._flushing is None:
            self._start_flush()
        else:  # a slow disk: once it is done, what has come since gets its own time
            self._start_timer()

    def _post_notice(self, old: str, new: str) -> None:  # on the worker thread
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._tell, old, new)

    def _tell(self, old: str, new: str) -> None:
        if new:
            log.warning("ledger", notice=new)
        self._on_notice(old, new)
