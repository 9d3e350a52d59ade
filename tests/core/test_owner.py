"""The owner's pause: closed before it returns, timed, finished first, kept over a restart and over broken disks."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import NotServing, SessionEnded, StorageError
from core.owner import LONGEST_SHARE_S, OwnerControl, PauseMode
from core.reasons import ReasonBook
from core.sessions import Admission, EndReason, ended_error
from tests.fakes.manual_clock import ManualClock

HOUR_S = 3600.0


class Owner:
    """OwnerControl with a real admission and book of reasons around it."""

    def __init__(self, folder: Path, *, finish_limit_s: float = 120.0, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock()
        self.file = folder / "pause.json"
        self.blocked: list[bool] = []  # at every change of a reason
        self.reasons = ReasonBook(lambda: self.blocked.append(self.reasons.is_blocked))
        self.admission = Admission(max_jobs=4, queue_size=4, closed_because=lambda: self.reasons.closed_because())
        self.control = OwnerControl(
            admission=self.admission,
            reasons=self.reasons,
            state_file=self.file,
            finish_limit_s=finish_limit_s,
            on_notice=self._take_notice,
            clock=self.clock.wall,
            since_boot_s=lambda: None if self.set_by_s is None else self.clock.wall() - self.set_by_s,
        )
        self.set_by_s: float | None = None  # how much the wall clock was set forward; None: the system doesn't tell
        self.notices: list[str] = []
        self.notices_changed = asyncio.Event()
        self.leave = asyncio.Event()

    async def session(self) -> asyncio.Task[None]:
        """A running session that ends when `leave` is set; ended by us, it raises SessionEnded as the real one does."""

        async def run() -> None:
            async with self.admission.slot(model="m", client="c", job_id="j", spend=lambda: None) as session:
                try:
                    await self.leave.wait()
                except asyncio.CancelledError:
                    assert session.end_reason is not None
                    raise ended_error(session.end_reason) from None

        task = asyncio.create_task(run())
        await asyncio.sleep(0)
        return task

    def _take_notice(self, old: str, new: str) -> None:
        self.notices = [notice for notice in (*self.notices, new) if notice and notice != old]
        self.notices_changed.set()

    @property
    def codes(self) -> list[str]:
        return [reason.code for reason in self.reasons.all]


async def refused(owner: Owner) -> bool:
    try:
        async with owner.admission.slot(model="m", client="c", job_id="x", spend=lambda: None):
            return False
    except NotServing:
        return True


async def test_pause_closes_the_gate_before_it_returns(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    assert not await refused(owner)
    assert owner.control.pause() == 0
    assert await refused(owner)
    assert owner.control.resume()
    assert not await refused(owner)
    assert not owner.control.resume()
    await owner.control.close()


async def test_pause_lets_running_sessions_finish_or_stops_them(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    running = await owner.session()
    assert owner.control.pause() == 1
    await asyncio.sleep(0)
    assert not running.done()
    assert owner.control.pause(mode=PauseMode.STOP) == 1
    with pytest.raises(SessionEnded) as ended:
        await running
    assert ended.value.reason is EndReason.PAUSED
    await owner.control.close()


@pytest.mark.parametrize("way", ["pause", "finish"])
async def test_sessions_beyond_the_finish_limit_are_ended(tmp_path: Path, way: str) -> None:
    owner = Owner(tmp_path, finish_limit_s=0.01)
    running = await owner.session()
    assert (owner.control.pause if way == "pause" else owner.control.finish)() == 1
    async with asyncio.timeout(10):
        with pytest.raises(SessionEnded):
            await running
    await owner.admission.wait_idle()
    await asyncio.sleep(0)
    assert owner.codes == ["paused_by_owner"]
    await owner.control.close()


@pytest.mark.parametrize(
    ("way", "sentence"),
    [
        ("pause", "Paused by you until you resume. Finishing 2 sessions: 95 s left."),
        ("finish", "Finishing 2 sessions: 95 s left, then pausing."),
    ],
)
async def test_what_may_still_run_is_counted_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, sentence: str
) -> None:
    monkeypatch.setattr("core.owner.COUNTDOWN_S", 0.001)
    owner = Owner(tmp_path, finish_limit_s=95)
    first, second = await owner.session(), await owner.session()
    getattr(owner.control, way)()
    reason = owner.reasons.all[0]
    assert reason.sentence == sentence
    assert reason.sessions_end_at == pytest.approx(owner.clock.wall() + 95, abs=1)
    owner.admission.end_session("s1", EndReason.OWNER_STOPPED)
    with pytest.raises(SessionEnded):
        await first
    await until(owner, lambda: "Finishing 1 session: 95 s left" in owner.reasons.all[0].sentence)
    owner.leave.set()
    await second
    await until(owner, lambda: owner.reasons.all[0].sentence == "Paused by you until you resume.")
    assert owner.reasons.all[0].sessions_end_at is None
    assert owner.control._countdown is None
    await owner.control.close()


async def until(owner: Owner, is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_true():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_resume_takes_the_limit_back(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    running = await owner.session()
    owner.control.pause()
    timer = owner.control._limit_timer
    assert timer is not None
    owner.control.resume()
    assert timer.cancelled()
    owner.leave.set()
    await running
    await owner.control.close()


async def test_finish_drains_then_pauses_with_no_instant_in_between(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    running = await owner.session()
    assert owner.control.finish() == 1
    assert (owner.codes, owner.control.is_draining, owner.control.is_paused) == (["draining"], True, False)
    assert await refused(owner)
    owner.leave.set()
    await running
    for _ in range(3):
        await asyncio.sleep(0)
    assert (owner.codes, owner.control.is_draining, owner.control.is_paused) == (["paused_by_owner"], False, True)
    assert all(owner.blocked)  # or the coordinator would be told to send work
    await owner.control.close()


async def test_finish_with_nothing_running_pauses_at_once(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    assert owner.control.finish() == 0
    assert owner.control.is_paused
    await owner.control.close()


async def test_resume_during_draining_serves_on(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    running = await owner.session()
    owner.control.finish()
    assert owner.control.resume()
    assert not await refused(owner)
    owner.leave.set()
    await running
    await asyncio.sleep(0)
    assert not owner.control.is_paused
    await owner.control.close()


async def test_pause_during_draining_pauses_with_no_instant_in_between(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    running = await owner.session()
    owner.control.finish()
    owner.control.pause(mode=PauseMode.STOP)
    assert all(owner.blocked)
    with pytest.raises(SessionEnded):
        await running
    assert owner.codes == ["paused_by_owner"]
    await owner.control.close()


async def test_timed_pause_ends_by_the_wall_clock_also_after_sleep(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.control.pause(until=owner.clock.wall() + HOUR_S)
    await owner.clock.advance(HOUR_S - 1)
    owner.control.check_clock()
    assert owner.control.is_paused
    owner.clock.suspend(1)
    owner.control.check_clock()
    assert (owner.control.is_paused, owner.control.pause_until, owner.codes) == (False, None, [])
    await owner.control.close()


def paused_for_an_hour(folder: Path) -> tuple[Owner, float]:
    """On a machine that tells the time since its start; and the pause's end by the clock as it was."""
    owner = Owner(folder)
    owner.set_by_s = 0.0
    until = owner.clock.wall() + HOUR_S
    owner.control.pause(until=until)
    return owner, until


