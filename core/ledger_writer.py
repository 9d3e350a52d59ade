"""The worker thread's half of the ledger: rows wait here until the disk has them, whatever the disk does.

Everything here blocks and runs on one thread; only `inbox` is shared with the loop, which appends to it. A row is in
the inbox, among the unwritten, or in the file, never in two of them: so sums may be added up, and a call that is
cancelled on the loop loses and doubles nothing.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from core.contribution import LedgerRow, Period, Sums, row_of, sums_of
from core.errors import StorageError
from core.ledger_export import export_rows
from core.ledger_store import LedgerDamaged, LedgerStore, set_ledger_aside

if TYPE_CHECKING:
    from core.inference import SessionRecord

MAX_WAITING = 5_000  # rows; about 3 MB
_WAITING = "Ended sessions wait in memory and are tried again"

OnNotice = Callable[[str, str], None]  # (what no longer holds or "", what the owner should know or "")
_T = TypeVar("_T")


class LedgerWriter:
    """Rows on their way to the file, and sums over both. Implements core.contribution.SessionSource."""

    def __init__(self, path: Path, *, open_store: Callable[[Path], LedgerStore], on_notice: OnNotice) -> None:
        self.inbox: deque[tuple[SessionRecord, str]] = deque(maxlen=MAX_WAITING)  # with the model's quant
        self._path = path
        self._open_store = open_store
        self._on_notice = on_notice
        self._unwritten: deque[LedgerRow] = deque()
        self._store: LedgerStore | None = None
        self._trouble = ""  # the notice that stands; "" while rows reach the disk
        self._lost = 0

    @property
    def has_waiting(self) -> bool:
        return bool(self.inbox or self._unwritten)

    def write(self) -> None:
        """Bring what waits to the disk. A disk that takes nothing is no error: rows stay, and a notice says why."""
        self._empty_inbox()
        try:
            self._open_if_needed()
            if self._unwritten:
                self._add_to_file()
        except StorageError as error:
            self._set_trouble(f"The ledger cannot be written. {error.detail}. {_WAITING}. {error.hint}")
        else:
            self._set_trouble("")
            self._report_lost()

    def sums(self, period: Period) -> Sums:
        return self._ask(lambda store: store.sums(period), Sums()) + sums_of(self._unwritten, period)

    def all_sums(self) -> Sums:
        return self._ask(lambda store: store.all_sums(), Sums()) + sums_of(self._unwritten)

    def most_used(self, period: Period) -> tuple[str, ...]:
        """Models by the sessions that they served in the period, the most first."""
        nothing: dict[str, int] = {}
        counts = Counter(self._ask(lambda store: store.sessions_by_model(period), nothing))
        counts.update(row.model for row in self._unwritten if row.is_served and period.holds(row.started_at))
        return tuple(sorted(counts, key=lambda model: (-counts[model], model)))

    def recent(self, limit: int) -> list[LedgerRow]:
        newest = list(reversed(self._unwritten))[:limit]
        nothing: list[LedgerRow] = []
        return newest + self._ask(lambda store: store.recent(limit - len(newest)), nothing)

    def export(self, path: Path, file_format: str) -> int:
        """Write every session to `path`; returns how many. Raises StorageError."""
        waiting = tuple(self._unwritten)
        write = partial(export_rows, path=path, file_format=file_format, ledger=self._path)
        exported = self._ask(lambda store: write(chain(store.rows(), waiting)), None)
        return write(waiting) if exported is None else exported

    def close(self) -> int:
        """A last try for what waits, then close the file; returns how many rows are lost with this process."""
        self.write()
        self._close_store()
        return len(self._unwritten)

    def _empty_inbox(self) -> None:
        while self.inbox:
            self._unwritten.append(row_of(*self.inbox.popleft()))
        while len(self._unwritten) > MAX_WAITING:
            self._unwritten.popleft()
            self._lost += 1

    def _open_if_needed(self) -> None:
        """Open at first, after trouble (a disk that came back), and when somebody has removed the file."""
        if self._store is not None and not self._trouble and self._path.exists():
            return
        try:
            fresh = self._open_store(self._path)
        except LedgerDamaged as error:
            fresh = self._start_over(error)
        self._close_store()
        self._store = fresh

    def _add_to_file(self) -> None:
        assert self._store is not None
        rows = tuple(self._unwritten)
        try:
            self._store.add(rows)
        except LedgerDamaged as error:
            self._store = self._start_over(error)
            self._store.add(rows)
        self._unwritten.clear()

    def _start_over(self, error: LedgerDamaged) -> LedgerStore:
        """The damaged file is kept under another name, and a new one begun. Raises StorageError."""
        self._close_store()  # Windows renames no open file
        aside = set_ledger_aside(self._path)
        self._on_notice("", f"The ledger was damaged, so it was set aside as {aside.name}: {error.detail}")
        return self._open_store(self._path)

    def _ask(self, query: Callable[[LedgerStore], _T], nothing: _T) -> _T:
        """Ask the file; `nothing` when there is none. Raises StorageError."""
        if self._store is None:
            return nothing
        try:
            return query(self._store)
        except LedgerDamaged as error:
            self._store = self._start_over(error)
            return nothing

    def _close_store(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            with suppress(StorageError):
                store.close()

    def _set_trouble(self, notice: str) -> None:
        if notice != self._trouble:
            before, self._trouble = self._trouble, notice
            self._on_notice(before, notice)

    def _report_lost(self) -> None:
        if self._lost:
            lost, self._lost = self._lost, 0
            self._on_notice("", f"{lost} ended sessions are missing in the ledger: it was not writable for too long")
