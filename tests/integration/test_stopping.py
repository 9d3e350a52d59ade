"""How the agent ends: asked to, while it starts, beside another of its profile, and killed."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

import grpc
import psutil
import pytest

from core.instance_lock import InstanceLock
from core.paths import profile_paths
from tests.fakes.agent_process import AgentProcess, run_titan
from tests.fakes.faulty_coordinator import FaultyCoordinator
from tests.integration.client import OK, client_of, token_of, within
from tests.integration.running import ID, embedded_agent, ollama_agent
from tests.integration.settings import BASE, EMBEDDED, MODEL, TINY


async def test_sigterm_lets_a_session_end_after_zero_capacity_was_reported(home: Path) -> None:
    beat = {"HEARTBEAT_INTERVAL": "15"}  # none comes by itself meanwhile
    async with ollama_agent(home, **beat) as (coordinator, engine, agent):
        engine.pace()
        engine.let_through(1)
        token = token_of(coordinator, ID, TINY)
        async with client_of(agent.endpoint) as client, client.streaming(token) as (answer, task):
            agent.send_signal(signal.SIGTERM)
            await within(coordinator.wait_until(lambda: coordinator.beats[-1].free_vram_mb == 0))
            refused = await client.ask(token_of(coordinator, ID, TINY))
            assert (refused.code, refused.details) == (grpc.StatusCode.UNAVAILABLE, "this agent is stopping")
            snapshot = await agent.snapshot()  # the door stays open while sessions end
            assert (snapshot["state"], snapshot["running_jobs"]) == ("stopping", 1)
            assert answer.code is None
            engine.let_through(len(engine.answer))
            await task
            assert answer.code is OK, answer.details
            assert answer.text == "".join(engine.answer)
        assert await agent.wait_end() == 0


STOP_SIGNALS = pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, signal.SIGINT, signal.SIGHUP],
    ids=["SIGTERM", "Ctrl+C", "closed terminal"],
)


@STOP_SIGNALS
async def test_session_that_outlives_the_drain_limit_gets_unavailable(home: Path, number: signal.Signals) -> None:
    async with embedded_agent(home, TITAN_DRAIN_LIMIT_S="0.2") as (coordinator, agent):
        token = token_of(coordinator, ID, MODEL)
        async with (
            client_of(agent.endpoint) as client,
            client.streaming(token, max_tokens=1500) as (answer, task),
        ):
            (engine,) = agent.children()
            engine.suspend()
            agent.send_signal(number)
            await task
            assert (answer.code, answer.details) == (grpc.StatusCode.UNAVAILABLE, "the agent is stopping")
        assert await agent.wait_end(limit_s=0.2 + 2 + 3 + 5) == 0
        assert not _is_alive(engine)
        assert coordinator.beats[-1].free_vram_mb == 0


async def test_stop_while_starting_ends_at_once(home: Path) -> None:
    """`auto` asks an Ollama that accepts and says nothing; the start isn't waited for."""
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the system accepts, nobody answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with AgentProcess(home, OLLAMA_HOST=url, **BASE) as agent:
            await agent.wait_event("listening")
            agent.send_signal(signal.SIGTERM)
            assert await agent.wait_end() == 0
            await agent.wait_event("stopped while starting")
            assert not [line for line in agent.log if line["event"] == "started"]


async def test_second_start_of_a_profile_says_so_and_exits_3(home: Path) -> None:
    async with AgentProcess(home, **EMBEDDED) as agent:
        await agent.wait_event("started")
        code, out, err = await run_titan(home, "run", **EMBEDDED)
        assert (code, out) == (3, "")
        assert f"An agent already runs for profile 'default' (process {agent.process.pid}" in err
        assert "titan status" in err
        message, _ = await agent.command("shutdown")
        assert message == "Stopping."
        assert await agent.wait_end() == 0


async def test_titan_stop_says_stopped_once_the_profile_is_free(home: Path) -> None:
    async with AgentProcess(home, **EMBEDDED) as agent:
        await agent.wait_event("started")
        assert await run_titan(home, "stop") == (0, "Stopped.\n", "")
        assert agent.log[-1]["state"] == "stopped"
        with InstanceLock(profile_paths(environ={"TITAN_HOME": str(home)}).lock_file, "default"):
            assert await agent.wait_end() == 0
        code, _, err = await run_titan(home, "stop")
        assert (code, "No agent is running" in err) == (1, True)


@pytest.mark.parametrize("command", ["pause", "finish"])
async def test_killed_agent_takes_its_engine_along_and_comes_back_the_same(home: Path, command: str) -> None:
    async with FaultyCoordinator() as coordinator:
        environ = {"COORDINATOR_ENDPOINT": coordinator.endpoint, **EMBEDDED}
        async with AgentProcess(home, **environ) as agent:
            agent_id = (await agent.wait_state("ready"))["agent_id"]
            spent = token_of(coordinator, agent_id, MODEL)
            async with client_of(agent.endpoint) as client:
                assert (await client.ask(spent)).code is OK
                async with client.streaming(token_of(coordinator, agent_id, MODEL), max_tokens=1500) as (answer, task):
                    (engine,) = agent.children()
                    await agent.command(command)
                    await agent.kill()
                    gone, _ = await asyncio.to_thread(psutil.wait_procs, [engine], timeout=2.0)
                    assert gone, "the engine outlived its agent by 2 s"
                    await task
                    assert answer.code is grpc.StatusCode.UNAVAILABLE
        async with AgentProcess(home, **environ) as agent:
            snapshot = await agent.wait_state("paused")
            assert snapshot["agent_id"] == agent_id
            assert snapshot["reasons"][0]["code"] == "paused_by_owner"
            before = len(coordinator.registrations)
            await agent.command("resume")
            await within(coordinator.wait_for_calls("RegisterAgent", before + 1))
            await agent.wait_state("ready")
            async with client_of(agent.endpoint) as client:
                again = await client.ask(spent)
                assert again.code is grpc.StatusCode.UNAUTHENTICATED
                assert "used before" in again.details
                assert (await client.ask(token_of(coordinator, agent_id, MODEL))).code is OK
            assert await agent.stop() == 0


def _is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
