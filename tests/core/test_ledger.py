"""The ledger as the agent uses it: never in the way, and little lost, whatever the disk does."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from datetime import UTC
from functools import partial
from pathlib import Path

import pytest

from core import ledger as ledger_module
from core.contribution import LedgerRow
from core.errors import StorageError
from core.ledger import FLUSH_ROWS, Ledger
from core.ledger_store import MIGRATIONS, LedgerStore, connect_to
from core.ledger_writer import MAX_WAITING
from tests.fakes.manual_clock import ManualClock
from tests.fakes.session_records import STARTED_AT, ended

INTERVAL_S = 20.0


class WatchedStore(LedgerStore):
    """Tells how many rows each commit has brought, and waits at a gate before."""

    added: asyncio.Queue[int]
    gate: threading.Event
    loop: asyncio.AbstractEventLoop

    def add(self, rows: Sequence[LedgerRow]) -> None:
        assert self.gate.wait(10)
        super().add(rows)
        self.loop.call_soon_threadsafe(self.added.put_nowait, len(rows))


class FaultyConnection(sqlite3.Connection):
    """A disk that refuses every insert while `fault` holds what SQLite says of it."""

    fault = ""

    def executemany(self, sql: str, rows: object) -> sqlite3.Cursor:
        if self.fault:
            raise sqlite3.OperationalError(self.fault)
        return super().executemany(sql, rows)  # type: ignore[arg-type]


class Bench:
    """A ledger with a clock by hand, its notices, and the store behind it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = ManualClock(wall_s=STARTED_AT)
        self.notices: list[str] = []
        self.told: asyncio.Queue[str] = asyncio.Queue()

        class Store(WatchedStore):
            added: asyncio.Queue[int] = asyncio.Queue()
            gate = threading.Event()
            loop = asyncio.get_running_loop()

        class Connection(FaultyConnection):
            pass

        self.store_class, self.connection_class = Store, Connection
        Store.gate.set()
        self.ledger = self.new_ledger()

    def new_ledger(self) -> Ledger:
        return Ledger(
            self.path,
            clock=self.clock.wall,
            zone=UTC,
            sleep=self.clock.sleep,
            on_notice=self._take_notice,
            open_store=partial(self.store_class.open, connect=self._connect),
        )

    async def next_commit(self) -> int:
        """How many rows it brings to the disk."""
        async with asyncio.timeout(20):
            return await self.store_class.added.get()

    def kept(self) -> list[int]:
        """The rows that a crash now would leave, by their tokens."""
        with closing(LedgerStore.open_for_reading(self.path)) as reader:
            return [row.completion_tokens for row in reader.rows()]

    def record(self, *numbers: int) -> None:
        for number in numbers:
            self.ledger.record(ended(completion_tokens=number), quant="Q4_K_M")

    def _connect(self, path: Path) -> sqlite3.Connection:
        connect_to(path).close()
        return sqlite3.connect(path, isolation_level=None, factory=self.connection_class)

    def _take_notice(self, old: str, new: str) -> None:
        if old:
            self.notices.remove(old)
        if new:
            self.notices.append(new)
        self.told.put_nowait(new)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path / "data" / "ledger.sqlite")
    bench.ledger.start()
    await bench.ledger.flush()
    yield bench
    bench.store_class.gate.set()
    await bench.ledger.close()


# --- when rows reach the disk


async def test_rows_are_on_the_disk_twenty_seconds_after_the_first(bench: Bench) -> None:
    bench.record(1)
    await bench.clock.wait_for_sleep(INTERVAL_S)
    await bench.clock.advance(INTERVAL_S - 1)
    bench.record(2)
    assert bench.kept() == []

    await bench.clock.advance(1)

    assert await bench.next_commit() == 2
    assert bench.kept() == [1, 2]


async def test_fifty_rows_do_not_wait(bench: Bench) -> None:
    bench.record(*range(FLUSH_ROWS))

    assert await bench.next_commit() == FLUSH_ROWS


async def test_nothing_ticks_while_there_is_nothing_to_write(bench: Bench) -> None:
    assert bench.clock.sleeping == []

    bench.record(1)
    await bench.clock.wait_for_sleep(INTERVAL_S)
    await bench.clock.advance(INTERVAL_S)
    await bench.next_commit()
    await bench.ledger.flush()

    assert bench.clock.sleeping == []


