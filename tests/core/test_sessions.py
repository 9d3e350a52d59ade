"""Admission: the limit, the queue, the order of its steps, and how sessions end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from core.errors import AtCapacity, NotServing, SessionEnded, TokenReplayed
from core.sessions import Admission, EndReason, Session, SessionLimits
from tests.fakes.manual_clock import ManualClock


class Jobs:
    """Sessions that hold their slot until told to leave."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.leave = asyncio.Event()
        self.spent: list[str] = []
        self.high_water = 0

    def start(self, job_id: str = "", *, spend: Callable[[], None] | None = None) -> asyncio.Task[str]:
        async def run() -> str:
            name = job_id or f"job{id(asyncio.current_task())}"
            async with self.admission.slot(
                model="m", client="c", job_id=name, spend=spend or (lambda: self.spent.append(name))
            ) as session:
                self.high_water = max(self.high_water, self.admission.running_jobs)
                await self.leave.wait()
                return session.session_id

        return asyncio.create_task(run())


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def make(max_jobs: int = 1, queue_size: int = 0, **more: object) -> tuple[Admission, Jobs]:
    admission = Admission(max_jobs=max_jobs, queue_size=queue_size, **more)  # type: ignore[arg-type]
    return admission, Jobs(admission)


async def test_limit_holds_for_100_racing_callers() -> None:
    admission, jobs = make(max_jobs=4, queue_size=20)
    tasks = [jobs.start() for _ in range(100)]
    await settle()
    assert (admission.running_jobs, admission.queued_jobs) == (4, 20)
    assert sum(isinstance(task.exception(), AtCapacity) for task in tasks if task.done()) == 76
    jobs.leave.set()
    await asyncio.wait(tasks)
    assert (admission.running_jobs, admission.queued_jobs) == (0, 0)
    assert (jobs.high_water, len(jobs.spent)) == (4, 24)


async def test_refusal_for_capacity_spends_nothing() -> None:
    _, jobs = make()
    jobs.start("first")
    await settle()
    with pytest.raises(AtCapacity):
        await jobs.start("second")
    assert jobs.spent == ["first"]


async def test_queue_is_served_in_order() -> None:
    admission, jobs = make(queue_size=3)
    tasks = [jobs.start(f"job{number}") for number in range(4)]
    await settle()
    assert [view.phase for view in admission.views()] == ["running", "queued", "queued", "queued"]
    jobs.leave.set()
    await asyncio.gather(*tasks)
    assert jobs.spent == ["job0", "job1", "job2", "job3"]


async def test_newcomer_does_not_overtake_the_queue() -> None:
    admission, jobs = make(queue_size=2)
    first = jobs.start("first")
    await settle()
    second = jobs.start("second")
    await settle()
    jobs.leave.set()
    third = jobs.start("third")
    await asyncio.gather(first, second, third)
    assert jobs.spent == ["first", "second", "third"]
    assert admission.running_jobs == 0


async def test_wait_in_the_queue_ends_after_its_limit() -> None:
    admission, jobs = make(queue_size=1, limits=SessionLimits(queue_wait_s=0.01))
    jobs.start("first")
    await settle()
    with pytest.raises(AtCapacity, match=r"within 0\.01 s"):
        await jobs.start("second")
    assert (jobs.spent, admission.queued_jobs, admission.running_jobs) == (["first"], 0, 1)


async def test_copy_of_a_waiting_token_is_refused() -> None:
    _, jobs = make(queue_size=5)
    jobs.start("first")
    await settle()
    jobs.start("copy")
    await settle()
    with pytest.raises(TokenReplayed):
        await jobs.start("copy")


async def test_failed_spend_gives_the_slot_on() -> None:
    admission, jobs = make(queue_size=2)

    def replayed() -> None:
        raise TokenReplayed("used before")

    first = jobs.start("first")
    await settle()
    bad, good = jobs.start("bad", spend=replayed), jobs.start("good")
    await settle()
    jobs.leave.set()
    await asyncio.wait([first, bad, good])
    assert isinstance(bad.exception(), TokenReplayed)
    assert good.exception() is None
    await admission.wait_idle()


