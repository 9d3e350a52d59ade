"""Spent tokens: once is once, over restarts, races, full stores and broken disks."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from core.boot import boot_id
from core.errors import ReplayStoreFull, TokenExpired, TokenReplayed
from core.jwt_validator import TokenClaims
from core.replay_file import RECORD_BYTES, ReplayFile
from core.replay_store import ReplayStore
from tests.fakes.fake_clock import FakeClock

NOW = 1_800_000_000
EXP = NOW + 60
HEAD_BYTES = 2 * RECORD_BYTES


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "spent-tokens"


@pytest.fixture
def store(path: Path, clock: FakeClock) -> Iterator[ReplayStore]:
    store = ReplayStore(path, clock=clock)
    yield store
    store.close()


def claims(iat: int) -> TokenClaims:
    return TokenClaims(
        agent_id="a", client_id="c", model="m", jti="j", iat=iat, nbf=iat, exp=iat + 60, issuer="i"
    )  # fmt: skip


def assert_spent(store: ReplayStore, *jtis: str, exp: int = EXP) -> None:
    for jti in jtis:
        with pytest.raises(TokenReplayed):
            store.spend(jti, exp)


# --- once


def test_token_is_spent_once(store: ReplayStore) -> None:
    store.spend("one", EXP)
    assert_spent(store, "one")
    store.spend("two", EXP)


def test_same_id_with_another_expiry_is_the_same_token(store: ReplayStore) -> None:
    store.spend("one", EXP)
    assert_spent(store, "one", exp=EXP + 5)


def test_store_without_a_file_remembers_too(clock: FakeClock) -> None:
    store = ReplayStore(None, clock=clock)
    store.spend("one", EXP)
    assert_spent(store, "one")
    assert store.refuse_issued_before is None
    assert store.notice == ""


async def test_of_100_racing_tasks_one_passes(store: ReplayStore) -> None:
    start = asyncio.Event()

    async def spend() -> bool:
        await start.wait()
        try:
            store.spend("one", EXP)
        except TokenReplayed:
            return False
        return True

    tasks = [asyncio.create_task(spend()) for _ in range(100)]
    start.set()
    assert sum(await asyncio.gather(*tasks)) == 1


def test_of_100_racing_threads_one_passes(store: ReplayStore) -> None:
    switch_interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for attempt in range(20):
            barrier = threading.Barrier(100)

            def spend(jti: str, barrier: threading.Barrier = barrier) -> bool:
                barrier.wait()
                try:
                    store.spend(jti, EXP)
                except TokenReplayed:
                    return False
                return True

            with ThreadPoolExecutor(max_workers=100) as pool:
                passed = sum(pool.map(spend, [f"jti-{attempt}"] * 100))
            assert passed == 1
    finally:
        sys.setswitchinterval(switch_interval)


# --- until when, and how many


def test_token_is_remembered_until_its_leeway_is_over(store: ReplayStore, clock: FakeClock) -> None:
    store.spend("one", EXP)
    clock.now = EXP + 9.9
    assert_spent(store, "one")
    clock.now = EXP + 10
    store.spend("two", EXP + 60)
    assert len(store) == 1


def test_full_store_refuses_and_forgets_no_live_token(path: Path, clock: FakeClock) -> None:
    store = ReplayStore(path, capacity=3, clock=clock)
    for number in range(3):
        store.spend(f"live-{number}", EXP + number)
    with pytest.raises(ReplayStoreFull):
        store.spend("one too many", EXP)
    assert_spent(store, "live-0", "live-1", "live-2")
    clock.now = EXP + 10  # the first one is dead now
    store.spend("fits", EXP + 60)
    with pytest.raises(ReplayStoreFull):
        store.spend("one too many", EXP + 60)
    assert_spent(store, "live-1", "live-2", "fits")
    store.close()


def test_refused_token_is_not_spent(path: Path, clock: FakeClock) -> None:
    store = ReplayStore(path, capacity=1, clock=clock)
    store.spend("one", EXP)
    with pytest.raises(ReplayStoreFull):
        store.spend("two", EXP + 60)
    clock.now = EXP + 10
    store.spend("two", EXP + 60)
    store.close()


def test_smaller_capacity_after_a_restart_forgets_nothing(path: Path, clock: FakeClock) -> None:
    first = ReplayStore(path, clock=clock)
    for number in range(5):
        first.spend(f"live-{number}", EXP)
    first.close()
    store = ReplayStore(path, capacity=2, clock=clock)
    assert_spent(store, *(f"live-{number}" for number in range(5)))
    with pytest.raises(ReplayStoreFull):
        store.spend("new", EXP)
    store.close()


# --- over a restart


def test_spent_token_is_refused_after_a_restart(path: Path, store: ReplayStore, clock: FakeClock) -> None:
    store.spend("one", EXP)  # not closed: as after SIGKILL
    again = ReplayStore(path, clock=clock)
    assert_spent(again, "one")
    assert again.refuse_issued_before is None
    assert again.notice == ""
    again.close()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_spent_tokens_survive_a_kill_of_the_process(path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from core.replay_store import ReplayStore\n"
        f"store = ReplayStore(Path(sys.argv[1]), clock=lambda: {NOW})\n"
        f"for number in range(100): store.spend(f'jti-{{number}}', {EXP})\n"
        "print('spent', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"spent\n"
        child.send_signal(signal.SIGKILL)
    store = ReplayStore(path, clock=FakeClock(NOW))
    assert_spent(store, *(f"jti-{number}" for number in range(100)))
    store.close()


def test_dead_records_are_gone_after_a_restart(path: Path, store: ReplayStore, clock: FakeClock) -> None:
    for number in range(50):
        store.spend(f"dead-{number}", EXP)
    store.spend("live", EXP + 500)
    clock.now = EXP + 10
    again = ReplayStore(path, clock=clock)
    assert len(again) == 1
    assert path.stat().st_size == HEAD_BYTES + RECORD_BYTES
    assert_spent(again, "live")
    again.close()


def test_file_holds_no_token_id_and_only_its_owner_reads_it(path: Path, store: ReplayStore) -> None:
    store.spend("canary-jti", EXP)
    assert b"canary" not in path.read_bytes()
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600


def test_file_stays_small_and_complete_while_running(path: Path, store: ReplayStore, clock: FakeClock) -> None:
    largest = 0
    for number in range(20_000):
        clock.now = NOW + number / 100
        store.spend(f"jti-{number}", int(clock.now) + 10)
        if number % 100 == 0:
            largest = max(largest, path.stat().st_size // RECORD_BYTES)
    live = [f"jti-{number}" for number in range(18_200, 20_000)]
    assert largest < 3 * len(store) + 2 * 4096
    again = ReplayStore(path, clock=clock)
    assert_spent(again, *live)
    again.close()


def test_spending_drops_few_dead_tokens_at_a_time(store: ReplayStore, clock: FakeClock) -> None:
    for number in range(1000):
        store.spend(f"dead-{number}", EXP)
    clock.now = EXP + 10
    store.spend("new", EXP + 60)
    assert len(store) == 1000 - 64 + 1


# --- clocks that jump


def test_token_whose_record_was_dropped_is_refused_when_the_clock_goes_back(
    path: Path, store: ReplayStore, clock: FakeClock
) -> None:
    store.spend("one", EXP)
    clock.now = EXP + 10
    store.spend("two", EXP + 60)  # drops "one"
    clock.now = NOW
    with pytest.raises(TokenExpired):
        store.spend("one", EXP)
    store.spend("three", EXP + 1)


def test_dropped_record_is_not_forgotten_over_a_restart_with_a_clock_set_back(
    path: Path, store: ReplayStore, clock: FakeClock
) -> None:
    store.spend("one", EXP)
    clock.now = EXP + 10
    ReplayStore(path, clock=clock).close()  # rewrites the file without "one"
    clock.now = NOW
    again = ReplayStore(path, clock=clock)
    with pytest.raises(TokenExpired):
        again.spend("one", EXP)
    again.spend("two", EXP + 1)
    again.close()


def test_clock_that_was_years_ahead_does_not_refuse_tokens_for_years(
    path: Path, store: ReplayStore, clock: FakeClock
) -> None:
    store.spend("before", EXP)
    future = NOW + 10**8
    clock.now = future
    store.spend("ahead", future + 60)
    clock.now = future + 100
    store.spend("ahead too", future + 160)
    clock.now = NOW + 5
    with pytest.raises(TokenExpired):
        store.spend("before", EXP)
    assert store.refuse_issued_before == NOW + 6
    with pytest.raises(TokenReplayed):
        store.check_not_before_start(claims(NOW))
    clock.now = NOW + 7
    store.check_not_before_start(claims(NOW + 7))
    store.spend("after", NOW + 67)


def test_clock_that_was_years_ahead_before_a_restart(path: Path, store: ReplayStore, clock: FakeClock) -> None:
    clock.now = NOW + 10**8
    store.spend("ahead", NOW + 10**8 + 60)
    clock.now += 100
    ReplayStore(path, clock=clock).close()
    clock.now = NOW
    again = ReplayStore(path, clock=clock)
    assert again.refuse_issued_before == NOW + 1
    again.spend("after", EXP)
    again.close()


# --- when tokens may have been forgotten


def test_first_start_refuses_only_what_was_issued_before_it(store: ReplayStore) -> None:
    assert store.refuse_issued_before == NOW
    assert store.notice == ""
    store.check_not_before_start(claims(NOW))
    with pytest.raises(TokenReplayed):
        store.check_not_before_start(claims(NOW - 1))


def test_second_start_with_its_file_refuses_nothing(path: Path, store: ReplayStore, clock: FakeClock) -> None:
    store.close()
    again = ReplayStore(path, clock=clock)
    assert again.refuse_issued_before is None
    again.check_not_before_start(claims(NOW - 500))
    again.close()


def test_start_without_the_file_that_was_there_refuses_older_tokens(
    path: Path, store: ReplayStore, clock: FakeClock
) -> None:
    store.spend("one", EXP)
    store.close()
    path.unlink()
    clock.now = NOW + 2.7
    again = ReplayStore(path, clock=clock)
    assert again.refuse_issued_before == NOW + 2
    with pytest.raises(TokenReplayed):
        again.check_not_before_start(claims(NOW + 1))
    again.close()


def test_start_after_a_power_cut_refuses_older_tokens(path: Path, clock: FakeClock) -> None:
    """What was appended last never reached the disk: it looks like a whole file, and a token could be spent twice."""
    before = ReplayStore(path, clock=clock, boot_id=lambda: "Monday")
    for jti in ("one", "two"):
        before.spend(jti, EXP)
    before.close()
    path.write_bytes(path.read_bytes()[:-RECORD_BYTES])
    clock.now = NOW + 5
    after = ReplayStore(path, clock=clock, boot_id=lambda: "Tuesday")
    assert (after.refuse_issued_before, after.notice) == (NOW + 5, "")
    with pytest.raises(TokenReplayed):
        after.check_not_before_start(claims(NOW))
    assert_spent(after, "one")  # what is there still counts
    after.close()
    again = ReplayStore(path, clock=clock, boot_id=lambda: "Tuesday")
    assert again.refuse_issued_before is None
    again.close()


def test_file_of_a_version_that_named_no_start_is_not_relied_on(path: Path, clock: FakeClock) -> None:
    store = ReplayStore(path, clock=clock)
    store.spend("one", EXP)
    store.close()
    data = path.read_bytes()
    path.write_bytes(data[:RECORD_BYTES] + data[HEAD_BYTES:])
    again = ReplayStore(path, clock=clock)
    assert (again.refuse_issued_before, again.notice) == (NOW, "")
    assert_spent(again, "one")
    again.close()


def test_start_of_the_system_has_one_name() -> None:
    assert boot_id() == boot_id() != ""


def test_torn_last_record_is_dropped_and_nothing_else(path: Path, store: ReplayStore, clock: FakeClock) -> None:
    store.spend("one", EXP)
    store.spend("two", EXP)
    store.close()
    path.write_bytes(path.read_bytes()[:-7])
    again = ReplayStore(path, clock=clock)
    assert again.refuse_issued_before is None
    assert again.notice == ""
    assert_spent(again, "one")
    again.spend("two", EXP)
    third = ReplayStore(path, clock=clock)  # what came after the torn record is in its place
    assert_spent(third, "one", "two")
    again.close()
    third.close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"\0" * len(data),
        lambda data: b"garbage" * 100,
        lambda data: data[RECORD_BYTES:],
        lambda data: data[:50] + bytes([data[50] ^ 1]) + data[51:],
        lambda data: data[:70] + data[75:],
        lambda data: data + b"\0" * RECORD_BYTES,
    ],
    ids=["empty", "zeros", "garbage", "no header", "flipped bit", "lost bytes", "zeros at the end"],
)
def test_damaged_file_is_set_aside_and_older_tokens_are_refused(
    path: Path, store: ReplayStore, clock: FakeClock, damage: object
) -> None:
    assert callable(damage)
    for jti in ("one", "two", "three"):
        store.spend(jti, EXP)
    store.close()
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    clock.now = NOW + 3
    again = ReplayStore(path, clock=clock)
    assert again.refuse_issued_before == NOW + 3
    assert "spent-tokens.damaged" in again.notice
    assert path.with_name("spent-tokens.damaged").read_bytes() == damaged
    again.spend("new", EXP)
    third = ReplayStore(path, clock=clock)  # the new file is sound
    assert third.refuse_issued_before is None
    assert third.notice == ""
    assert_spent(third, "new")
    again.close()
    third.close()


def test_sound_records_of_a_damaged_file_still_count(path: Path, store: ReplayStore, clock: FakeClock) -> None:
    for jti in ("one", "two", "three"):
        store.spend(jti, EXP)
    store.close()
    data = bytearray(path.read_bytes())
    data[HEAD_BYTES + RECORD_BYTES + 5] ^= 1  # in "two"
    path.write_bytes(data)
    again = ReplayStore(path, clock=clock)
    assert_spent(again, "one", "three")
    again.close()


def test_folder_in_the_place_of_the_file_is_set_aside(path: Path, clock: FakeClock) -> None:
    path.mkdir(parents=True)
    store = ReplayStore(path, clock=clock)
    assert store.refuse_issued_before == NOW
    assert "cannot be read" in store.notice
    store.spend("one", EXP)
    assert path.is_file()
    store.close()


@given(data=st.binary(max_size=500))
@settings(max_examples=60)
def test_any_file_content_opens(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "spent-tokens"
    path.write_bytes(data)
    store = ReplayStore(path, clock=FakeClock(NOW))
    store.spend("one", EXP)
    assert_spent(store, "one")
    assert store.refuse_issued_before == NOW
    store.close()


# --- disks that refuse


class FakeDisk:
    """os.open to write and os.write, as a full or read-only disk answers: an error, or fewer bytes than asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._write, self._open = os.write, os.open
        self.error: int | None = None
        self.takes: int | None = None
        monkeypatch.setattr("core.replay_file.os.write", self.write)
        monkeypatch.setattr("core.replay_file.os.open", self.open)

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        if self.error is not None and flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(self.error, os.strerror(self.error))
        return self._open(path, flags, mode)

    def write(self, descriptor: int, data: bytes) -> int:
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))
        return self._write(descriptor, data[: self.takes])


