"""The ledger's SQLite file: schema, migrations, and the few statements on it. Blocks; used from one thread only.

WAL, with an fsync at each commit (`synchronous = FULL`): a commit comes a few times a minute at most, and is then safe
against a power cut too. sqlite3 is imported when a file is opened, not at the program's start.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from core.atomic_file import set_aside
from core.contribution import (
    ALWAYS,
    COLUMNS,
    COMPLETED,
    FAILED_REASONS,
    LedgerRow,
    Period,
    Sums,
    sums_of,
    values_of,
)
from core.errors import StorageError
from core.paths import ensure_folder, storage_error

if TYPE_CHECKING:
    import sqlite3

APPLICATION_ID = 0x54_43_4C_47  # "TCLG": another program's SQLite file is not ours to write into
_CORRUPT, _NOT_A_DATABASE, _FULL, _READ_ONLY, _CANNOT_OPEN = 11, 26, 13, 8, 14  # SQLite's primary result codes
_LOCK_WAIT_S = 5.0  # another program (somebody's database browser) holds the file
_WAL_FILES = ("-wal", "-shm")

# Each brings the file from the version of its index to the next one. Never change one that was released: add one.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE sessions (
            id INTEGER PRIMARY KEY,
            started_at REAL NOT NULL,
            model TEXT NOT NULL,
            quant TEXT NOT NULL,
            engine TEXT NOT NULL,
            client TEXT NOT NULL,
            prompt_tokens INTEGER,
            completion_tokens INTEGER NOT NULL,
            seconds REAL NOT NULL,
            end_reason TEXT NOT NULL,
            time_to_first_token_ms REAL
        )""",
        "CREATE INDEX sessions_by_start ON sessions (started_at)",
        f"PRAGMA application_id = {APPLICATION_ID}",
    ),
)
_COLUMN_LIST = ", ".join(COLUMNS)
_INSERT = f"INSERT INTO sessions ({_COLUMN_LIST}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608 - our names
_SERVED = f"(completion_tokens > 0 OR end_reason = '{COMPLETED}')"  # core.contribution.is_served, 0 or 1
_SUMS = f"""SELECT total({_SERVED}), total(end_reason IN ({", ".join("?" * len(FAILED_REASONS))})),
    total(prompt_tokens * {_SERVED}), total(completion_tokens * {_SERVED}), total(seconds * {_SERVED})
    FROM sessions WHERE started_at >= ? AND started_at < ?"""  # noqa: S608
_BY_MODEL = f"""SELECT model, count(*) FROM sessions WHERE started_at >= ? AND started_at < ? AND {_SERVED}
    GROUP BY model"""  # noqa: S608
_RECENT = f"SELECT {_COLUMN_LIST} FROM sessions ORDER BY id DESC LIMIT ?"  # noqa: S608
_EVERY = f"SELECT {_COLUMN_LIST} FROM sessions ORDER BY id"  # noqa: S608

Connect = Callable[[Path], "sqlite3.Connection"]


class LedgerDamaged(StorageError):
    """The file is no ledger of ours, or SQLite finds it damaged."""


class LedgerTooNew(StorageError):
    """A newer version of this program wrote the file; it is left as it is."""


def connect_to(path: Path) -> sqlite3.Connection:
    """Read and write, made (0600) if missing. Transactions begin and end where we say."""
    import sqlite3

    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    return sqlite3.connect(path, timeout=_LOCK_WAIT_S, isolation_level=None)


def connect_for_reading(path: Path) -> sqlite3.Connection:
    """Never writes and never makes a file; may be used beside the running agent."""
    import sqlite3

    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", timeout=_LOCK_WAIT_S, isolation_level=None, uri=True)