@pytest.mark.parametrize("given_in_the_same_step", [False, True])
async def test_cancelled_waiter_leaves_no_slot_behind(given_in_the_same_step: bool) -> None:
    admission, jobs = make(queue_size=1)
    first = jobs.start("first")
    await settle()
    second = jobs.start("second")
    await settle()
    if given_in_the_same_step:
        first.cancel()
        while admission.queued_jobs:  # noqa: ASYNC110 - the very step in which the slot is given
            await asyncio.sleep(0)
        assert admission.running_jobs == 1
    second.cancel()
    await asyncio.wait([second])
    assert second.cancelled()
    jobs.leave.set()
    await asyncio.wait([first])
    assert (admission.running_jobs, admission.queued_jobs, jobs.spent) == (0, 0, ["first"])
    await jobs.start("third")


async def test_owner_ends_a_waiting_session_and_its_task_goes_on() -> None:
    admission, jobs = make(queue_size=1)
    jobs.start("first")
    await settle()

    async def waits() -> tuple[SessionEnded, int]:
        try:
            async with admission.slot(model="m", client="c", job_id="x", spend=lambda: None):
                raise AssertionError
        except SessionEnded as error:
            task = asyncio.current_task()
            assert task is not None
            await asyncio.sleep(0)  # can still wait, to tell the client
            return error, task.cancelling()

    waiting = asyncio.create_task(waits())
    await settle()
    assert admission.end_session("s2", EndReason.OWNER_STOPPED)
    error, cancelling = await waiting
    assert (error.reason, cancelling) == (EndReason.OWNER_STOPPED, 0)


async def test_closed_gate_refuses_and_turns_the_queue_away() -> None:
    because = [""]
    admission, jobs = make(queue_size=2, closed_because=lambda: because[0])
    first = jobs.start("first")
    await settle()
    waiting = jobs.start("second")
    await settle()
    because[0] = "paused"
    admission.refuse_queue()
    for task in (waiting, jobs.start("third")):
        with pytest.raises(NotServing, match="paused"):
            await task
    assert not first.done()
    assert jobs.spent == ["first"]


async def test_gate_that_closes_while_the_slot_is_handed_over_refuses() -> None:
    def because() -> str:
        return "paused" if jobs.leave.is_set() else ""

    admission, jobs = make(queue_size=1, closed_because=because)
    first = jobs.start("first")
    await settle()
    second = jobs.start("second")
    await settle()
    jobs.leave.set()
    with pytest.raises(NotServing):
        await second
    assert first.done()
    await admission.wait_idle()
    assert jobs.spent == ["first"]


async def test_resize_lets_waiters_in() -> None:
    admission, jobs = make(queue_size=3)
    for _ in range(4):
        jobs.start()
    await settle()
    admission.resize(3)
    await settle()
    assert (admission.running_jobs, admission.queued_jobs) == (3, 1)
    admission.resize(1)
    jobs.leave.set()
    await admission.wait_idle()


async def test_second_reason_and_second_cancel_never_come() -> None:
    started, cleaning, may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def run() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await may_end.wait()

    task = asyncio.create_task(run())
    session = Session(
        session_id="s1",
        model="m",
        client="c",
        job_id="j",
        started_at=0.0,
        admitted_at=0.0,
        last_token_at=0.0,
        task=task,
    )
    await started.wait()
    task.cancel()  # the client is gone
    await cleaning.wait()
    session.end(EndReason.SESSION_LIMIT)  # meanwhile its time is up: must not hit the clean-up
    assert session.end_reason is None
    may_end.set()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_timer_runs_only_while_sessions_do() -> None:
    admission, jobs = make()
    assert admission._timer is None
    jobs.start()
    await settle()
    assert admission._timer is not None
    jobs.leave.set()
    await admission.wait_idle()
    await settle()
    assert admission._timer is None


