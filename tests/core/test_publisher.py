"""When snapshots are published, and what they say about the state and the rate."""

from __future__ import annotations

import asyncio

import pytest

from core.publisher import RATE_WINDOW_S, SnapshotPublisher, TokenRate, wanted_state
from core.snapshot import AgentSnapshot, SnapshotStore
from core.state import AgentState
from tests.fakes.manual_clock import ManualClock


@pytest.mark.parametrize(
    ("link", "is_blocked", "state"),
    [
        ("registered", False, AgentState.READY),
        ("registered", True, AgentState.PAUSED),
        ("not-registered", True, AgentState.PAUSED),
        ("off", False, AgentState.READY),
        ("away", False, AgentState.CONNECTING),
        ("away", True, AgentState.CONNECTING),
        ("connecting", False, AgentState.CONNECTING),
    ],
)
def test_state_follows_the_link_and_the_reasons(link: str, is_blocked: bool, state: AgentState) -> None:
    assert wanted_state(link, is_blocked=is_blocked) is state


class Counting:
    """A store whose snapshot counts how often it was built."""

    def __init__(self, *, busy_for: int = 0) -> None:
        self.builds = 0
        self.store = SnapshotStore(AgentSnapshot())
        self.published = asyncio.Event()
        self.store.subscribe(lambda _: self.published.set())
        self.publisher = SnapshotPublisher(
            self.store, self.build, is_busy=lambda: self.builds < busy_for, interval_s=0.001
        )

    def build(self) -> dict[str, int]:
        self.builds += 1
        return {"pid": self.builds}


async def test_many_changes_are_one_publication() -> None:
    counting = Counting()
    for _ in range(100):
        counting.publisher.soon()
    assert counting.builds == 0
    async with asyncio.timeout(10):
        await counting.published.wait()
    assert (counting.builds, counting.publisher._timer) == (1, None)


async def test_now_is_at_once() -> None:
    counting = Counting()
    counting.publisher.now()
    assert counting.store.current.pid == 1


async def test_a_sample_is_published_in_its_own_turn_unless_something_waits_or_sessions_run() -> None:
    quiet = Counting()
    quiet.publisher.at_once()
    assert (quiet.builds, quiet.publisher._timer) == (1, None)
    quiet.publisher.soon()
    quiet.publisher.at_once()
    assert quiet.builds == 1
    quiet.publisher.close()
    busy = Counting(busy_for=3)
    busy.publisher.at_once()
    assert (busy.builds, busy.publisher._timer is None) == (0, False)
    busy.publisher.close()


async def test_it_goes_on_by_itself_while_sessions_run() -> None:
    counting = Counting(busy_for=3)
    counting.publisher.soon()
    async with asyncio.timeout(10):
        while counting.builds < 3:
            counting.published.clear()
            await counting.published.wait()
    assert counting.publisher._timer is None


async def test_closed_publisher_sets_no_timer() -> None:
    counting = Counting()
    counting.publisher.soon()
    counting.publisher.close()
    counting.publisher.soon()
    assert counting.publisher._timer is None


async def test_rate_is_over_the_last_seconds() -> None:
    clock = ManualClock()
    rate = TokenRate(clock.monotonic)
    assert rate.update(100) == 0.0
    await clock.advance(1)
    assert rate.update(150) == 50.0
    await clock.advance(1)
    assert rate.update(150) == 25.0
    await clock.advance(RATE_WINDOW_S + 1)
    assert rate.update(150) == 0.0
