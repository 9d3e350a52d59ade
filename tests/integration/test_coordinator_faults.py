"""The whole agent beside a coordinator that is away, comes back another, hangs, forgets, or goes half-open."""

from __future__ import annotations

from pathlib import Path

import grpc

from tests.fakes.agent_process import AgentProcess
from tests.fakes.fake_ollama import FakeOllama
from tests.fakes.faulty_coordinator import FaultyCoordinator
from tests.integration.client import OK, Client, client_of, token_of, within
from tests.integration.settings import TINY, ollama

ID = "agent-1"
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


async def test_agent_starts_without_a_coordinator_and_registers_when_it_comes(home: Path) -> None:
    coordinator = FaultyCoordinator()
    await coordinator.start()
    await coordinator.stop()  # its port is known, and nobody listens there
    async with (
        FakeOllama() as engine,
        AgentProcess(home, COORDINATOR_ENDPOINT=coordinator.endpoint, AGENT_ID=ID, **ollama(engine.url)) as agent,
    ):
        snapshot = await agent.wait_snapshot(lambda snapshot: snapshot["coordinator"]["link"] == "away")
        assert (snapshot["state"], snapshot["reasons"][0]["code"]) == ("connecting", "coordinator_away")
        async with client_of(agent.endpoint) as client:
            status = await client.status()
            assert (status.agent_id, status.status) == (ID, "connecting")
            assert status.free_ram_mb > 0
            refused = await client.ask(token_of(coordinator, ID, TINY))
            assert refused.code is UNAUTHENTICATED, "no key, so nothing can be checked"
            try:
                await coordinator.come_back(new_key=False)
                assert not (await agent.wait_state("ready"))["reasons"]
                assert (await client.ask(token_of(coordinator, ID, TINY))).code is OK
            finally:
                await coordinator.stop()
        assert await agent.stop() == 0


async def test_running_sessions_and_valid_tokens_outlive_the_coordinator_and_its_successor_is_trusted(
    home: Path,
) -> None:
    async with (
        FaultyCoordinator() as coordinator,
        FakeOllama() as engine,
        AgentProcess(home, COORDINATOR_ENDPOINT=coordinator.endpoint, AGENT_ID=ID, **ollama(engine.url)) as agent,
    ):
        await agent.wait_state("ready")
        engine.pace()
        engine.let_through(1)
        async with client_of(agent.endpoint) as client:
            async with client.streaming(token_of(coordinator, ID, TINY)) as (answer, task):
                held, old = token_of(coordinator, ID, TINY), token_of(coordinator, ID, TINY)
                await coordinator.stop()
                await agent.wait_snapshot(lambda snapshot: snapshot["coordinator"]["link"] == "away")
                engine.let_through(100)
                assert (await client.ask(held)).code is OK, "a valid token is served while the key is held"
                await task
                assert answer.code is OK, answer.details
            await coordinator.come_back(new_key=True)
            await agent.wait_state("ready")
            await within(served(client, coordinator))  # without a restart
            assert (await client.ask(old)).code is UNAUTHENTICATED, "exactly one key is trusted"
        assert await agent.stop() == 0


async def served(client: Client, coordinator: FaultyCoordinator) -> None:
    """Until a token of the present key is taken: the key comes beside the registration, not before it."""
    while (await client.ask(token_of(coordinator, ID, TINY))).code is not OK:
        pass


async def test_agent_that_was_forgotten_registers_again_and_fetches_the_key(home: Path) -> None:
    async with (
        FaultyCoordinator() as coordinator,
        FakeOllama() as engine,
        AgentProcess(home, COORDINATOR_ENDPOINT=coordinator.endpoint, AGENT_ID=ID, **ollama(engine.url)) as agent,
    ):
        await agent.wait_state("ready")
        keys = coordinator.calls["GetPublicKey"]
        coordinator.forget(ID)
        await within(coordinator.wait_for_calls("RegisterAgent", 2))
        await within(coordinator.wait_for_calls("GetPublicKey", keys + 1))
        assert ID in coordinator.agents
        assert await agent.stop() == 0


async def test_hanging_and_half_open_coordinators_are_left_and_taken_up_again(home: Path) -> None:
    """No ack within 5 s is a dead link; serving goes on meanwhile, and stopping doesn't wait for it."""
    async with (
        FaultyCoordinator() as coordinator,
        FakeOllama() as engine,
        AgentProcess(home, COORDINATOR_ENDPOINT=coordinator.endpoint, AGENT_ID=ID, **ollama(engine.url)) as agent,
    ):
        await agent.wait_state("ready")
        coordinator.stop_acks = True
        async with client_of(agent.endpoint) as client:
            assert (await client.ask(token_of(coordinator, ID, TINY))).code is OK
            snapshot = await agent.wait_snapshot(lambda snapshot: snapshot["coordinator"]["link"] == "away")
            assert "not acknowledged within 5 s" in snapshot["coordinator"]["detail"]
            coordinator.stop_acks = False
            await agent.wait_state("ready")
            coordinator.hang("RegisterAgent", "GetPublicKey")
            coordinator.forget(ID)
            await within(coordinator.wait_for_calls("RegisterAgent", 3))
            assert (await client.ask(token_of(coordinator, ID, TINY))).code is OK, "the key is still held"
        assert await agent.stop(limit_s=2 + 3 + 3) == 0
        coordinator.release("RegisterAgent", "GetPublicKey")