async def test_timer_ends_a_session_whose_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.sessions.CHECK_INTERVAL_S", 0.001)
    clock = ManualClock()
    _, jobs = make(monotonic=clock.monotonic)
    task = jobs.start()
    await settle()
    await clock.advance(121)
    async with asyncio.timeout(10):
        await asyncio.wait([task])
    assert task.cancelled()


def test_the_rate_counts_from_the_first_token_on() -> None:
    """A model that takes 30 s to load and then writes 50 tokens in 2 s writes 25 a second, not 1.6."""
    session = Session(
        session_id="s1", model="m", client="c", job_id="j", started_at=0.0, admitted_at=0.0, last_token_at=0.0
    )
    assert session.view(30.0).tokens_per_second is None
    session.count(1, 30.0)
    assert session.view(30.0).tokens_per_second is None
    assert session.view(31.0).tokens_per_second is None  # one token alone has no rate
    session.count(50, 32.0)
    assert session.view(32.0).tokens == 51
    assert session.view(32.0).tokens_per_second == 25.0


@pytest.mark.parametrize(
    ("first_token", "writing_since", "last_token_at", "now", "reason"),
    [
        (False, None, 0, 120, None),
        (False, None, 0, 120.1, EndReason.FIRST_TOKEN_TIMEOUT),
        (True, None, 100, 130, None),
        (True, None, 100, 130.1, EndReason.TOKEN_GAP_TIMEOUT),
        (True, 100, 100, 130.1, EndReason.SLOW_CLIENT),
        (True, 125, 100, 155, None),
        (False, None, 0, 600.1, EndReason.SESSION_LIMIT),
        (True, 590, 600, 600.1, EndReason.SESSION_LIMIT),
    ],
)
def test_limits_of_a_session(
    first_token: bool, writing_since: float | None, last_token_at: float, now: float, reason: EndReason | None
) -> None:
    session = Session(
        session_id="s1",
        model="m",
        client="c",
        job_id="j",
        started_at=0.0,
        admitted_at=0.0,
        last_token_at=last_token_at,
        has_first_token=first_token,
        writing_since=writing_since,
    )
    assert session.expired_limit(now, SessionLimits()) is reason


async def test_changes_are_told() -> None:
    told: list[tuple[int, int]] = []
    admission, jobs = make(queue_size=1)
    admission._on_change = lambda: told.append((admission.running_jobs, admission.queued_jobs))
    first = jobs.start()
    await settle()
    second = jobs.start()
    await settle()
    assert told == [(1, 0), (1, 1)]
    jobs.leave.set()
    await asyncio.gather(first, second)
    assert told[-1] == (0, 0)


async def test_held_back_nobody_begins_and_those_who_wait_begin_afterwards() -> None:
    admission, jobs = make(max_jobs=2)
    running = jobs.start("running")
    await settle()
    admission.hold()
    with pytest.raises(AtCapacity, match="begins no session for a moment"):
        await jobs.start("refused")
    admission.hold(room=2)
    waiting = [jobs.start(f"waiting{number}") for number in range(2)]
    await settle()
    assert (admission.running_jobs, admission.queued_jobs) == (1, 2)  # the one that runs goes on
    with pytest.raises(AtCapacity):
        await jobs.start("one too many")
    jobs.leave.set()
    await running
    await settle()
    assert (admission.running_jobs, jobs.spent) == (0, ["running"])
    admission.release()
    await asyncio.wait(waiting)
    assert jobs.spent == ["running", "waiting0", "waiting1"]
    admission.release()


async def test_held_back_the_queue_keeps_its_places_and_the_owners_own_test_begins() -> None:
    admission, jobs = make(max_jobs=1, queue_size=1)
    admission.hold()
    waiting = jobs.start("waiting")
    await settle()
    assert (admission.running_jobs, admission.queued_jobs) == (0, 1)
    waiting.cancel()
    await settle()
    async with admission.slot(model="m", client="c", job_id="own", spend=lambda: None, is_owner=True):
        assert admission.running_jobs == 1
        admission.resize(2)
    assert admission.queued_jobs == 0
    admission.release()
