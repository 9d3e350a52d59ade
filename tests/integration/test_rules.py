"""`titan run` on the real embedded engine and the real machine: a program of the owner's list starts, and ends."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from pathlib import Path

import grpc
import psutil
import pytest

from tests.fakes.agent_process import run_titan
from tests.integration.client import OK, client_of, token_of
from tests.integration.running import ID, embedded_agent
from tests.integration.settings import MODEL

REFUSED_LIMIT_S = 3.0  # from issue 5
SLEEP = shutil.which("sleep")


@pytest.mark.skipif(sys.platform == "win32" or SLEEP is None, reason="a program of a name of our own is made of sleep")
async def test_a_listed_program_that_starts_takes_the_machine_back_and_its_end_gives_it(home: Path) -> None:
    assert SLEEP is not None
    game = home / "library" / "titan-game"
    game.parent.mkdir()
    shutil.copy(SLEEP, game)
    rule = {
        "TITAN_LISTED_APPS": str(game.parent),
        "TITAN_LISTED_APP_EFFECT": "stop after 1 s, unload",
        "TITAN_LISTED_APP_HOLD_S": "2",
    }
    async with embedded_agent(home, **rule) as (coordinator, agent), client_of(agent.endpoint) as client:
        async with client.streaming(token_of(coordinator, ID, MODEL), max_tokens=4000) as (answer, task):
            (engine,) = agent.children()
            engine.suspend()  # so that the answer can't be over before the game starts
            playing = await asyncio.create_subprocess_exec(game, "600")
            try:
                began = time.monotonic()
                paused = await agent.wait_snapshot(lambda snapshot: snapshot["state"] == "paused")
                assert time.monotonic() - began <= REFUSED_LIMIT_S
                assert paused["reasons"][0]["sentence"] == "Paused while titan-game runs."
                refused = await client.ask(token_of(coordinator, ID, MODEL))
                assert (refused.code, refused.details) == (
                    grpc.StatusCode.UNAVAILABLE,
                    "this agent is not serving now",
                )
                await asyncio.wait_for(task, 10)
                assert "the owner of this machine took it back" in answer.details
                gone, _ = await asyncio.to_thread(psutil.wait_procs, [engine], 10)
                assert gone == [engine]
                code, said, _ = await run_titan(home, "share-now", "--for", "10m", "--profile", ID)
                assert (code, said.startswith("You share now, until ")) == (0, True)
                shared = await agent.wait_state("ready")
                assert "this rule waits: “A program of your list runs”" in shared["reasons"][0]["sentence"]
                anyway = await client.ask(token_of(coordinator, ID, MODEL), max_tokens=5)
                assert anyway.code is OK, anyway.details
                await agent.command("follow_rules")
                await agent.wait_state("paused")
            finally:
                playing.kill()
                await playing.wait()
        await agent.wait_state("ready")
        again = await client.ask(token_of(coordinator, ID, MODEL), max_tokens=5)
        assert again.code is OK, again.details
        assert await agent.stop() == 0