async def test_closing_writes_what_waits(bench: Bench) -> None:
    bench.record(1, 2)

    await bench.ledger.close()

    assert bench.kept() == [1, 2]
    bench.record(3)  # too late: dropped, no error
    await bench.ledger.close()


async def test_questions_count_what_is_not_written_yet(bench: Bench) -> None:
    bench.record(1, 2)

    assert [row.completion_tokens for row in await bench.ledger.recent(5)] == [2, 1]
    assert (await bench.ledger.summary()).today.completion_tokens == 3
    assert [bar.sums.sessions for bar in await bench.ledger.days(3)] == [0, 0, 2]
    result = await bench.ledger.contribution(days=1, recent=1)
    assert result["summary"] == {
        name: {"sessions": 2, "failed": 0, "prompt_tokens": 14, "completion_tokens": 3, "seconds": 3.0}
        for name in ("today", "last_7_days", "all")
    }


async def test_sessions_are_there_after_a_restart(bench: Bench) -> None:
    bench.record(1, 2)
    await bench.ledger.close()

    bench.ledger = bench.new_ledger()
    bench.ledger.start()
    bench.record(3)

    assert (await bench.ledger.summary()).all.completion_tokens == 6


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_kill_loses_only_what_was_not_flushed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    script = """
import asyncio, sys
from pathlib import Path
from core.ledger import FLUSH_ROWS, Ledger
from tests.fakes.session_records import ended

async def main():
    ledger = Ledger(Path(sys.argv[1]))
    ledger.start()
    await ledger.flush()
    for number in range(FLUSH_ROWS):
        ledger.record(ended(completion_tokens=number))
    while ledger._flushing is not None:
        await asyncio.sleep(0.01)
    for number in range(7):
        ledger.record(ended(completion_tokens=1000 + number))
    print("recorded", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"recorded\n"
        child.send_signal(signal.SIGKILL)
        child.wait(10)

    with closing(LedgerStore.open(path)) as store:
        assert [row.completion_tokens for row in store.rows()] == list(range(FLUSH_ROWS))


# --- a disk that takes nothing


@pytest.mark.parametrize(
    ("fault", "remedy"),
    [
        ("database or disk is full", "Free some space"),
        ("attempt to write a readonly database", "Check the disk"),
        ("database is locked", "no other program locks it"),
    ],
)
async def test_disk_that_refuses_is_said_and_tried_again(bench: Bench, fault: str, remedy: str) -> None:
    bench.connection_class.fault = fault
    bench.record(1, 2)
    await bench.ledger.flush()

    assert await bench.told.get() == bench.notices[0]
    assert fault in bench.notices[0]
    assert remedy in bench.notices[0]
    assert (await bench.ledger.summary()).all.sessions == 2  # from memory

    bench.connection_class.fault = ""
    bench.record(3)
    await bench.clock.wait_for_sleep(INTERVAL_S)
    await bench.clock.advance(INTERVAL_S)

    assert await bench.next_commit() == 3
    assert await bench.told.get() == ""
    assert bench.notices == []
    assert bench.kept() == [1, 2, 3]


async def test_refused_rows_are_tried_again_without_new_ones(bench: Bench) -> None:
    bench.connection_class.fault = "database or disk is full"
    bench.record(1)
    await bench.clock.wait_for_sleep(INTERVAL_S)
    await bench.clock.advance(INTERVAL_S)
    await bench.told.get()
    await bench.clock.wait_for_sleep(INTERVAL_S)
    bench.connection_class.fault = ""

    await bench.clock.advance(INTERVAL_S)

    assert await bench.next_commit() == 1


async def test_memory_is_bounded_and_the_missing_are_counted(bench: Bench) -> None:
    bench.connection_class.fault = "database or disk is full"
    for first in range(0, MAX_WAITING + 100, 50):
        bench.record(*range(first, first + 50))
        await bench.ledger.flush()

    assert (await bench.ledger.summary()).all.sessions == MAX_WAITING
    bench.connection_class.fault = ""
    await bench.ledger.flush()

    assert len(bench.kept()) == MAX_WAITING
    assert bench.kept()[-1] == MAX_WAITING + 99  # the newest are there
    assert bench.notices == ["100 ended sessions are missing in the ledger: it was not writable for too long"]


async def test_ledger_that_cannot_be_opened_works_from_memory(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    bench = Bench(tmp_path / "taken" / "ledger.sqlite")
    bench.ledger.start()
    bench.record(1, 2)

    assert (await bench.ledger.summary()).all.sessions == 2
    assert await bench.ledger.export(tmp_path / "out.csv", "csv") == 2
    assert "cannot be written" in await bench.told.get()
    (tmp_path / "taken").unlink()
    await bench.ledger.flush()
    assert bench.kept() == [1, 2]
    await bench.ledger.close()


async def test_disk_that_hangs_blocks_neither_loop_nor_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "CLOSE_LIMIT_S", 0.05)
    bench.store_class.gate.clear()
    for _ in range(3):
        bench.record(*range(FLUSH_ROWS))
        await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await bench.ledger.close()
    bench.store_class.gate.set()
    await bench.next_commit()  # the thread ends by itself


async def test_question_that_is_given_up_doubles_and_loses_nothing(bench: Bench) -> None:
    bench.store_class.gate.clear()
    bench.record(1, 2)
    asking = asyncio.create_task(bench.ledger.summary())
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    bench.record(3)
    bench.store_class.gate.set()

    await bench.ledger.flush()

    assert bench.kept() == [1, 2, 3]


async def test_removed_file_is_begun_anew(bench: Bench) -> None:
    bench.record(1)
    await bench.ledger.flush()
    for file in bench.path.parent.iterdir():
        file.unlink()

    bench.record(2)
    await bench.ledger.flush()

    assert bench.kept() == [2]
    assert (await bench.ledger.summary()).all.sessions == 1


# --- files that are no ledger of ours


async def start_on(path: Path, prepare: Callable[[Path], object]) -> Bench:
    path.parent.mkdir()
    prepare(path)
    bench = Bench(path)
    bench.ledger.start()
    bench.record(1)
    await bench.ledger.flush()
    return bench


async def test_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    path = tmp_path / "data" / "ledger.sqlite"
    bench = await start_on(path, lambda path: path.write_bytes(b"no database " * 500))

    assert bench.kept() == [1]
    assert path.with_name("ledger.sqlite.damaged-1").read_bytes() == b"no database " * 500
    (notice,) = bench.notices
    assert "damaged, so it was set aside as ledger.sqlite.damaged-1" in notice
    await bench.ledger.close()


async def test_damage_that_shows_while_running_costs_no_new_session(bench: Bench) -> None:
    for first in range(0, 4_000, 1_000):
        bench.record(*range(first, first + 1_000))
        await bench.ledger.flush()
    await bench.ledger.close()
    with bench.path.open("r+b") as file:
        file.seek(10 * 4096)
        file.write(b"\xff" * 4096 * 20)
    bench.ledger = bench.new_ledger()
    bench.ledger.start()

    await bench.ledger.summary()
    bench.record(7)

    assert (await bench.ledger.summary()).all.completion_tokens == 7
    assert "set aside as ledger.sqlite.damaged-1" in bench.notices[0]
    assert bench.kept() == [7]


async def test_newer_file_is_left_alone_and_said_so(tmp_path: Path) -> None:
    path = tmp_path / "data" / "ledger.sqlite"
    newer = (*MIGRATIONS, ("ALTER TABLE sessions ADD COLUMN region TEXT",))
    LedgerStore.open(tmp_path / "newer.sqlite", migrations=newer).close()
    content = (tmp_path / "newer.sqlite").read_bytes()

    bench = await start_on(path, lambda path: path.write_bytes(content))
    assert (await bench.ledger.summary()).all.sessions == 1
    await bench.ledger.close()

    assert path.read_bytes() == content
    (notice,) = bench.notices
    assert "newer version of this program" in notice
    assert "Update this program" in notice


async def test_export_never_overwrites_the_ledger(bench: Bench) -> None:
    bench.record(1)

    with pytest.raises(StorageError, match="is the ledger itself"):
        await bench.ledger.export(bench.path.parent / ".." / "data" / "ledger.sqlite", "csv")
    assert bench.kept() == [1]
