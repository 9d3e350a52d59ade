"""The client over real gRPC on loopback, with a clock that only the tests move."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from core import coordinator_link
from core.coordinator_client import CoordinatorClient, Health, NotRegistering, Registration, may_have_degraded
from core.coordinator_link import CALL_LIMIT_S, Link
from core.coordinator_types import hold_interval
from core.errors import ConfigError, CoordinatorError, CoordinatorUnreachable, TokenError
from core.local_registry import DEGRADED, HEALTHY
from core.snapshot import CoordinatorView
from tests.fakes.faulty_coordinator import FaultyCoordinator, test_signer
from tests.fakes.manual_clock import ManualClock

OFFER = Registration(
    agent_id="agent-1",
    endpoint="agent.example:50052",
    total_vram_mb=8_000,
    total_ram_mb=16_000,
    max_jobs=4,
    supported_models=("llama3.1:8b",),
    capabilities={"device": "cpu"},
)
IDLE = Health(free_vram_mb=8_000, free_ram_mb=12_000, running_jobs=0, queued_jobs=0, cpu_percent=5.0)
PAUSED = replace(IDLE, free_vram_mb=0)


class FakeAgent:
    """The rest of the agent, as the client sees it, around a real client."""

    def __init__(self, endpoint: str, clock: ManualClock, **options: Any) -> None:
        self.clock = clock
        self.offer: Registration | NotRegistering = OFFER
        self.health = IDLE
        self.keys: list[str] = []
        self.views: list[CoordinatorView] = []
        self.notices: list[str] = []
        self._changed = asyncio.Event()
        settings: dict[str, Any] = {
            "endpoint": endpoint,
            "heartbeat_interval_s": 10.0,
            "get_registration": lambda: self.offer,
            "get_health": lambda: self.health,
            "on_key": self._take_key,
            "on_view": self._take_view,
            "on_notice": self.notices.append,
            "wall": clock.wall,
            "monotonic": clock.monotonic,
            "sleep": clock.sleep,
            "rng": random.Random(1),
        }
        self.client = CoordinatorClient(**(settings | options))
        self.task: asyncio.Task[None] | None = None

    def _take_key(self, pem: str) -> None:
        self.keys.append(pem)
        self._changed.set()

    def _take_view(self, view: CoordinatorView) -> None:
        self.views.append(view)
        self._changed.set()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def wait_for_link(self, link: str) -> None:
        await self.wait_until(lambda: self.client.view.link == link)

    async def wait_until_served(self) -> None:
        """Registered, the first beat acknowledged, the key held."""
        await self.wait_until(lambda: self.client.view.rtt_ms is not None and self.client.view.has_key)

    async def settle(self) -> None:
        """Let the socket answer what is asked of it, so that the clock doesn't outrun a healthy coordinator.

        A call or a beat under way has its limit of 5 s running. One that hangs on purpose costs 0.2 real seconds.
        """
        await asyncio.sleep(0.001)  # those who just woke up ask first
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await self.clock.wait_for_no_sleep(CALL_LIMIT_S)

    async def advance(self, seconds: float) -> None:
        """Half-second steps, each after the socket has settled."""
        for _ in range(round(seconds * 2)):
            await self.settle()
            await self.clock.advance(0.5)
        await self.settle()

    async def advance_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self.advance(0.5)


@asynccontextmanager
async def running(endpoint: str, **options: Any) -> AsyncIterator[FakeAgent]:
    """An agent whose client runs; a test that hangs fails after 10 s."""
    agent = FakeAgent(endpoint, ManualClock(), **options)
    agent.task = asyncio.create_task(agent.client.run())
    try:
        async with asyncio.timeout(10):
            yield agent
    finally:
        agent.task.cancel()
        await asyncio.gather(agent.task, return_exceptions=True)


@pytest.fixture
async def coordinator() -> AsyncIterator[FaultyCoordinator]:
    async with FaultyCoordinator() as faulty:
        yield faulty


# Registering, and the key


async def test_registers_with_everything_that_is_offered(coordinator: FaultyCoordinator) -> None:
    async with running(coordinator.endpoint) as agent:
        await agent.wait_until_served()
        sent = coordinator.registrations[0]
        assert (sent.agent_id, sent.endpoint) == ("agent-1", "agent.example:50052")
        assert (sent.total_vram_mb, sent.total_ram_mb, sent.max_jobs) == (8_000, 16_000, 4)
        assert list(sent.supported_models) == ["llama3.1:8b"]
        assert dict(sent.capabilities) == {"device": "cpu"}
        assert agent.keys == [coordinator.public_key_pem]
        assert agent.client.view.link == "registered"
        assert agent.client.view.registrations == 1


@pytest.mark.parametrize("slow", ["RegisterAgent", "GetPublicKey"])
async def test_registration_and_key_do_not_wait_for_each_other(coordinator: FaultyCoordinator, slow: str) -> None:
    coordinator.hang(slow)
    async with running(coordinator.endpoint) as agent:
        if slow == "RegisterAgent":
            await agent.wait_until(lambda: agent.client.view.has_key)
            assert agent.client.view.link == "connecting"
        else:
            await agent.wait_for_link("registered")
            assert not agent.client.view.has_key
        coordinator.release(slow)
        await agent.wait_until_served()


async def test_every_unary_call_carries_a_deadline_of_five_seconds(coordinator: FaultyCoordinator) -> None:
    async with running(coordinator.endpoint) as agent:
        await agent.wait_until_served()
    for method in ("RegisterAgent", "GetPublicKey"):
        left_s = coordinator.deadlines_s[method]
        assert left_s is not None
        assert 0 < left_s <= 5.1  # gRPC rounds what it sends up


async def test_fetch_key_asks_again_over_the_open_link(coordinator: FaultyCoordinator) -> None:
    async with running(coordinator.endpoint) as agent:
        await agent.wait_until_served()
        assert await agent.client.fetch_key() == coordinator.public_key_pem
        assert coordinator.calls["GetPublicKey"] == 2


async def test_fetch_key_works_without_a_link(coordinator: FaultyCoordinator) -> None:
    agent = FakeAgent(coordinator.endpoint, ManualClock())
    assert await agent.client.fetch_key() == coordinator.public_key_pem


async def test_fetch_key_fails_with_our_error_when_nobody_listens(coordinator: FaultyCoordinator) -> None:
    await coordinator.stop()
    agent = FakeAgent(coordinator.endpoint, ManualClock())
    with pytest.raises(CoordinatorUnreachable, match="refused"):
        await agent.client.fetch_key()


async def test_fetch_key_gives_up_after_five_seconds(coordinator: FaultyCoordinator) -> None:
    coordinator.hang("GetPublicKey")
    clock = ManualClock()
    agent = FakeAgent(coordinator.endpoint, clock)
    fetching = asyncio.create_task(agent.client.fetch_key())
    await coordinator.wait_for_calls("GetPublicKey", 1)
    await clock.advance(4.9)
    assert not fetching.done()
    await clock.advance(0.1)
    with pytest.raises(CoordinatorUnreachable, match="GetPublicKey took longer than 5 s"):
        await fetching


async def test_link_closed_under_a_key_fetch_is_an_error_and_no_cancellation(coordinator: FaultyCoordinator) -> None:
    async with running(coordinator.endpoint) as agent:
        await agent.wait_until_served()
        coordinator.hang("GetPublicKey")
        fetching = asyncio.create_task(agent.client.fetch_key())
        await coordinator.wait_for_calls("GetPublicKey", 2)
        await agent.client.leave()
        with pytest.raises(CoordinatorUnreachable):
            await fetching


async def test_key_that_cannot_be_used_is_shown_and_asked_for_again(coordinator: FaultyCoordinator) -> None:
    refusals = [TokenError("not a key"), None]
    taken: list[str] = []

    def take_key(pem: str) -> None:
        if (refusal := refusals.pop(0)) is not None:
            raise refusal
        taken.append(pem)

    async with running(coordinator.endpoint, on_key=take_key) as agent:
        await agent.advance_until(lambda: agent.client.view.has_key)
        assert taken == [coordinator.public_key_pem]
        assert coordinator.calls["GetPublicKey"] == 2


async def test_bug_in_a_callback_ends_run_visibly(coordinator: FaultyCoordinator) -> None:
    def take_key(pem: str) -> None:
        raise ZeroDivisionError

    async with running(coordinator.endpoint, on_key=take_key) as agent:
        assert agent.task is not None
        with pytest.raises(ZeroDivisionError):
            await agent.task


# Beats


async def test_first_beat_follows_the_registration_at_once(coordinator: FaultyCoordinator) -> None:
    async with running(coordinator.endpoint) as agent:
        agent.health = Health(free_vram_mb=7_000, free_ram_mb=11_000, running_jobs=2, queued_jobs=1, cpu_percent=12.5)
        await agent.wait_until_served()
        beat = coordinator.beats[0]
        assert (beat.agent_id, beat.free_vram_mb, beat.free_ram_mb) == ("agent-1", 7_000, 11_000)
        assert (beat.running_jobs, beat.queued_jobs, beat.cpu_percent) == (2, 1, 12.5)
        assert beat.timestamp == int(agent.clock.wall() * 1000)
        assert beat.rtt_ms == 0.0  # nothing measured yet


async def test_beats_come_at_the_interval_over_one_stream(coordinator: FaultyCoordinator) -> None:
    async with running(coordinator.endpoint) as agent:
        await agent.wait_until_served()
        for count in (2, 3, 4):
            await agent.clock.wait_for_sleep(10.0)
            await agent.clock.advance(9.9)
            assert len(coordinator.beats) == count - 1
            await agent.clock.advance(0.1)
            await coordinator.wait_until(lambda count=count: len(coordinator.beats) == count)  # type: ignore[misc]
        assert coordinator.calls["ReportHealth"] == 1
        assert agent.client.view.heartbeat_interval_s == 10.0


async def test_round_trip_of_the_last_beat_is_reported_with_the_next(coordinator: FaultyCoordinator) -> None:
    ticks = iter(range(1_000_000))
    async with running(coordinator.endpoint, monotonic=lambda: next(ticks) * 0.001) as agent:
        await agent.wait_until_served()
        shown_ms = agent.client.view.rtt_ms
        assert shown_ms is not None
        assert shown_ms > 0
        agent.client.beat_now()
        await coordinator.wait_until(lambda: len(coordinator.beats) == 2)
        assert coordinator.beats[1].rtt_ms == shown_ms


async def test_beat_now_does_not_wait_for_the_interval(coordinator: FaultyCoordinator) -> None:
    async with running(coordinator.endpoint) as agent:
        await agent.wait_until_served()
        agent.health = PAUSED
        agent.client.beat_now()
        await coordinator.wait_until(lambda: len(coordinator.beats) == 2)
        assert coordinator.beats[1].free_vram_mb == 0
        assert coordinator.agents["agent-1"].status == DEGRADED


@pytest.mark.parametrize(
    ("told_s", "own_s", "interval_s"),
    [(15, 10, 10), (5, 10, 5), (0, 10, 10), (60, 40, 15), (15, 0.2, 1), (0, 0, 1), (-3, 12, 12)],
)
def test_interval_is_the_shorter_one_within_one_and_fifteen_seconds(
    told_s: float, own_s: float, interval_s: float
) -> None:
    assert hold_interval(told_s, own_s) == interval_s


# Capacity that makes us invisible


@pytest.mark.parametrize(
    ("health", "degrades"),
    [
        (IDLE, False),
        (replace(IDLE, free_vram_mb=0), True),
        (replace(IDLE, free_vram_mb=799), True),  # over 90 % used
        (replace(IDLE, free_vram_mb=800), False),  # exactly 90 %
        (replace(IDLE, cpu_percent=90.0), False),
        (replace(IDLE, cpu_percent=90.1), True),
    ],
)
def test_degrading_beats_are_known(health: Health, degrades: bool) -> None:
    assert may_have_degraded(health, OFFER) is degrades


@pytest.mark.parametrize(("free_mb", "degrades"), [(511, True), (512, False)])
def test_less_than_512_mb_free_degrades_a_small_budget(free_mb: int, degrades: bool) -> None:
    small = replace(OFFER, total_vram_mb=1_000)
    assert may_have_degraded(replace(IDLE, free_vram_mb=free_mb), small) is degrades


async def test_registers_again_when_the_cause_is_gone(coordinator: FaultyCoordinator) -> None:
    async with running(coordinator.endpoint) as agent:
        agent.health = replace(IDLE, cpu_percent=95.0)
        await agent.wait_until_served()
        assert coordinator.agents["agent-1"].status == DEGRADED
        agent.health = replace(IDLE, cpu_percent=80.0)  # too much for the coordinator to heal us by itself
        await agent.clock.wait_for_sleep(10.0)
        await agent.clock.advance(10.0)
        await coordinator.wait_until(lambda: len(coordinator.beats) == 2)
        assert coordinator.calls["RegisterAgent"] == 2
        assert coordinator.agents["agent-1"].status == HEALTHY
        await agent.clock.wait_for_sleep(10.0)
        await agent.clock.advance(10.0)
        await coordinator.wait_until(lambda: len(coordinator.beats) == 3)
        assert coordinator.calls["RegisterAgent"] == 2  # once was enough


async def test_does_not_register_again_while_the_cause_lasts(coordinator: FaultyCoordinator) -> None:
    async with running(coordinator.endpoint) as agent:
        agent.health = PAUSED
        await agent.wait_until_served()
        for _ in range(3):
            await agent.clock.wait_for_sleep(10.0)
            await agent.clock.advance(10.0)
        await coordinator.wait_until(lambda: len(coordinator.beats) == 4)
        assert coordinator.calls["RegisterAgent"] == 1


async def test_register_again_on_resume_makes_the_agent_healthy_at_once(coordinator: FaultyCoordinator) -> None:
    async with running(coordinator.endpoint) as agent:
        await agent.wait_until_served()
        agent.health = PAUSED
        agent.client.beat_now()
        await coordinator.wait_until(lambda: len(coordinator.beats) == 2)
        agent.health = replace(IDLE, free_vram_mb=2_000)  # 75 % used: the coordinator would not heal this by itself
        agent.client.register_again()
        await coordinator.wait_until(lambda: len(coordinator.beats) == 3)
        assert coordinator.agents["agent-1"].status == HEALTHY


# Nothing to offer


async def test_nothing_to_offer_is_not_registered_but_holds_the_key(coordinator: FaultyCoordinator) -> None:
    async with running(coordinator.endpoint, get_registration=lambda: NotRegistering("Model not ready")) as agent:
        await agent.wait_until(lambda: agent.client.view.has_key and agent.client.view.link == "not-registered")
        assert agent.client.view.detail == "Model not ready"
        await agent.clock.advance(120.0)
        assert coordinator.calls["RegisterAgent"] == 0
        assert coordinator.calls["ReportHealth"] == 0


async def test_registers_as_soon_as_there_is_something_to_offer(coordinator: FaultyCoordinator) -> None:
    offers: list[Registration | NotRegistering] = [NotRegistering("Model not ready"), OFFER]
    async with running(coordinator.endpoint, get_registration=lambda: offers[0]) as agent:
        await agent.wait_for_link("not-registered")
        offers.pop(0)
        agent.client.register_again()
        await agent.wait_until_served()
        assert list(coordinator.agents) == ["agent-1"]


async def test_agent_that_lost_its_models_withdraws(coordinator: FaultyCoordinator) -> None:
    async with running(coordinator.endpoint) as agent:
        await agent.wait_until_served()
        agent.offer = NotRegistering("Model not ready")
        agent.client.register_again()
        await agent.wait_for_link("not-registered")
        assert coordinator.beats[-1].free_vram_mb == 0
        assert coordinator.agents["agent-1"].status == DEGRADED
        await coordinator.wait_until(lambda: coordinator.open_streams == 0)
        agent.offer = OFFER
        agent.client.register_again()
        await agent.wait_for_link("registered")
        await coordinator.wait_until(lambda: coordinator.agents["agent-1"].status == HEALTHY)


# Faults


async def test_coordinator_down_at_start_is_tried_until_it_is_there(coordinator: FaultyCoordinator) -> None:
    await coordinator.stop()
    async with running(coordinator.endpoint) as agent:
        await agent.wait_for_link("away")
        assert "refused" in agent.client.view.detail
        await coordinator.come_back()
        await agent.advance_until(lambda: agent.client.view.link == "registered")
        await agent.wait_until_served()


async def test_waits_between_tries_grow_and_stay_within_fifteen_seconds(coordinator: FaultyCoordinator) -> None:
    await coordinator.stop()
    waits: list[float] = []

    class Recorder(random.Random):
        def uniform(self, a: float, b: float) -> float:
            waits.append(b)
            return b if agent.client.view.link == "away" else 0.0

    async with running(coordinator.endpoint, rng=Recorder()) as agent:
        await agent.advance_until(lambda: len([wait for wait in waits if wait == 15.0]) >= 2)
    tries = [wait for wait in waits if wait != 0.5]
    assert tries[:5] == [1.0, 2.0, 4.0, 8.0, 15.0]


class Ceilings(random.Random):
    """No waiting, and the ceiling that each wait had."""

    def __init__(self) -> None:
        super().__init__(1)
        self.seen_s: list[float] = []

    def uniform(self, a: float, b: float) -> float:
        self.seen_s.append(b)
        return 0.0


async def test_link_that_breaks_soon_keeps_the_waits_growing(coordinator: FaultyCoordinator) -> None:
    ceilings = Ceilings()
    async with running(coordinator.endpoint, rng=ceilings) as agent:
        for count in (1, 2, 3):
            await agent.advance_until(lambda count=count: agent.client.view.registrations == count)  # type: ignore[misc]
            await agent.wait_until_served()
            await coordinator.drain()
            await agent.wait_for_link("away")
            await coordinator.come_back()
    assert ceilings.seen_s[-1] >= 2.0


async def test_link_that_held_starts_the_waits_again(coordinator: FaultyCoordinator) -> None:
    ceilings = Ceilings()
    coordinator.refuse("not yet")
    async with running(coordinator.endpoint, rng=ceilings) as agent:
        await agent.advance_until(lambda: 8.0 in ceilings.seen_s)
        coordinator.refusal = None
        await agent.advance_until(lambda: agent.client.view.rtt_ms is not None)
        await agent.advance(18.0)
        await coordinator.drain()
        await agent.wait_for_link("away")
        assert ceilings.seen_s[-1] == 0.5


async def test_restarted_coordinator_is_registered_with_again_and_its_new_key_fetched(
    coordinator: FaultyCoordinator,
) -> None:
    async with running(coordinator.endpoint) as agent:
        await agent.wait_until_served()
        await coordinator.restart()
        await agent.wait_for_link("away")  # found by the broken stream, not by the next beat
        assert agent.client.view.has_key  # the old one: still good for tokens that it signed
        await agent.advance_until(lambda: agent.client.view.registrations == 2)
        await agent.wait_until(lambda: len(agent.keys) == 2)
        assert agent.keys == [test_signer(0).public_key_pem, test_signer(1).public_key_pem]
        assert list(coordinator.agents) == ["agent-1"]


async def test_coordinator_that_stops_gracefully_is_not_held_up_by_our_stream(coordinator: FaultyCoordinator) -> None:
    async with running(coordinator.endpoint) as agent:
        await agent.wait_until_served()
        await coordinator.drain(grace_s=60.0)  # over before the test's limit: the client has let go
        await agent.wait_for_link("away")
        await coordinator.come_back()
        await agent.advance_until(lambda: agent.client.view.registrations == 2)


async def test_registration_that_hangs_ends_after_five_seconds_and_is_tried_again(
    coordinator: FaultyCoordinator,
) -> None:
    coordinator.hang("RegisterAgent")
    async with running(coordinator.endpoint) as agent:
        await coordinator.wait_for_calls("RegisterAgent", 1)
        await agent.clock.advance(5.0)
        await agent.wait_for_link("away")
        assert "RegisterAgent took longer than 5 s" in agent.client.view.detail
        coordinator.release("RegisterAgent")
        await agent.advance_until(lambda: agent.client.view.link == "registered")


async def test_key_that_hangs_leaves_the_agent_registered_and_is_tried_again(coordinator: FaultyCoordinator) -> None:
    coordinator.hang("GetPublicKey")
    async with running(coordinator.endpoint) as agent:
        await agent.wait_for_link("registered")
        await coordinator.wait_for_calls("GetPublicKey", 1)
        await agent.clock.advance(5.0)
        await agent.wait_until(lambda: "without the coordinator's key" in agent.client.view.detail)
        coordinator.release("GetPublicKey")
        await agent.advance_until(lambda: agent.client.view.has_key)
        assert agent.client.view.link == "registered"
        assert agent.client.view.detail == ""
        assert coordinator.calls["RegisterAgent"] == 1


async def test_forgotten_agent_registers_again_and_fetches_the_key_again(coordinator: FaultyCoordinator) -> None:
    async with running(coordinator.endpoint) as agent:
        await agent.wait_until_served()
        coordinator.forget("agent-1")
        agent.client.beat_now()
        await coordinator.wait_for_calls("GetPublicKey", 2)
        await coordinator.wait_until(lambda: len(coordinator.beats) == 3)
        assert coordinator.calls["RegisterAgent"] == 2
        assert coordinator.calls["ReportHealth"] == 1  # over the same stream
        assert coordinator.agents["agent-1"].status == HEALTHY


async def test_coordinator_that_forgets_at_once_is_not_hammered(coordinator: FaultyCoordinator) -> None:
    coordinator.forget_always = True
    async with running(coordinator.endpoint) as agent:
        await agent.wait_for_link("away")
        assert "forgets this agent at once" in agent.client.view.detail
        assert coordinator.calls["RegisterAgent"] == 2
        coordinator.forget_always = False
        await agent.advance_until(lambda: agent.client.view.link == "registered")


async def test_half_open_connection_is_found_by_the_missing_ack(coordinator: FaultyCoordinator) -> None:
    async with running(coordinator.endpoint) as agent:
        await agent.wait_until_served()
        coordinator.stop_acks = True
        agent.client.beat_now()
        await coordinator.wait_until(lambda: len(coordinator.beats) == 2)
        await agent.clock.wait_for_sleep(5.0)
        await agent.clock.advance(5.0)
        await agent.wait_for_link("away")
        assert "not acknowledged within 5 s" in agent.client.view.detail
        assert agent.client.view.rtt_ms is None
        coordinator.stop_acks = False
        await agent.advance_until(lambda: agent.client.view.link == "registered")
        await agent.wait_until_served()


async def test_listener_that_never_speaks_is_away_after_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert coordinator_link.CALL_LIMIT_S == 5.0
    monkeypatch.setattr(coordinator_link, "CALL_LIMIT_S", 0.3)  # gRPC's own clock can't be moved
    connected = asyncio.Event()
    release = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await release.wait()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, running(f"127.0.0.1:{port}") as agent:
        await connected.wait()
        await agent.clock.advance(5.0)
        await agent.wait_for_link("away")
        release.set()


@pytest.mark.parametrize("code", [None, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED])
async def test_refused_registration_is_shown_and_tried_again(
    coordinator: FaultyCoordinator, code: grpc.StatusCode | None
) -> None:
    coordinator.refuse_with(code)
    if code is None:
        coordinator.refuse("this network is full")
    async with running(coordinator.endpoint) as agent:
        await agent.wait_for_link("not-registered")
        expected = "this network is full" if code is None else "refused by a test"
        assert expected in agent.client.view.detail
        coordinator.refuse_with(None)
        coordinator.refusal = None
        await agent.advance_until(lambda: agent.client.view.link == "registered")


async def test_refused_agent_asks_at_once_when_its_offer_changed(coordinator: FaultyCoordinator) -> None:
    coordinator.refuse("no such model here")
    async with running(coordinator.endpoint) as agent:
        await agent.wait_for_link("not-registered")
        coordinator.refusal = None
        agent.client.register_again()
        await agent.wait_for_link("registered")  # the clock has not moved


async def test_change_of_offer_does_not_hurry_an_agent_whose_coordinator_is_away(
    coordinator: FaultyCoordinator,
) -> None:
    await coordinator.stop()
    async with running(coordinator.endpoint) as agent:
        await agent.wait_for_link("away")
        await coordinator.come_back()
        for _ in range(20):
            agent.client.register_again()
            agent.client.beat_now()
            await asyncio.sleep(0.001)
        assert coordinator.calls["RegisterAgent"] == 0


async def test_long_texts_of_a_peer_are_cut(coordinator: FaultyCoordinator) -> None:
    coordinator.refuse("no\n" * 10_000)
    async with running(coordinator.endpoint) as agent:
        await agent.wait_for_link("not-registered")
        assert len(agent.client.view.detail) < 400
        assert "\n" not in agent.client.view.detail


async def test_after_a_sleep_everything_is_done_again_at_once(coordinator: FaultyCoordinator) -> None:
    async with running(coordinator.endpoint) as agent:
        await agent.wait_until_served()
        await agent.clock.wait_for_sleep(10.0)
        agent.clock.suspend(3_600.0)
        await agent.clock.advance(2.0)  # one tick of the watch; the next beat is 8 s away
        await coordinator.wait_for_calls("RegisterAgent", 2)
        await coordinator.wait_for_calls("GetPublicKey", 2)
        await coordinator.wait_for_calls("ReportHealth", 2)


async def test_a_sleep_ends_the_wait_between_two_tries(coordinator: FaultyCoordinator) -> None:
    await coordinator.stop()

    class LongestWait(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return 1_000.0

    async with running(coordinator.endpoint, rng=LongestWait()) as agent:
        await agent.wait_for_link("away")
        assert agent.client.view.link == "away"
        await coordinator.come_back()
        agent.client.woke_up(60.0)
        await agent.wait_until_served()


async def test_a_sleep_starts_the_waits_again(coordinator: FaultyCoordinator) -> None:
    ceilings = Ceilings()
    await coordinator.stop()
    async with running(coordinator.endpoint, rng=ceilings) as agent:
        await agent.advance_until(lambda: 15.0 in ceilings.seen_s)  # the network is often late after a wake-up
        tries = len(ceilings.seen_s)
        agent.client.woke_up(60.0)
        await agent.advance_until(lambda: len(ceilings.seen_s) >= tries + 2)  # the link's, perhaps the key's as well
        assert max(ceilings.seen_s[tries : tries + 2]) <= 1.0


# Leaving


async def test_leaving_reports_zero_capacity_and_ends_run(coordinator: FaultyCoordinator) -> None:
    async with running(coordinator.endpoint) as agent:
        await agent.wait_until_served()
        await agent.client.leave()
        assert agent.task is not None
        await agent.task
        assert coordinator.beats[-1].free_vram_mb == 0
        assert coordinator.agents["agent-1"].status == DEGRADED
        assert agent.client.view.link == "off"
        await coordinator.wait_until(lambda: coordinator.open_streams == 0)


async def test_leaving_during_a_beat_reports_zero_all_the_same(coordinator: FaultyCoordinator) -> None:
    leaving: list[asyncio.Task[None]] = []

    def health() -> Health:
        if not leaving and coordinator.beats:  # runs once the second beat waits for its ack
            leaving.append(asyncio.create_task(agent.client.leave()))
        return IDLE

    async with running(coordinator.endpoint, get_health=health) as agent:
        await agent.wait_until_served()
        agent.client.beat_now()
        assert agent.task is not None
        await agent.task
        await leaving[0]
        assert [beat.free_vram_mb for beat in coordinator.beats] == [IDLE.free_vram_mb] * 2 + [0]


async def test_leaving_does_not_wait_for_a_coordinator_that_does_not_answer(coordinator: FaultyCoordinator) -> None:
    async with running(coordinator.endpoint) as agent:
        await agent.wait_until_served()
        coordinator.stop_acks = True
        leaving = asyncio.create_task(agent.client.leave(limit_s=3.0))
        await coordinator.wait_until(lambda: len(coordinator.beats) == 2)
        await agent.clock.wait_for_sleep(3.0)
        await agent.clock.advance(3.0)
        await leaving
        assert agent.task is not None
        await agent.task


async def test_link_closed_between_two_beats_ends_run_without_an_error(coordinator: FaultyCoordinator) -> None:
    async with running(coordinator.endpoint) as agent:
        await agent.wait_until_served()
        await agent.clock.wait_for_sleep(10.0)
        leaving = asyncio.create_task(agent.client.leave(limit_s=0.0))
        await agent.clock.wait_for_sleep(0.0)
        await agent.clock.advance(0.0)  # out of time before the last beat can be acknowledged
        await leaving
        assert agent.task is not None
        await agent.task


async def test_beat_on_a_closed_link_is_our_error(coordinator: FaultyCoordinator) -> None:
    link = Link(
        coordinator.endpoint, tls=False, ca_pem=None, wall=time.time, monotonic=time.monotonic, sleep=asyncio.sleep
    )
    await link.register(OFFER)
    await link.close()
    await link.close()
    with pytest.raises(CoordinatorUnreachable, match="closed here"):
        await link.beat("agent-1", IDLE, last_rtt_ms=None)
    with pytest.raises(CoordinatorUnreachable, match="closed here"):
        await link.register(OFFER)


async def test_leaving_ends_the_wait_for_a_coordinator_that_is_away(coordinator: FaultyCoordinator) -> None:
    await coordinator.stop()
    async with running(coordinator.endpoint) as agent:
        await agent.wait_for_link("away")
        await agent.client.leave()
        assert agent.task is not None
        await agent.task


async def test_leaving_before_run_is_done_at_once(coordinator: FaultyCoordinator) -> None:
    agent = FakeAgent(coordinator.endpoint, ManualClock())
    await agent.client.leave()
    await agent.client.run()
    assert coordinator.calls["RegisterAgent"] == 0


async def test_cancelled_run_leaves_no_task_behind(coordinator: FaultyCoordinator) -> None:
    before = asyncio.all_tasks()
    async with running(coordinator.endpoint) as agent:
        await agent.wait_until_served()
    await coordinator.wait_until(lambda: coordinator.open_streams == 0)
    ours = {task for task in asyncio.all_tasks() - before if "coordinator_" in repr(task.get_coro())}
    assert ours == set()


# The wire: TLS, plaintext, addresses


def make_authority(folder: Path) -> tuple[Path, grpc.ServerCredentials]:
    """A certificate that signs itself for 127.0.0.1: its file, and a server that shows it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "coordinator under test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "ca.pem"
    path.write_bytes(pem)
    return path, grpc.ssl_server_credentials([(private, pem)])


