"""What is offered to whom, and what keeps the agent from offering anything: each with its remedy."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import grpc
import pytest

from tests.fakes.agent_process import AgentProcess
from tests.fakes.fake_engine_server import Fault
from tests.fakes.fake_ollama import FakeOllama, tag
from tests.fakes.faulty_coordinator import FaultyCoordinator
from tests.integration.client import OK, client_of, token_of, within
from tests.integration.settings import EMBEDDED, MODEL, TINY, ollama

ID = "agent-1"


@pytest.fixture
def far_host() -> str:
    """A name that is this machine's, and whose text doesn't say so: beyond loopback for all that the agent knows."""
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, 1)
    except OSError:
        pytest.skip("this machine cannot look up its own name")
    return name


async def test_loopback_public_host_keeps_a_far_coordinator_from_being_registered_with(
    home: Path, far_host: str
) -> None:
    async with (
        FaultyCoordinator(host=far_host) as coordinator,
        FakeOllama() as engine,
        AgentProcess(
            home, **ollama(engine.url, COORDINATOR_ENDPOINT=coordinator.endpoint, TITAN_LISTEN_ADDRESS="127.0.0.1")
        ) as agent,
    ):
        snapshot = await agent.wait_snapshot(lambda snapshot: snapshot["coordinator"]["link"] == "not-registered")
        (reason,) = snapshot["reasons"]
        assert reason["sentence"].startswith("No public address: the coordinator")
        assert "PUBLIC_HOST" in reason["remedy"]
        assert reason["blocks"]
        assert any("not encrypted" in notice for notice in snapshot["notices"])
        await within(coordinator.wait_for_calls("GetPublicKey", 1))
        assert not coordinator.registrations
        assert await agent.stop() == 0


async def test_selftest_model_is_never_offered_to_a_far_coordinator(home: Path, far_host: str) -> None:
    async with (
        FaultyCoordinator(host=far_host) as coordinator,
        AgentProcess(
            home,
            **{
                **EMBEDDED,
                "COORDINATOR_ENDPOINT": coordinator.endpoint,
                "PUBLIC_HOST": far_host,
                "TITAN_LISTEN_ADDRESS": "127.0.0.1",
            },
        ) as agent,
    ):
        snapshot = await agent.wait_snapshot(lambda snapshot: snapshot["coordinator"]["link"] == "not-registered")
        assert snapshot["offered_models"] == []
        assert MODEL in [model["name"] for model in snapshot["models"]]
        (reason,) = snapshot["reasons"]
        assert reason["code"] == "model_not_ready"
        assert f"{MODEL} is only for tests on this machine" in reason["sentence"]
        assert "Put a GGUF file into the models folder" in reason["remedy"]
        assert not coordinator.registrations
        assert await agent.stop() == 0


async def test_without_an_offered_model_nothing_is_registered_until_the_engine_has_it(home: Path) -> None:
    engine = FakeOllama()
    engine.tags = [tag("other:latest")]
    async with (
        engine,
        FaultyCoordinator() as coordinator,
        AgentProcess(home, COORDINATOR_ENDPOINT=coordinator.endpoint, AGENT_ID=ID, **ollama(engine.url)) as agent,
    ):
        snapshot = await agent.wait_state("paused")
        (reason,) = snapshot["reasons"]
        assert reason["code"] == "model_not_ready"
        assert f"titan pull {TINY}" in reason["remedy"]
        assert snapshot["coordinator"]["link"] == "not-registered"
        await agent.command("pause")
        await agent.wait_snapshot(lambda snapshot: "Paused by you" in snapshot["coordinator"]["detail"])
        await agent.command("resume")  # not the pause any more: it says what holds now
        await agent.wait_snapshot(lambda snapshot: snapshot["coordinator"]["detail"] == reason["sentence"])
        assert not coordinator.registrations
        engine.tags = [tag("other:latest"), tag("tiny:latest")]
        await within(coordinator.wait_for_calls("RegisterAgent", 1))  # one refresh: 5 s in trouble
        assert list(coordinator.registrations[0].supported_models) == [TINY]
        assert await agent.stop() == 0


async def test_ollama_that_dies_mid_answer_is_a_fault_and_serves_again_when_it_is_back(home: Path) -> None:
    """With `auto`: a dead Ollama is not replaced by the embedded engine."""
    async with (
        FaultyCoordinator() as coordinator,
        FakeOllama() as engine,
        AgentProcess(
            home,
            COORDINATOR_ENDPOINT=coordinator.endpoint,
            AGENT_ID=ID,
            **ollama(
                engine.url, TITAN_ENGINE="auto", SUPPORTED_MODELS=f"{TINY},{MODEL}", HEARTBEAT_INTERVAL="15"
            ),  # no beat comes by itself
        ) as agent,
    ):
        snapshot = await agent.wait_state("ready")
        assert (snapshot["engine"]["name"], snapshot["offered_models"]) == ("ollama", [TINY])
        async with client_of(agent.endpoint) as client:
            engine.fault = Fault.ERROR_LINE
            for _ in range(3):
                failed = await client.ask(token_of(coordinator, ID, TINY))
                assert (failed.code, failed.details) == (
                    grpc.StatusCode.INTERNAL,
                    "the engine of this agent failed",
                )
                assert failed.text == "Hello"
            async with asyncio.timeout(5):
                await coordinator.wait_until(lambda: coordinator.beats[-1].free_vram_mb == 0)
            engine.fault = Fault.NONE
            resting = await client.ask(token_of(coordinator, ID, TINY))
            assert resting.code is grpc.StatusCode.UNAVAILABLE, "three faults in a row open the breaker"
            snapshot = await agent.wait_snapshot(lambda snapshot: snapshot["engine"]["breaker"] == "open")
            assert snapshot["engine"]["breaker_retry_at"] is not None
            assert "engine_resting" in [reason["code"] for reason in snapshot["reasons"]]
            before = len(coordinator.registrations)
            await agent.command("retry_engine")
            await within(coordinator.wait_for_calls("RegisterAgent", before + 1))
            assert (await client.ask(token_of(coordinator, ID, TINY))).code is OK

            engine.pace()
            engine.let_through(1)
            async with client.streaming(token_of(coordinator, ID, TINY)) as (answer, task):
                await engine.stop()
                await task
                assert answer.code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE)
                assert answer.details.startswith("the engine of this agent")
            snapshot = await agent.wait_snapshot(
                lambda snapshot: "engine_unreachable" in [reason["code"] for reason in snapshot["reasons"]]
            )
            assert (snapshot["engine"]["name"], snapshot["state"]) == ("ollama", "paused")
            registrations = len(coordinator.registrations)
            await engine.start_again()
            await agent.wait_state("ready")
            await within(coordinator.wait_for_calls("RegisterAgent", registrations + 1))
            engine.let_through(100)
            assert (await client.ask(token_of(coordinator, ID, TINY))).code is OK
        assert (await agent.snapshot())["engine"]["name"] == "ollama"
        assert await agent.stop() == 0
