"""The whole agent as a process, on the real embedded engine: what an owner does while a real session streams."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from tests.fakes.agent_process import AgentProcess, run_titan
from tests.fakes.faulty_coordinator import FaultyCoordinator
from tests.integration.client import LIMIT_S, OK, Answer, Client, client_of, token_of
from tests.integration.running import ID, embedded_agent
from tests.integration.settings import EMBEDDED, MODEL

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
AT_ONCE_S = 5.0  # far below the beat of 15 s


@asynccontextmanager
async def held_session(agent: AgentProcess, client: Client, token: str) -> AsyncIterator[tuple[Answer, Any]]:
    """A real answer that has begun and doesn't go on: its llama.cpp is stopped until the end of the block,
    which waits for the answer's end."""
    await agent.wait_snapshot(lambda snapshot: snapshot["running_jobs"] == 0)  # counters are up to 0.25 s old
    async with client.streaming(token, max_tokens=1500) as (answer, task):
        (engine,) = agent.children()
        engine.suspend()
        try:
            assert answer.code is None, "the answer was over before its engine could be held"
            yield answer, task
        finally:
            engine.resume()
            await asyncio.wait([task], timeout=LIMIT_S)


async def test_owner_acts_while_a_real_session_streams(home: Path) -> None:
    beat = {"HEARTBEAT_INTERVAL": "15"}  # none comes by itself: what is told at once is told on purpose
    async with embedded_agent(home, **beat) as (coordinator, agent):
        (registered,) = coordinator.registrations
        assert list(registered.supported_models) == [MODEL]
        assert registered.endpoint == agent.endpoint
        async with client_of(agent.endpoint) as client:
            await first_answer(coordinator, client)
            await pause_lets_the_session_finish(coordinator, agent, client)
            await owner_cancels_a_session(coordinator, agent, client)
            await finish_then_pause(coordinator, agent, client)
            await timed_pause_ends(coordinator, agent, client)
        assert await agent.stop() == 0
        assert agent.out == b""


async def first_answer(coordinator: FaultyCoordinator, client: Client) -> None:
    token = token_of(coordinator, ID, MODEL)
    answer = await client.ask(token, max_tokens=5)
    assert answer.code is OK, answer.details
    assert answer.metadata["completion_tokens"] == "5"
    assert (answer.metadata["finish_reason"], answer.metadata["engine"]) == ("length", "embedded")
    assert answer.text
    again = await client.ask(token)
    assert again.code is grpc.StatusCode.UNAUTHENTICATED
    assert "used before" in again.details


async def pause_lets_the_session_finish(coordinator: FaultyCoordinator, agent: AgentProcess, client: Client) -> None:
    async with held_session(agent, client, token_of(coordinator, ID, MODEL)) as (answer, _):
        await agent.wait_snapshot(lambda snapshot: snapshot["running_jobs"] == 1)
        code, out, err = await run_titan(agent.home, "sessions", "--json", "--profile", ID)
        assert code == 0, err
        (session,) = json.loads(out)["sessions"]
        assert (session["model"], session["phase"]) == (MODEL, "running")
        message, result = await agent.command("pause")
        assert "may finish" in message
        assert result == {"until": None, "running": 1}
        refused = await client.ask(token_of(coordinator, ID, MODEL))
        assert (refused.code, refused.details) == (UNAVAILABLE, "this agent is paused by its owner")
        async with asyncio.timeout(AT_ONCE_S):
            await coordinator.wait_until(lambda: coordinator.beats[-1].free_vram_mb == 0)
        assert answer.code is None
    assert answer.code is OK, answer.details
    code, out, err = await run_titan(agent.home, "status", "--json", "--profile", ID)
    assert code == 0, err
    status = json.loads(out)
    assert (status["state"], status["running_jobs"]) == ("paused", 0)
    before = len(coordinator.registrations)
    assert (await agent.command("resume"))[0] == f"Resumed. Loading {MODEL}."
    await agent.wait_state("ready")  # a real token came
    snapshot = await agent.wait_snapshot(lambda snapshot: snapshot["reasons"] == [])
    assert [model["name"] for model in snapshot["loaded_models"]] == [MODEL]
    async with asyncio.timeout(AT_ONCE_S):
        await coordinator.wait_for_calls("RegisterAgent", before + 1)
    assert (await client.ask(token_of(coordinator, ID, MODEL))).code is OK


async def owner_cancels_a_session(coordinator: FaultyCoordinator, agent: AgentProcess, client: Client) -> None:
    async with held_session(agent, client, token_of(coordinator, ID, MODEL)) as (answer, task):
        snapshot = await agent.wait_snapshot(lambda snapshot: snapshot["running_jobs"] == 1)
        await agent.command("cancel_session", session_id=snapshot["sessions"][0]["session_id"])
        await task
        assert (answer.code, answer.details) == (UNAVAILABLE, "the owner of this machine stopped the session")


async def finish_then_pause(coordinator: FaultyCoordinator, agent: AgentProcess, client: Client) -> None:
    async with held_session(agent, client, token_of(coordinator, ID, MODEL)) as (answer, _):
        assert (await agent.command("finish"))[1] == {"running": 1}
        refused = await client.ask(token_of(coordinator, ID, MODEL))
        assert refused.code is UNAVAILABLE
        assert "finishing its sessions" in refused.details
    assert answer.code is OK, answer.details
    snapshot = await agent.wait_snapshot(lambda snapshot: snapshot["reasons"][0]["code"] == "paused_by_owner")
    assert not snapshot["is_draining"]


async def timed_pause_ends(coordinator: FaultyCoordinator, agent: AgentProcess, client: Client) -> None:
    await agent.command("pause", for_s="0.3")
    assert (await agent.wait_state("ready"))["pause_until"] is None
    assert (await client.ask(token_of(coordinator, ID, MODEL))).code is OK


async def test_self_test_goes_the_whole_way_and_its_tokens_open_nothing_else(home: Path) -> None:
    """During the self-test too: the throw-away coordinator's key is never the public door's."""
    async with (
        FaultyCoordinator() as coordinator,
        FaultyCoordinator(signer=None) as throw_away,
        AgentProcess(home, COORDINATOR_ENDPOINT=coordinator.endpoint, AGENT_ID=ID, **EMBEDDED) as agent,
    ):
        await agent.wait_state("ready")
        async with client_of(agent.endpoint) as client:
            message, result = await agent.command("self_test")
            assert "tokens/s" in message
            assert result["engine"] == "embedded"
            assert int(result["completion_tokens"]) > 0
            code, out, err = await run_titan(agent.home, "selftest", "--model", MODEL, "--profile", ID)
            assert code == 0, err
            assert re.fullmatch(rf".* for {MODEL} went .*: \d+\.\d tokens/s, first token after \d+ ms\.\n", out), out
            after = await client.ask(token_of(throw_away, ID, MODEL))
            assert after.code is grpc.StatusCode.UNAUTHENTICATED
        snapshot = await agent.wait_served(2)
        assert snapshot["totals"]["requests_processed"] == 2
        code, out, err = await run_titan(
            home, "ask", "hello", "--coordinator", coordinator.endpoint, "--model", MODEL, "--max-tokens", "4"
        )
        assert code == 0, err
        assert out.strip()
        assert "4 tokens" in err
        assert await agent.stop() == 0