@pytest.mark.parametrize("failure", [errno.ENOSPC, errno.EROFS, errno.EIO, None])
def test_store_goes_on_from_memory_when_the_disk_fails(
    path: Path, store: ReplayStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, failure: int | None
) -> None:
    store.close()
    store = ReplayStore(path, clock=clock)
    store.spend("before", EXP)
    disk = FakeDisk(monkeypatch)
    disk.error, disk.takes = failure, 10
    store.spend("during", EXP)
    assert_spent(store, "before", "during")
    assert "memory only" in store.notice
    assert str(path) in store.notice
    assert store.refuse_issued_before is None  # this process has forgotten nothing
    disk.error, disk.takes = None, None
    clock.now = NOW + 4
    after_a_kill = ReplayStore(path, clock=clock)  # but the next one may have: the file is not relied on
    assert after_a_kill.refuse_issued_before == NOW + 4
    with pytest.raises(TokenReplayed):
        after_a_kill.check_not_before_start(claims(NOW))
    after_a_kill.close()
    store.close()


def test_disk_that_works_again_gets_everything(path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    notices: list[str] = []
    store = ReplayStore(path, clock=clock, on_notice=notices.append)
    disk = FakeDisk(monkeypatch)
    store.spend("before", EXP)
    disk.error = errno.ENOSPC
    store.spend("during", EXP)
    disk.error = None
    clock.now = NOW + 30
    disk.error = errno.ENOSPC
    store.spend("tried again in vain", EXP)
    disk.error = None
    clock.now = NOW + 59
    store.spend("too early for a new try", EXP)
    assert store.notice
    clock.now = NOW + 60
    store.spend("after", EXP)
    assert store.notice == ""
    assert ["memory only" in notice for notice in notices] == [True, False]
    again = ReplayStore(path, clock=clock)
    assert again.refuse_issued_before is None
    assert_spent(again, "before", "during", "too early for a new try", "after")
    again.close()
    store.close()


def test_store_that_cannot_be_written_at_start_says_so_and_refuses_older_tokens(
    tmp_path: Path, clock: FakeClock
) -> None:
    blocker = tmp_path / "a file"
    blocker.write_text("where the folder should be")
    store = ReplayStore(blocker / "spent-tokens", clock=clock)
    assert store.refuse_issued_before == NOW
    assert "memory only" in store.notice
    store.spend("one", EXP)
    assert_spent(store, "one")
    store.close()


def test_file_that_can_be_read_and_not_written_at_start(
    path: Path, store: ReplayStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.spend("one", EXP)
    store.close()
    FakeDisk(monkeypatch).error = errno.EROFS
    again = ReplayStore(path, clock=clock)
    assert_spent(again, "one")
    assert again.refuse_issued_before == NOW  # the agent before may have been unable to write as well
    assert "memory only" in again.notice


def test_failed_replace_leaves_no_temporary_file(
    path: Path, store: ReplayStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(errno.EACCES, "Permission denied")

    store.close()
    monkeypatch.setattr(Path, "replace", refuse)
    again = ReplayStore(path, clock=clock)
    assert "Permission denied" in again.notice
    assert again.refuse_issued_before == NOW
    assert not list(path.parent.iterdir())


def test_record_file_that_grew_beyond_reason_is_not_read_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.replay_file._MOST_RECORDS_READ", 4)
    file = ReplayFile(path)
    file.rewrite(0, [b"x" * RECORD_BYTES * 10], boot_digest=bytes(32))
    assert not file.read().is_complete
    file.close()


# --- a model to compare with


class ReplayMachine(RuleBasedStateMachine):
    """Spend, let time pass, restart: no token passes twice while it would be accepted."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "spent-tokens"
        self.clock = FakeClock(NOW)
        self.store = ReplayStore(self.path, capacity=8, clock=self.clock)
        self.spent: dict[str, int] = {}

    @rule(number=st.integers(0, 12), lifetime=st.integers(1, 600))
    def spend(self, number: int, lifetime: int) -> None:
        jti = f"jti-{number}"
        exp = int(self.clock.now) + lifetime
        live = sum(known + 10 > self.clock.now for known in self.spent.values())
        is_live = self.spent.get(jti, 0) + 10 > self.clock.now
        try:
            self.store.spend(jti, exp)
        except TokenReplayed:
            assert is_live
        except ReplayStoreFull:
            assert live >= 8
        else:
            assert not is_live
            assert live < 8
            self.spent[jti] = exp

    @rule(seconds=st.integers(1, 300))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @rule()
    def restart(self) -> None:
        self.store = ReplayStore(self.path, capacity=8, clock=self.clock)

    @invariant()
    def nothing_to_report(self) -> None:
        assert self.store.notice == ""

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()


TestReplayMachine = ReplayMachine.TestCase
TestReplayMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