async def test_tls_with_the_owners_authority_registers(tmp_path: Path) -> None:
    ca_path, credentials = make_authority(tmp_path)
    async with (
        FaultyCoordinator(credentials=credentials) as coordinator,
        running(coordinator.endpoint, tls=True, ca_path=ca_path) as agent,
    ):
        await agent.wait_until_served()


async def test_tls_with_another_authority_does_not_register(tmp_path: Path) -> None:
    _, credentials = make_authority(tmp_path)
    (tmp_path / "other").mkdir()
    other_path, _ = make_authority(tmp_path / "other")
    async with (
        FaultyCoordinator(credentials=credentials) as coordinator,
        running(coordinator.endpoint, tls=True, ca_path=other_path) as agent,
    ):
        await agent.wait_for_link("away")
        assert coordinator.calls.total() == 0
        assert not agent.client.view.has_key


async def test_missing_authority_file_is_named(tmp_path: Path) -> None:
    async with running("127.0.0.1:1", tls=True, ca_path=tmp_path / "gone.pem") as agent:
        await agent.wait_for_link("away")
        assert "gone.pem" in agent.client.view.detail


@pytest.mark.parametrize(
    ("endpoint", "tls", "warned"),
    [("192.0.2.1:50051", False, True), ("192.0.2.1:50051", True, False), ("127.0.0.1:1", False, False)],
)
async def test_plaintext_beyond_loopback_is_warned_of(endpoint: str, tls: bool, warned: bool) -> None:
    async with running(endpoint, tls=tls) as agent:
        await agent.wait_until(lambda: bool(agent.views))
        assert bool(agent.notices) is warned


async def test_proxy_of_the_environment_is_not_asked_for_this_machine(
    coordinator: FaultyCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with running(coordinator.endpoint) as agent:
        await agent.wait_until_served()


def test_endpoint_without_a_port_gets_the_coordinators() -> None:
    assert FakeAgent("localhost", ManualClock()).client.view.endpoint == "localhost:50051"


def test_endpoint_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError):
        FakeAgent("http://localhost:50051", ManualClock())


def test_no_error_of_the_link_escapes_the_tree() -> None:
    assert issubclass(CoordinatorUnreachable, CoordinatorError)
