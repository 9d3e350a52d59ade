"""An engine that lives and does nothing: it is found out, ended and started again, without its owner."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil

from tests.fakes.agent_process import run_titan
from tests.integration.client import OK, client_of, token_of, within
from tests.integration.running import ID, embedded_agent, ollama_agent
from tests.integration.settings import MODEL, OFTEN, TINY


@contextlib.contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """Hold a child of the agent's; it goes on at the end, if it still lives."""
    process.suspend()
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


async def test_child_that_is_stuck_is_ended_and_another_one_serves(home: Path) -> None:
    async with embedded_agent(home, TITAN_TOKEN_GAP_TIMEOUT_S="1", **OFTEN) as (coordinator, agent):
        async with client_of(agent.endpoint) as client:
            async with client.streaming(token_of(coordinator, ID, MODEL), max_tokens=1500) as (answer, task):
                (engine,) = agent.children()
                with stopped(engine):
                    await task
                    assert (answer.code, answer.details) == (
                        grpc.StatusCode.DEADLINE_EXCEEDED,
                        "the engine of this agent did not answer in time",
                    )
                    snapshot = await agent.wait_snapshot(lambda snapshot: snapshot["engine"]["status"]["restarts"] == 1)
                    assert not engine.is_running()
            assert "no longer answered" in snapshot["engine"]["status"]["detail"]
            await agent.wait_state("ready")
            assert (await client.ask(token_of(coordinator, ID, MODEL))).code is OK
        assert await agent.stop() == 0


async def test_ollama_that_is_stuck_is_found_out_by_the_session_that_waited_for_it(home: Path) -> None:
    """At once, not at the next look in 30 s: the coordinator hears that nothing is free, and sends nobody else."""
    settings = {"HEARTBEAT_INTERVAL": "15", "TITAN_TOKEN_GAP_TIMEOUT_S": "1"}
    async with ollama_agent(home, **settings) as (coordinator, engine, agent):
        engine.pace()
        engine.let_through(1)
        async with (
            client_of(agent.endpoint) as client,
            client.streaming(token_of(coordinator, ID, TINY)) as (answer, task),
        ):
            engine.is_stuck = True
            await task
            assert answer.code is grpc.StatusCode.DEADLINE_EXCEEDED
            await within(coordinator.wait_until(lambda: coordinator.beats[-1].free_vram_mb == 0))
            snapshot = await agent.snapshot()
            assert [reason["code"] for reason in snapshot["reasons"]] == ["engine_unreachable"]
            assert "did not answer within 5 s" in snapshot["reasons"][0]["sentence"]
        assert await agent.stop() == 0


async def test_engine_that_keeps_crashing_needs_its_owner_whose_retry_starts_it_again(home: Path) -> None:
    async with embedded_agent(home, HEARTBEAT_INTERVAL="15", **OFTEN) as (coordinator, agent):
        for restarts in range(3):
            snapshot = await agent.wait_snapshot(
                lambda snapshot, restarts=restarts: snapshot["engine"]["status"]["restarts"] == restarts  # type: ignore[misc]
            )
            await agent.command("load_model", model=MODEL)  # comes back once the child that was started again has it
            (engine,) = agent.children()
            engine.kill()
        snapshot = await agent.wait_state("paused")  # within two samples, though nobody asked for anything
        (reason,) = snapshot["reasons"]
        assert reason["code"] == "engine_attention"
        assert reason["remedy"].endswith("start the engine again: titan retry")
        await within(coordinator.wait_until(lambda: coordinator.beats[-1].free_vram_mb == 0))
        code, out, err = await run_titan(home, "retry", "--profile", ID)
        assert (code, out) == (0, "The engine embedded is ready.\n"), err
        await agent.wait_state("ready")
        async with client_of(agent.endpoint) as client:
            assert (await client.ask(token_of(coordinator, ID, MODEL))).code is OK
        assert await agent.stop() == 0
