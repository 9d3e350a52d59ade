"""The ledger's file: sums, migrations, and files that are damaged, foreign, newer or on a bad disk."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.contribution import ALWAYS, HeldRows, LedgerRow, Period, summary_of
from core.errors import StorageError
from core.ledger_store import (
    MIGRATIONS,
    LedgerDamaged,
    LedgerStore,
    LedgerTooNew,
    connect_for_reading,
    connect_to,
    set_ledger_aside,
)
from core.sessions import EndReason
from tests.core.test_contribution import assert_same, rows
from tests.fakes.session_records import STARTED_AT, ledger_row


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "ledger.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[LedgerStore]:
    with closing(LedgerStore.open(path)) as store:
        yield store


def numbered(count: int) -> list[LedgerRow]:
    return [ledger_row(completion_tokens=number) for number in range(count)]


def test_rows_come_back_as_they_were(store: LedgerStore) -> None:
    odd = ledger_row(
        prompt_tokens=None, time_to_first_token_ms=None, model="modèle: 'x'; --", end_reason=EndReason.FAULT
    )
    store.add([ledger_row(), odd])

    assert list(store.rows()) == [ledger_row(), odd]
    assert store.recent(1) == [odd]


@settings(max_examples=40, deadline=None)  # each example opens a file
@given(first=st.lists(rows, max_size=20), second=st.lists(rows, max_size=20))
def test_sums_are_those_of_the_same_rows_in_memory(first: list[LedgerRow], second: list[LedgerRow]) -> None:
    with tempfile.TemporaryDirectory() as folder, closing(LedgerStore.open(Path(folder, "l.sqlite"))) as store:
        store.add(first)
        store.all_sums()  # from here on they are carried along
        store.add(second)

        found = summary_of(store, STARTED_AT, UTC)

        expected = summary_of(HeldRows([*first, *second]), STARTED_AT, UTC)
        for name in ("today", "last_7_days", "all"):
            assert_same(getattr(found, name), getattr(expected, name))
        assert_same(store.sums(ALWAYS), expected.all)


def test_period_begins_with_its_start_and_ends_before_its_end(store: LedgerStore) -> None:
    store.add([ledger_row(started_at=STARTED_AT + seconds) for seconds in (-1, 0, 9, 10)])

    assert store.sums(Period(STARTED_AT, STARTED_AT + 10)).sessions == 2


def test_file_is_for_its_owner_only(path: Path, store: LedgerStore) -> None:
    store.add(numbered(1))

    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}


def test_reading_beside_a_writer_sees_what_is_committed(path: Path, store: LedgerStore) -> None:
    store.add(numbered(3))

    with closing(LedgerStore.open_for_reading(path)) as reader:
        assert reader.all_sums().sessions == 3
        with pytest.raises(StorageError, match="readonly"):
            reader.add(numbered(1))


# --- versions

NEXT = (*MIGRATIONS, ("ALTER TABLE sessions ADD COLUMN region TEXT NOT NULL DEFAULT 'here'",))


def test_migration_keeps_the_rows(path: Path, store: LedgerStore) -> None:
    store.add(numbered(3))
    store.close()

    with closing(LedgerStore.open(path, migrations=NEXT)) as migrated:
        assert list(migrated.rows()) == numbered(3)
        migrated.add(numbered(1))
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (2,)
        assert raw.execute("SELECT DISTINCT region FROM sessions").fetchall() == [("here",)]


def test_migration_that_fails_changes_nothing(path: Path, store: LedgerStore) -> None:
    store.add(numbered(3))
    store.close()

    broken = (*MIGRATIONS, ("ALTER TABLE sessions RENAME TO old_sessions", "SELECT * FROM nowhere"))
    with pytest.raises(StorageError, match="no such table") as raised:
        LedgerStore.open(path, migrations=broken)
    assert not isinstance(raised.value, LedgerDamaged)  # a bug of ours must not set history aside

    with closing(LedgerStore.open(path)) as again:
        assert list(again.rows()) == numbered(3)


def test_newer_file_is_refused_and_stays_as_it_is(path: Path, store: LedgerStore) -> None:
    store.close()
    LedgerStore.open(path, migrations=NEXT).close()
    before = path.read_bytes()

    for open_file in (LedgerStore.open, LedgerStore.open_for_reading):
        with pytest.raises(LedgerTooNew, match="schema 2, this one knows 1") as raised:
            open_file(path)
        assert "Update this program" in raised.value.hint
    assert path.read_bytes() == before


def test_newer_file_keeps_its_write_ahead_log(path: Path, tmp_path: Path) -> None:
    """As a newer version leaves it when it is killed."""
    path.parent.mkdir()
    with closing(LedgerStore.open(tmp_path / "newer.sqlite", migrations=NEXT)) as newer:
        newer.add(numbered(3))
        for tail in ("", "-wal"):
            Path(f"{path}{tail}").write_bytes((tmp_path / f"newer.sqlite{tail}").read_bytes())
    before = [Path(f"{path}{tail}").read_bytes() for tail in ("", "-wal")]
    assert all(before)

    with pytest.raises(LedgerTooNew):
        LedgerStore.open(path)

    assert [Path(f"{path}{tail}").read_bytes() for tail in ("", "-wal")] == before


# --- damage


def test_garbage_is_damage(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database " * 1000)

    with pytest.raises(LedgerDamaged):
        LedgerStore.open(path)
    with pytest.raises(LedgerDamaged):
        LedgerStore.open_for_reading(path)


def test_another_programs_database_is_not_written_into(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as foreign:
        foreign.execute("CREATE TABLE recipes (name TEXT)")
    before = path.read_bytes()

    with pytest.raises(LedgerDamaged, match="not a ledger"):
        LedgerStore.open(path)
    assert path.read_bytes() == before


def test_ledger_without_its_table_is_damage(path: Path, store: LedgerStore) -> None:
    store.close()
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("DROP TABLE sessions")

    with pytest.raises(LedgerDamaged, match="lacks the table"):
        LedgerStore.open(path)


def test_damaged_page_is_found_when_it_is_read(path: Path, store: LedgerStore) -> None:
    store.add(numbered(5_000))
    store.close()
    with path.open("r+b") as file:
        file.seek(20 * 4096)
        file.write(b"\xff" * 4096 * 10)

    with closing(LedgerStore.open(path)) as again, pytest.raises(LedgerDamaged, match="malformed"):
        again.all_sums()


def test_empty_file_becomes_a_ledger(path: Path) -> None:
    path.parent.mkdir()
    path.touch()

    with closing(LedgerStore.open(path)) as store:
        store.add(numbered(1))
        assert store.all_sums().sessions == 1


@pytest.mark.parametrize("tails", [("", "-shm", "-wal"), ("", "-wal"), ("",)])
def test_write_ahead_log_is_set_aside_with_its_file(path: Path, tails: tuple[str, ...]) -> None:
    path.parent.mkdir()
    for tail in tails:
        Path(f"{path}{tail}").write_text(f"content{tail}")

    aside = set_ledger_aside(path)

    found = {file.name: file.read_text() for file in path.parent.iterdir()}
    assert found == {f"{aside.name}{tail}": f"content{tail}" for tail in tails}


# --- disks


def test_really_full_file_takes_all_rows_or_none(path: Path) -> None:
    def connect_small(path: Path) -> sqlite3.Connection:
        connection = connect_to(path)
        connection.execute("PRAGMA max_page_count = 12")
        return connection

    with closing(LedgerStore.open(path, connect=connect_small)) as store:
        store.add(numbered(10))
        with pytest.raises(StorageError, match="disk is full") as raised:
            store.add(numbered(2_000))

        assert "Free some space" in raised.value.hint
        assert store.all_sums().sessions == 10
        store.add(numbered(1))


def test_read_only_file_says_what_to_do(path: Path, store: LedgerStore) -> None:
    store.close()

    with (
        closing(LedgerStore.open(path, connect=connect_for_reading)) as frozen,
        pytest.raises(StorageError, match="readonly") as raised,
    ):
        frozen.add(numbered(1))
    assert "writable" in raised.value.hint


def test_place_that_cannot_hold_a_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")

    with pytest.raises(StorageError) as raised:
        LedgerStore.open(tmp_path / "taken" / "ledger.sqlite")
    assert raised.value.hint


def test_folder_in_the_files_place_is_no_damage(path: Path) -> None:
    path.mkdir(parents=True)

    with pytest.raises(StorageError) as raised:
        LedgerStore.open(path)
    assert not isinstance(raised.value, LedgerDamaged)
