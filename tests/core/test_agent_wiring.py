"""What agent.py ties together: a reason not to serve that appears reaches those who wait, and what follows from it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from core.agent import Agent
from core.config_values import Value
from core.errors import EngineUnreachable, NotServing
from core.inference import InferenceCall
from core.sessions import EndReason
from core.token_signer import TokenSigner
from tests.fakes.fake_engine import FakeEngine, pieces_of
from tests.fakes.session_records import ended
from tests.fakes.small_agent import small_agent

MODEL = "tiny:latest"
ONE_AT_A_TIME: dict[str, Value] = {
    "supported_models": (MODEL,),
    "agent_id": "agent-1",
    "max_concurrent_jobs": 1,
    "queue_size": 1,
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TITAN_HOME", str(tmp_path / "home"))


async def trusted(agent: Agent) -> TokenSigner:
    signer = await TokenSigner.generate()
    agent.keys.adopt(signer.public_key_pem)
    return signer


async def serve(agent: Agent, token: str) -> None:
    async def take(text: str) -> None:
        pass

    assert agent.public.service is not None
    await agent.public.service.serve(InferenceCall(session_token=token, prompt="hello"), take)


async def until_queued(agent: Agent) -> None:
    async with asyncio.timeout(10):
        while not agent.admission.queued_jobs:  # noqa: ASYNC110 - a few turns of the loop
            await asyncio.sleep(0)


async def test_engine_that_dies_turns_those_who_wait_away_with_their_token_unspent() -> None:
    gate = asyncio.Event()
    engine = FakeEngine([gate, *pieces_of("a")], models=(MODEL,))
    async with small_agent(engine, ONE_AT_A_TIME) as agent:
        signer = await trusted(agent)
        running = asyncio.create_task(serve(agent, signer.issue(agent_id="agent-1", model=MODEL)))
        await engine.wait_open(1)
        token = signer.issue(agent_id="agent-1", model=MODEL)
        waiting = asyncio.create_task(serve(agent, token))
        await until_queued(agent)

        engine.fault = EngineUnreachable("nothing answers")
        await agent.keeper.refresh()
        with pytest.raises(NotServing, match="not serving now"):
            async with asyncio.timeout(5):  # the queue's own limit is 10 s
                await waiting
        assert not running.done()

        engine.fault = None
        await agent.keeper.refresh()
        gate.set()
        await running
        await serve(agent, token)


@pytest.mark.parametrize(
    ("reason", "looks"),
    [
        (EndReason.FIRST_TOKEN_TIMEOUT, True),
        (EndReason.TOKEN_GAP_TIMEOUT, True),
        (EndReason.ENGINE_FAILED, True),
        (EndReason.COMPLETED, False),
        (EndReason.CLIENT_GONE, False),
    ],
)
async def test_session_that_the_engine_failed_makes_the_keeper_ask_it_at_once(reason: EndReason, looks: bool) -> None:
    engine = FakeEngine(models=(MODEL,))
    async with small_agent(engine, ONE_AT_A_TIME) as agent:
        before = engine.calls.count("check")
        agent.services.take_own(ended(end_reason=reason))
        for _ in range(20):
            await asyncio.sleep(0)
        assert (engine.calls.count("check") > before) is looks


async def test_owner_of_a_card_that_the_embedded_engine_leaves_idle_finds_a_notice() -> None:
    engine = FakeEngine(name="embedded", models=(MODEL,))
    async with small_agent(engine, ONE_AT_A_TIME, vram_mb=24_576) as agent:
        (notice,) = [notice for notice in agent.store.current.notices if "graphics card" in notice]
        assert "(24,576 MB) is not used" in notice
        assert "Ollama" in notice
        engine.name = "ollama"
        agent.report.take_sample(agent.stats.collect())
        assert not [notice for notice in agent.report.notices if "graphics card" in notice]