class LedgerStore:
    """One open file. Every method raises StorageError with the remedy; LedgerDamaged when it should be set aside."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._all: Sums | None = None  # known after the first look: one pass over a big table is enough

    @classmethod
    def open(
        cls, path: Path, *, connect: Connect = connect_to, migrations: Sequence[Sequence[str]] = MIGRATIONS
    ) -> Self:
        """Open or make the file, and bring it to our version. Raises LedgerTooNew, LedgerDamaged, StorageError."""
        ensure_folder(path.parent)
        with _translated(path, "open"):
            if path.exists() and path.stat().st_size:
                with closing(connect_for_reading(path)) as looking:  # a newer version's file is not even checkpointed
                    _check_ours(path, looking, len(migrations))
            connection = connect(path)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                _migrate(connection, migrations)
            except BaseException:
                connection.close()
                raise
        return cls(path, connection)

    @classmethod
    def open_for_reading(cls, path: Path) -> Self:
        """For a front end without an agent. Raises StorageError, also when the file is missing."""
        with _translated(path, "read"):
            connection = connect_for_reading(path)
            try:
                _check_ours(path, connection, len(MIGRATIONS))
            except BaseException:
                connection.close()
                raise
        return cls(path, connection)

    def add(self, rows: Sequence[LedgerRow]) -> None:
        """Keep all of them, or none."""
        with _translated(self._path, "write"):
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany(_INSERT, map(values_of, rows))
                self._connection.execute("COMMIT")
            except BaseException:
                _roll_back(self._connection)
                raise
        self._all = None if self._all is None else self._all + sums_of(rows)

    def sums(self, period: Period) -> Sums:
        with _translated(self._path, "read"):
            found = self._connection.execute(_SUMS, (*FAILED_REASONS, period.start, period.end)).fetchone()
        sessions, failed, prompt_tokens, completion_tokens, seconds = found
        return Sums(
            sessions=int(sessions),
            failed=int(failed),
            prompt_tokens=int(prompt_tokens),
            completion_tokens=int(completion_tokens),
            seconds=seconds,
        )

    def all_sums(self) -> Sums:
        """Everything that is in the file."""
        if self._all is None:
            self._all = self.sums(ALWAYS)
        return self._all

    def sessions_by_model(self, period: Period) -> dict[str, int]:
        """How many served sessions of each model started in it; the names are the coordinator's."""
        with _translated(self._path, "read"):
            return dict(self._connection.execute(_BY_MODEL, (period.start, period.end)))

    def recent(self, limit: int) -> list[LedgerRow]:
        """The sessions that ended last, the newest first."""
        with _translated(self._path, "read"):
            return [_row(found) for found in self._connection.execute(_RECENT, (limit,))]

    def rows(self) -> Iterator[LedgerRow]:
        """Every session in the order in which they ended; read bit by bit."""
        with _translated(self._path, "read"):
            for found in self._connection.execute(_EVERY):
                yield _row(found)

    def close(self) -> None:
        with _translated(self._path, "close"):
            self._connection.close()


def set_ledger_aside(path: Path) -> Path:
    """Move a damaged file away, its write-ahead log with it: together they may still be saved. Raises StorageError."""
    aside = set_aside(path)
    for tail in _WAL_FILES:
        with _translated(path, "set aside"), suppress(FileNotFoundError):
            Path(f"{path}{tail}").replace(f"{aside}{tail}")
    return aside


def _check_ours(path: Path, connection: sqlite3.Connection, newest: int) -> None:
    version, application_id = _pragma(connection, "user_version"), _pragma(connection, "application_id")
    has_schema = _pragma(connection, "schema_version") != 0
    if has_schema and application_id != APPLICATION_ID:
        raise LedgerDamaged(f"{path} is not a ledger of this program")
    if version > newest:
        raise LedgerTooNew(
            f"{path} was written by a newer version of this program (schema {version}, this one knows {newest})",
            hint="Update this program, or move the file away.",
        )
    columns = {name for _, name, *_ in connection.execute("PRAGMA table_info(sessions)")}
    if has_schema and version == newest and not columns.issuperset(COLUMNS):
        raise LedgerDamaged(f"{path} lacks the table of sessions")


def _migrate(connection: sqlite3.Connection, migrations: Sequence[Sequence[str]]) -> None:
    """One step, one transaction: a crash leaves the old version or the next one."""
    for version in range(_pragma(connection, "user_version"), len(migrations)):
        try:
            connection.execute("BEGIN IMMEDIATE")
            for statement in migrations[version]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            _roll_back(connection)
            raise


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:  # SQLite may have rolled back by itself (a full disk)
        connection.execute("ROLLBACK")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _row(found: Sequence[Any]) -> LedgerRow:
    return LedgerRow(**dict(zip(COLUMNS, found, strict=True)))


@contextmanager
def _translated(path: Path, verb: str) -> Iterator[None]:
    import sqlite3

    try:
        yield
    except sqlite3.Error as error:
        raise _storage_error(path, verb, error) from error
    except OSError as error:
        raise storage_error(verb, path, error) from error


def _storage_error(path: Path, verb: str, error: sqlite3.Error) -> StorageError:
    """What SQLite says never holds a value of ours: statements have parameters only."""
    detail = f"Cannot {verb} {path}: {error}"
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (_CORRUPT, _NOT_A_DATABASE):
        return LedgerDamaged(detail)
    if code == _FULL or "disk is full" in str(error):
        return StorageError(detail, hint=f"Free some space on the disk that holds {path.parent}.")
    if code in (_READ_ONLY, _CANNOT_OPEN):
        return StorageError(detail, hint=f"Make {path.parent} and the files in it writable for this user.")
    return StorageError(detail, hint=f"Check the disk that holds {path.parent}, and that no other program locks it.")