def set_clock(owner: Owner, by_s: float) -> None:
    """Somebody sets the wall clock, and it is looked at."""
    owner.clock.suspend(by_s)
    owner.set_by_s = by_s
    owner.control.check_clock()


@pytest.mark.parametrize("set_by_s", [86_400.0, 56 * 365 * 86_400.0, 120.0])
async def test_clock_that_is_set_forward_ends_no_pause(tmp_path: Path, set_by_s: float) -> None:
    owner, until = paused_for_an_hour(tmp_path)
    set_clock(owner, set_by_s)
    assert await refused(owner)
    assert owner.control.pause_until == pytest.approx(until + set_by_s)  # and is said by the new clock
    assert owner.reasons.all[0].ends_at == owner.control.pause_until
    await owner.control.wait_saved()
    assert json.loads(owner.file.read_bytes())["until"] == owner.control.pause_until
    owner.clock.suspend(HOUR_S - 1)
    owner.control.check_clock()
    assert await refused(owner)
    owner.clock.suspend(2)
    owner.control.check_clock()
    assert not await refused(owner)
    await owner.control.close()


@pytest.mark.parametrize("set_by_s", [-86_400.0, -30.0, 30.0])
async def test_clock_that_is_set_back_or_by_little_leaves_the_end_as_it_was_said(
    tmp_path: Path, set_by_s: float
) -> None:
    owner, until = paused_for_an_hour(tmp_path)
    set_clock(owner, set_by_s)
    assert await refused(owner)
    assert owner.control.pause_until == until
    await owner.control.close()


