"""The owner's strongest command, on the real admission, pause and models with an engine under the test's control."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from core import take_back
from core.errors import EngineFailed, SessionEnded
from tests.core.test_owner_commands import AgentParts


@pytest.fixture
async def agent(tmp_path: Path) -> AgentParts:
    made = AgentParts(tmp_path)
    await made.keeper.start()
    await made.models.load("tiny")
    return made


async def test_it_pauses_stops_every_session_and_unloads(agent: AgentParts) -> None:
    sessions = [await agent.session(), await agent.session()]
    outcome = await agent.do("take_back")
    assert outcome.result["stopped"] == 2
    assert outcome.result["models"] == ["tiny"]
    assert outcome.message == "Paused until you resume, stopped 2 sessions, unloaded tiny."
    assert agent.owner.is_paused
    assert agent.owner.pause_until is None
    assert agent.engine.loaded == []
    for session in sessions:
        with pytest.raises(SessionEnded, match="took it back"):
            await session


async def test_a_model_that_is_still_loading_is_unloaded_too(agent: AgentParts) -> None:
    agent.engine.loaded.clear()  # as an engine shows it until the load is over
    session = await agent.session()
    await agent.do("take_back")
    assert "unload" in agent.engine.calls
    with pytest.raises(SessionEnded):
        await session


async def test_a_load_by_hand_that_is_under_way_is_undone_too(agent: AgentParts) -> None:
    agent.engine.loaded.clear()
    agent.models._loading["tiny"] += 1  # as while `load_model` waits for the engine
    await agent.do("take_back")
    assert "unload" in agent.engine.calls


async def test_without_sessions_and_models_it_only_pauses(agent: AgentParts) -> None:
    await agent.do("unload_models")
    outcome = await agent.do("take_back")
    assert outcome.message == "Paused until you resume, no model was loaded."
    assert agent.owner.is_paused


async def test_a_session_that_does_not_let_go_keeps_no_memory(
    agent: AgentParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(take_back, "SESSIONS_END_LIMIT_S", 0.0)
    release = asyncio.Event()

    async def stubborn() -> None:
        async with agent.admission.slot(model="tiny", client="c", job_id="j", spend=lambda: None):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await release.wait()

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await agent.do("take_back")
    assert agent.admission.running_jobs == 1
    assert agent.engine.loaded == []
    release.set()
    await task


async def test_an_engine_that_does_not_unload_leaves_the_pause_on(agent: AgentParts) -> None:
    agent.engine.fault = EngineFailed("the engine did not unload", hint="Restart it.")
    with pytest.raises(
        EngineFailed, match=r"Paused, but the memory is not back yet: the engine did not unload\. It is tried"
    ):
        await agent.do("take_back")
    assert agent.owner.is_paused
    agent.engine.fault = None
    async with asyncio.timeout(10):
        while agent.engine.loaded:  # noqa: ASYNC110 - no time passes here
            await asyncio.sleep(0)
