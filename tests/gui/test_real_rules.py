"""The real program with its window on the rules, while a real program of the owner's list comes and goes."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.fakes.fake_ollama import FakeOllama
from tests.fakes.faulty_coordinator import FaultyCoordinator
from tests.fakes.session_bus import SessionBus, missing_programs
from tests.fakes.sni_watcher import SniWatcher
from tests.gui.test_real_window import ReadProcess, is_ready
from tests.integration.settings import ollama

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing_programs()), reason=missing_programs())]

GAME = "titan-test-game"
ROW = "Make way for my programs"


@pytest.fixture
async def program(home: Path) -> AsyncIterator[ReadProcess]:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(SessionBus(home))
        await stack.enter_async_context(SniWatcher(session.address))
        coordinator = await stack.enter_async_context(FaultyCoordinator())
        engine = await stack.enter_async_context(FakeOllama())
        environ = {
            **ollama(engine.url),
            "COORDINATOR_ENDPOINT": coordinator.endpoint,
            "TITAN_LISTED_APPS": GAME,
            "TITAN_LISTED_APP_EFFECT": "stop, unload",
            "TITAN_LISTED_APP_HOLD_S": "2",
        }
        running = await stack.enter_async_context(ReadProcess(home, session, **environ))
        await running.wait_state("ready")
        await running.wait_said(is_ready)
        yield running


async def test_a_program_of_the_list_is_seen_on_the_rules_page_and_in_the_day(
    program: ReadProcess, tmp_path: Path
) -> None:
    game = tmp_path / GAME
    shutil.copy("/bin/sleep", game)
    await program.command("show_window", page="rules")
    said = await program.wait_said(lambda said: ROW in said and "Not now" in said.splitlines())
    assert "Holds now" not in said

    mark = len(program.log)
    running = await asyncio.create_subprocess_exec(game, "60")
    try:
        said = await program.wait_said(lambda said: "Holds now" in said.splitlines(), after=mark)
        assert f"Paused while {GAME} runs." in said.splitlines()
        assert "One reason keeps this machine from serving." in said
        await program.command("show_window", page="dashboard")
        await program.wait_said(lambda said: "Paused: a program of your list runs" in said, after=mark)
    finally:
        running.kill()
        await running.wait()

    mark = len(program.log)
    await program.wait_said(is_ready, after=mark)
    assert await program.stop() == 0
    assert program.noise() == []