async def test_sleep_is_time_that_passes(tmp_path: Path) -> None:
    owner, _ = paused_for_an_hour(tmp_path)
    owner.clock.suspend(86_400)
    owner.control.check_clock()
    assert not await refused(owner)
    await owner.control.close()


async def test_timed_pause_ends_by_itself(tmp_path: Path) -> None:
    resumed = asyncio.Event()
    owner = Owner(tmp_path)
    owner.control._on_change = lambda: None if owner.control.is_paused else resumed.set()
    owner.control.pause(until=owner.clock.wall() + 0.01)
    owner.clock.suspend(1)
    async with asyncio.timeout(10):
        await resumed.wait()
    await owner.control.close()


async def test_later_pause_replaces_the_earlier_end(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.control.pause(until=owner.clock.wall() + HOUR_S)
    owner.control.pause()
    await owner.clock.advance(2 * HOUR_S)
    owner.control.check_clock()
    assert (owner.control.is_paused, owner.control.pause_until) == (True, None)
    await owner.control.close()


async def test_pause_that_is_over_already_ends_no_session(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    running = await owner.session()
    owner.control.pause(until=owner.clock.wall() - 1, mode=PauseMode.STOP)
    assert not owner.control.is_paused
    owner.leave.set()
    await running
    await owner.control.close()


@pytest.mark.parametrize("until_s", [None, HOUR_S])
async def test_pause_survives_a_restart(tmp_path: Path, until_s: float | None) -> None:
    before = Owner(tmp_path)
    until = None if until_s is None else before.clock.wall() + until_s
    before.control.pause(until=until)
    await before.control.close()
    after = Owner(tmp_path)
    after.control.restore()
    assert (after.control.is_paused, after.control.pause_until) == (True, until)
    assert await refused(after)
    await after.control.close()


async def test_pause_that_ended_meanwhile_and_a_resume_are_not_taken_up(tmp_path: Path) -> None:
    before = Owner(tmp_path)
    before.control.pause(until=before.clock.wall() + 10)
    await before.control.close()
    late = ManualClock()
    late.suspend(11)
    after = Owner(tmp_path, clock=late)
    after.control.restore()
    assert not after.control.is_paused
    before.control.resume()
    await before.control.close()
    again = Owner(tmp_path)
    again.control.restore()
    assert not again.control.is_paused


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"paused": true}',
        b'{"paused": true, "until": "soon"}',
        b'{"paused": true, "until": 1e300}',
        b'{"paused": true, "until": Infinity}',
        b'{"paused": true, "until": NaN}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"paused": "no", "until": null}',
        b'{"paused": false}',
        b'{"paused": false, "until": null, "sharing": true}',
        b'{"paused": true, "until": 1700000100, "sharing": true}',
        b'{"paused": false, "until": 1700000100, "sharing": 1}',
    ],
)
async def test_damaged_file_means_paused_until_resumed_and_is_said(tmp_path: Path, content: bytes) -> None:
    owner = Owner(tmp_path)
    owner.file.write_bytes(content)
    owner.control.restore()
    assert (owner.control.is_paused, owner.control.pause_until, owner.codes) == (True, None, ["paused_by_owner"])
    assert "could not be read" in owner.reasons.all[0].sentence
    assert await refused(owner)
    aside = owner.file.with_name("pause.json.damaged-1")
    assert aside.read_bytes() == content
    (notice,) = owner.notices
    assert (str(aside) in notice, "was damaged" in notice, "until you resume" in notice) == (True, True, True)
    again = Owner(tmp_path)  # a kill now: the owner has not said anything yet
    again.control.restore()
    assert (again.control.is_paused, again.notices) == (True, [])
    owner.control.resume()
    await owner.control.close()
    resumed = Owner(tmp_path)
    resumed.control.restore()
    assert (resumed.control.is_paused, await refused(resumed)) == (False, False)


