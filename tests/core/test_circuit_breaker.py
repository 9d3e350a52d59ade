"""The breaker opens after three engine faults in a row, lets one probe through, and is never moved by a client."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from core.circuit_breaker import Attempt, BreakerState, CircuitBreaker
from core.errors import (
    EngineError,
    EngineFailed,
    EngineNeedsAttention,
    EngineProtocolError,
    EngineTimeout,
    EngineUnreachable,
    ModelNotFound,
    PromptTooLong,
    SessionEnded,
    TokenReplayed,
)

EPOCH_OFFSET = 1_800_000_000.0
ENGINE_FAULTS = (EngineUnreachable, EngineFailed, EngineProtocolError, EngineTimeout, EngineNeedsAttention)
NO_FAULTS: tuple[BaseException, ...] = (
    asyncio.CancelledError(),
    TimeoutError(),
    PromptTooLong("too long"),
    ModelNotFound("gone"),
    TokenReplayed("twice"),
    SessionEnded("slow-client", "took nothing"),
    KeyError("a defect of ours"),
    GeneratorExit(),
)


class FakeTime:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + EPOCH_OFFSET


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def breaker(time: FakeTime) -> CircuitBreaker:
    return CircuitBreaker(time.wall, time.monotonic)


def state_of(breaker: CircuitBreaker) -> BreakerState:
    return breaker.state  # a call, so that mypy doesn't take an earlier answer for the present one


async def attempt(breaker: CircuitBreaker, error: BaseException | None = None) -> None:
    """One request that ends well or with `error`; a refusal by the breaker is raised."""
    guard = breaker.guard()
    await guard.__aenter__()
    if error is None:
        await guard.__aexit__(None, None, None)
    else:
        await guard.__aexit__(type(error), error, None)


async def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        with suppress(EngineFailed):
            await attempt(breaker, EngineFailed("crash"))


async def test_three_faults_in_a_row_open_it_for_30_s(breaker: CircuitBreaker, time: FakeTime) -> None:
    await fail(breaker, 2)
    assert state_of(breaker) is BreakerState.CLOSED
    breaker.check()
    await fail(breaker, 1)
    assert state_of(breaker) is BreakerState.OPEN
    assert breaker.retry_at == time.wall() + 30
    with pytest.raises(EngineUnreachable, match="3 times in a row; it is tried again in 30 s") as caught:
        breaker.check()
    assert "30 s" in caught.value.hint
    with pytest.raises(EngineUnreachable):
        await attempt(breaker)


@pytest.mark.parametrize("fault", ENGINE_FAULTS)
async def test_every_engine_error_is_a_fault(breaker: CircuitBreaker, fault: type[EngineError]) -> None:
    for _ in range(3):
        with pytest.raises(fault):
            async with breaker.guard():
                raise fault("broken")
    assert state_of(breaker) is BreakerState.OPEN


@pytest.mark.parametrize("error", NO_FAULTS, ids=lambda error: type(error).__name__)
async def test_what_a_client_does_is_neither_fault_nor_success(breaker: CircuitBreaker, error: BaseException) -> None:
    await fail(breaker, 2)
    for _ in range(5):
        with suppress(type(error)):
            await attempt(breaker, error)
    assert state_of(breaker) is BreakerState.CLOSED
    assert breaker.faults_in_a_row == 2
    await fail(breaker, 1)
    assert state_of(breaker) is BreakerState.OPEN


async def test_success_forgets_earlier_faults(breaker: CircuitBreaker) -> None:
    await fail(breaker, 2)
    await attempt(breaker)
    await fail(breaker, 2)
    assert state_of(breaker) is BreakerState.CLOSED


async def test_answers_that_all_break_off_after_their_first_token_open_it(breaker: CircuitBreaker) -> None:
    for _ in range(3):
        with suppress(EngineFailed):
            async with breaker.guard() as running:
                running.succeed()
                raise EngineFailed("mid-answer")
    assert state_of(breaker) is BreakerState.OPEN


async def test_one_probe_at_a_time_and_its_success_closes(breaker: CircuitBreaker, time: FakeTime) -> None:
    await fail(breaker, 3)
    time.now += 30
    assert state_of(breaker) is BreakerState.HALF_OPEN
    assert breaker.retry_at is None
    breaker.check()
    async with breaker.guard():
        with pytest.raises(EngineUnreachable, match="one request tries it"):
            breaker.check()
        with pytest.raises(EngineUnreachable):
            await attempt(breaker)
    assert state_of(breaker) is BreakerState.CLOSED
    await fail(breaker, 2)
    assert state_of(breaker) is BreakerState.CLOSED


async def test_probe_closes_at_its_first_token_and_is_ordinary_from_then_on(
    breaker: CircuitBreaker, time: FakeTime
) -> None:
    await fail(breaker, 3)
    time.now += 30
    with suppress(EngineFailed):
        async with breaker.guard() as probe:
            probe.succeed()
            assert state_of(breaker) is BreakerState.CLOSED
            await attempt(breaker)
            raise EngineFailed("mid-answer")
    assert state_of(breaker) is BreakerState.CLOSED
    assert breaker.faults_in_a_row == 1


async def test_failed_probes_double_the_wait_up_to_5_minutes_and_success_resets_it(
    breaker: CircuitBreaker, time: FakeTime
) -> None:
    await fail(breaker, 3)
    waits = []
    for _ in range(6):
        waits.append(breaker.retry_in_s)
        time.now += breaker.retry_in_s
        await fail(breaker, 1)
    assert waits == [30, 60, 120, 240, 300, 300]
    time.now += 300
    await attempt(breaker)
    await fail(breaker, 3)
    assert breaker.retry_in_s == 30


@pytest.mark.parametrize("error", NO_FAULTS, ids=lambda error: type(error).__name__)
async def test_cancelled_probe_gives_its_place_to_the_next(
    breaker: CircuitBreaker, time: FakeTime, error: BaseException
) -> None:
    await fail(breaker, 3)
    time.now += 30
    with suppress(type(error)):
        await attempt(breaker, error)
    assert state_of(breaker) is BreakerState.HALF_OPEN
    await attempt(breaker)
    assert state_of(breaker) is BreakerState.CLOSED


async def test_task_cancelled_inside_the_guard_gives_the_probe_back(breaker: CircuitBreaker, time: FakeTime) -> None:
    await fail(breaker, 3)
    time.now += 30
    entered = asyncio.Event()

    async def probe() -> None:
        async with breaker.guard():
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(probe())
    await entered.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    breaker.check()


async def test_crash_that_ends_many_sessions_opens_once(breaker: CircuitBreaker, time: FakeTime) -> None:
    guards = [breaker.guard() for _ in range(32)]
    for guard in guards:
        await guard.__aenter__()
    error = EngineFailed("crash")
    for guard in guards[:16]:
        await guard.__aexit__(EngineFailed, error, None)
    assert breaker.retry_in_s == 30
    time.now += 30
    async with breaker.guard():
        for guard in guards[16:24]:  # late news of the same crash, while the probe runs
            await guard.__aexit__(EngineFailed, error, None)
    assert state_of(breaker) is BreakerState.CLOSED
    for guard in guards[24:]:
        await guard.__aexit__(EngineFailed, error, None)
    assert state_of(breaker) is BreakerState.CLOSED


async def test_late_success_from_before_the_opening_does_not_close_it(breaker: CircuitBreaker) -> None:
    async with breaker.guard() as early:
        await fail(breaker, 3)
        early.succeed()
        assert state_of(breaker) is BreakerState.OPEN
    assert state_of(breaker) is BreakerState.OPEN


async def test_reset_closes_and_the_old_probe_tells_nothing_more(breaker: CircuitBreaker, time: FakeTime) -> None:
    await fail(breaker, 3)
    time.now += 30
    with suppress(EngineFailed):
        async with breaker.guard():
            breaker.reset()
            assert state_of(breaker) is BreakerState.CLOSED
            raise EngineFailed("of the engine before")
    assert breaker.faults_in_a_row == 0


class BreakerMachine(RuleBasedStateMachine):
    """Requests begin, give a first token, end in every way and overlap, while time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.time = FakeTime()
        self.breaker = CircuitBreaker(self.time.wall, self.time.monotonic)
        self.running: list[Attempt] = []
        self.probe: Attempt | None = None
        self.last_open_s = 0.0

    @rule()
    def begin(self) -> None:
        state = self.breaker.state
        guard = self.breaker.guard()
        try:
            asyncio.run(guard.__aenter__())
        except EngineUnreachable:
            assert state is BreakerState.OPEN or (state is BreakerState.HALF_OPEN and self.probe is not None)
            return
        assert state is BreakerState.CLOSED or self.probe is None
        if state is BreakerState.HALF_OPEN:
            self.probe = guard
        self.running.append(guard)

    @precondition(lambda self: self.running)
    @rule(index=st.integers(0), how=st.sampled_from(["first token", "success", "fault", "cancel", "bad argument"]))
    def happen(self, index: int, how: str) -> None:
        guard = self.running[index % len(self.running)]
        before, faults = self.breaker.state, self.breaker.faults_in_a_row
        is_probe = guard is self.probe
        if how == "first token":
            guard.succeed()
        else:
            self.running.remove(guard)
            self.end(guard, how)
        after = self.breaker.state
        if how in ("cancel", "bad argument"):
            assert (after, self.breaker.faults_in_a_row) == (before, faults)
        elif how == "fault":
            self.check_fault(before, after, faults, is_probe)
        else:
            assert after is (BreakerState.CLOSED if is_probe else before)
        if is_probe and (how != "first token" or after is BreakerState.CLOSED):
            self.probe = None

    @rule(seconds=st.sampled_from([1.0, 29.0, 30.0, 60.0, 300.0]))
    def wait(self, seconds: float) -> None:
        before = self.breaker.state
        self.time.now += seconds
        if before is BreakerState.CLOSED:
            assert self.breaker.state is BreakerState.CLOSED

    @invariant()
    def what_is_shown_agrees(self) -> None:
        is_open = self.breaker.state is BreakerState.OPEN
        assert (self.breaker.retry_at is not None) == is_open
        assert 0 <= self.breaker.retry_in_s <= 300
        if self.breaker.state is BreakerState.CLOSED:
            assert self.breaker.faults_in_a_row < 3
            self.breaker.check()

    def check_fault(self, before: BreakerState, after: BreakerState, faults: int, is_probe: bool) -> None:
        if is_probe:
            assert after is BreakerState.OPEN
            assert self.breaker.retry_in_s == min(300, self.last_open_s * 2)
        elif before is not BreakerState.CLOSED:
            assert after is before
        elif after is BreakerState.OPEN:
            assert faults == 2
            assert self.breaker.retry_in_s == 30
        if after is BreakerState.OPEN and before is not BreakerState.OPEN:
            self.last_open_s = self.breaker.retry_in_s

    def end(self, guard: Attempt, how: str) -> None:
        errors: dict[str, BaseException | None] = {
            "success": None,
            "fault": EngineFailed("crash"),
            "cancel": asyncio.CancelledError(),
            "bad argument": PromptTooLong("too long"),
        }
        error = errors[how]

        async def leave() -> None:
            with suppress(EngineFailed, asyncio.CancelledError, PromptTooLong):
                await guard.__aexit__(None if error is None else type(error), error, None)

        asyncio.run(leave())


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