async def test_file_that_cannot_be_read_means_paused(tmp_path: Path) -> None:
    """A folder in its place stands for a file that the system doesn't let us read: that one the test's root could."""
    owner = Owner(tmp_path)
    owner.file.mkdir()
    owner.control.restore()
    assert owner.control.is_paused
    assert "could not be read (it is no plain file)" in owner.notices[0]
    assert owner.file.is_file()


async def test_damaged_file_stays_when_no_pause_can_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next start would find no file at all, and serve."""

    def full(*_: object) -> None:
        raise StorageError("The disk is full", hint="Make room.")

    owner = Owner(tmp_path)
    owner.file.write_bytes(b"{")
    monkeypatch.setattr("core.pause_file.write_atomically", full)
    owner.control.restore()
    assert owner.control.is_paused
    assert owner.file.read_bytes() == b"{"
    assert not owner.file.with_name("pause.json.damaged-1").exists()


async def test_finishing_is_kept_as_a_pause_before_the_sessions_end(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    running = await owner.session()
    owner.control.finish()
    assert await owner.control.wait_saved() == ""
    after_a_kill = Owner(tmp_path)
    after_a_kill.control.restore()
    assert (after_a_kill.control.is_paused, after_a_kill.notices) == (True, [])
    owner.control.resume()
    assert await owner.control.wait_saved() == ""
    after_a_resume = Owner(tmp_path)
    after_a_resume.control.restore()
    assert not after_a_resume.control.is_paused
    owner.leave.set()
    await running
    await owner.control.close()


async def test_pause_holds_although_it_cannot_be_kept_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    owner = Owner(tmp_path / "file")
    owner.control.pause()
    problem = await owner.control.wait_saved()
    assert str(tmp_path / "file") in problem
    assert await refused(owner)
    assert "pause state not kept" in caplog.text
    assert owner.notices == [f"Pausing and resuming are not kept over a restart. {problem}"]
    (tmp_path / "file").unlink()
    owner.control.pause()
    assert (await owner.control.wait_saved(), owner.notices) == ("", [])
    await owner.control.close()


async def test_what_could_not_be_kept_is_tried_again_until_it_is_and_then_no_longer_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.owner.SAVE_RETRY_S", 0.01)
    (tmp_path / "file").write_text("in the way")
    owner = Owner(tmp_path / "file")
    owner.control.pause()
    assert await owner.control.wait_saved()
    assert len(owner.notices) == 1
    (tmp_path / "file").unlink()
    async with asyncio.timeout(10):
        while owner.notices:
            await owner.notices_changed.wait()
            owner.notices_changed.clear()
    after_a_restart = Owner(tmp_path / "file")
    after_a_restart.control.restore()
    assert after_a_restart.control.is_paused
    await owner.control.close()


async def test_at_the_end_it_is_tried_once_more_and_never_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.owner.SAVE_RETRY_S", 3600.0)
    (tmp_path / "file").write_text("in the way")
    owner = Owner(tmp_path / "file")
    owner.control.pause()
    assert await owner.control.wait_saved()
    (tmp_path / "file").unlink()
    await owner.control.close()
    assert owner.notices == []
    assert owner.file.is_file()
    (tmp_path / "other").write_text("in the way")
    hopeless = Owner(tmp_path / "other")
    hopeless.control.pause()
    await hopeless.control.close()
    assert hopeless.control._save_timer is None


async def test_what_is_said_of_a_damaged_file_holds_until_the_owner_resumes(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.file.write_bytes(b"{")
    owner.control.restore()
    assert len(owner.notices) == 1
    owner.control.resume()
    assert owner.notices == []
    await owner.control.close()


async def test_disk_that_hangs_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.owner.SAVE_LIMIT_S", 0.01)
    released = threading.Event()
    monkeypatch.setattr("core.pause_file.write_atomically", lambda *_: released.wait(20))
    owner = Owner(tmp_path)
    owner.control.pause()
    assert await owner.control.wait_saved() == "the disk has not taken it for 0.01 s"
    released.set()
    monkeypatch.setattr("core.owner.SAVE_LIMIT_S", 20.0)
    assert await owner.control.wait_saved() == ""
    await owner.control.close()


async def test_first_start_is_not_paused_and_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    owner = Owner(tmp_path)
    owner.control.restore()
    assert (owner.control.is_paused, caplog.records, owner.notices) == (False, [], [])


# Sharing now


async def test_sharing_now_ends_by_the_clock_also_after_sleep(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    until = owner.clock.wall() + HOUR_S
    assert owner.control.share_now(until)
    assert (owner.control.share_until, owner.control.pause_until) == (until, None)
    owner.clock.suspend(HOUR_S - 1)
    owner.control.check_clock()
    assert owner.control.share_until == until
    owner.clock.suspend(1)
    owner.control.check_clock()
    assert owner.control.share_until is None
    await owner.control.close()
    assert json.loads(owner.file.read_bytes()) == {"paused": False, "until": None}


@pytest.mark.parametrize("set_by_s", [86_400.0, -86_400.0])
async def test_sharing_now_lasts_as_long_as_was_said_however_the_clock_is_set(tmp_path: Path, set_by_s: float) -> None:
    owner = Owner(tmp_path)
    owner.set_by_s = 0.0
    owner.control.share_now(owner.clock.wall() + HOUR_S)
    told: list[float | None] = []
    owner.control._on_change = lambda: told.append(owner.control.share_until)
    set_clock(owner, set_by_s)
    assert told == [pytest.approx(owner.clock.wall() + HOUR_S)]
    owner.clock.suspend(HOUR_S - 1)
    owner.control.check_clock()
    assert owner.control.is_sharing
    owner.clock.suspend(2)
    owner.control.check_clock()
    assert not owner.control.is_sharing
    await owner.control.close()


async def test_sharing_now_can_be_prolonged_and_given_up_and_leaves_a_resume_nothing_to_do(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.control.share_now(owner.clock.wall() + HOUR_S)
    owner.control.share_now(owner.clock.wall() + 4 * HOUR_S)
    assert owner.control.share_until == owner.clock.wall() + 4 * HOUR_S
    assert not owner.control.resume()
    assert owner.control.is_sharing
    assert owner.control.follow_rules()
    assert not owner.control.follow_rules()
    await owner.control.close()


@pytest.mark.parametrize("way", ["pause", "finish"])
async def test_a_pause_ends_sharing_now_for_good(tmp_path: Path, way: str) -> None:
    owner = Owner(tmp_path)
    running = await owner.session()
    owner.control.share_now(owner.clock.wall() + HOUR_S)
    (owner.control.pause if way == "pause" else owner.control.finish)()
    assert await refused(owner)
    assert (owner.control.is_sharing, owner.control.share_until, owner.control.pause_until) == (False, None, None)
    assert not owner.control.share_now(owner.clock.wall() + HOUR_S)  # only a resume ends a pause
    assert await refused(owner)
    owner.control.resume()
    assert not owner.control.is_sharing
    owner.leave.set()
    await running
    await owner.control.close()


@pytest.mark.parametrize(
    ("asleep_s", "is_sharing"),
    [(0.0, True), (HOUR_S - 1, True), (HOUR_S, False), (-LONGEST_SHARE_S, False)],
)
async def test_sharing_now_survives_a_restart_until_its_end_and_no_clock_that_was_lost(
    tmp_path: Path, asleep_s: float, is_sharing: bool
) -> None:
    before = Owner(tmp_path)
    until = before.clock.wall() + HOUR_S
    before.control.share_now(until)
    await before.control.close()
    clock = ManualClock()
    clock.suspend(asleep_s)
    after = Owner(tmp_path, clock=clock)
    after.control.restore()
    assert (after.control.is_sharing, after.control.is_paused) == (is_sharing, False)
    assert after.control.share_until == (until if is_sharing else None)
    await after.control.close()
