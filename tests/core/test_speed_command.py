"""Measuring a model's speed on the owner's word: what is shown meanwhile, who may stop it, and when it is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager

import pytest

from core.agent import Agent
from core.commands import CommandError, CommandTable
from core.engines import EngineModel, LoadedModel, Prompt
from core.errors import ModelError, NotEnoughMemory
from core.owner_commands import owner_commands
from core.selftest import run_self_test, self_test_outcome
from core.snapshot import Reason
from core.speed_book import SpeedBook, speed_words
from core.speed_test import measure_outcome
from tests.core.test_model_commands import until
from tests.fakes.fake_engine import FakeEngine, Step, pieces_of
from tests.fakes.small_agent import small_agent


def table_of(agent: Agent) -> CommandTable:
    async def no_self_test(model: str) -> object:
        raise AssertionError("not asked for")

    return owner_commands(agent, shut_down=lambda: None, self_test=no_self_test)  # type: ignore[arg-type]


def gated_after_warm_up(engine: FakeEngine) -> asyncio.Event:
    """The second answer waits for the event."""
    gate = asyncio.Event()

    def script_for(prompt: Prompt) -> Iterable[Step]:
        return [gate, *pieces_of("a", "b")] if len(engine.prompts) == 2 else pieces_of("a", "b")

    engine.script_for = script_for
    return gate


def an_agent(engine: FakeEngine, supported: str = "tiny:latest") -> AbstractAsyncContextManager[Agent]:
    return small_agent(engine, {"supported_models": (supported,)})


async def test_what_runs_is_shown_and_its_result_is_shown_at_once_and_kept() -> None:
    engine = FakeEngine(name="ollama")
    gate = gated_after_warm_up(engine)
    async with an_agent(engine) as agent:
        measuring = asyncio.create_task(measure_outcome(agent, "", seconds=0.01))
        seen = await until(agent, lambda seen: seen.measuring is not None and seen.measuring.started_at is not None)
        assert (seen.measuring and seen.measuring.model) == "tiny:latest"
        with pytest.raises(CommandError, match="measured already"):
            await measure_outcome(agent, "")
        gate.set()
        outcome = await measuring
        assert outcome.result["model"] == "tiny:latest"
        shown = agent.store.current
        assert shown.measuring is None
        assert [speed.model for speed in shown.speeds] == ["tiny:latest"]
        assert speed_words(shown.speeds[0]).endswith("tokens per second, measured here")
        assert SpeedBook(agent.paths.speeds_file).read() == shown.speeds


async def test_it_can_be_stopped_and_then_keeps_nothing() -> None:
    engine = FakeEngine(name="ollama")
    gated_after_warm_up(engine)
    async with an_agent(engine) as agent:
        table = table_of(agent)
        with pytest.raises(CommandError, match="nothing is being measured"):
            await table.execute("stop_measuring", {})
        measuring = asyncio.create_task(table.execute("measure_speed", {}))
        await engine.wait_asked(2)
        await table.execute("stop_measuring", {})
        outcome = await measuring
        assert outcome.result == {"stopped": True}
        await engine.wait_closed(2)
        assert agent.store.current.measuring is None
        assert SpeedBook(agent.paths.speeds_file).read() == ()
        assert agent.admission.running_jobs == 0


async def test_who_asked_and_is_gone_ends_it_too() -> None:
    engine = FakeEngine(name="ollama")
    gated_after_warm_up(engine)
    async with an_agent(engine) as agent:
        measuring = asyncio.create_task(table_of(agent).execute("measure_speed", {}))
        await engine.wait_asked(2)
        measuring.cancel()
        with pytest.raises(asyncio.CancelledError):
            await measuring
        assert agent.report.measuring is None


async def test_while_a_session_runs_nothing_is_measured() -> None:
    engine = FakeEngine(name="ollama")
    gate = asyncio.Event()
    engine.script = [gate, *pieces_of("a")]
    async with an_agent(engine) as agent:
        session = asyncio.create_task(run_self_test(agent))
        await engine.wait_asked(1)
        with pytest.raises(CommandError, match="sessions run now"):
            await measure_outcome(agent, "")
        gate.set()
        await session


async def test_a_session_that_begins_meanwhile_spoils_it() -> None:
    engine = FakeEngine(name="ollama")
    gate = gated_after_warm_up(engine)
    async with an_agent(engine) as agent:
        measuring = asyncio.create_task(measure_outcome(agent, "", seconds=0.01))
        await engine.wait_asked(2)
        await run_self_test(agent)
        gate.set()
        with pytest.raises(CommandError, match="a session began meanwhile"):
            await measuring
        assert agent.store.current.speeds == ()


async def test_a_model_that_does_not_fit_is_refused_with_its_numbers() -> None:
    engine = FakeEngine(name="ollama", models=())
    engine.models.append(EngineModel(name="big:70b", size_bytes=400_000_000_000))
    async with an_agent(engine, "big:70b") as agent:
        with pytest.raises(NotEnoughMemory, match=r"does not fit now, so it can't be measured\. Needs about 447"):
            await measure_outcome(agent, "")
        assert engine.prompts == []


async def test_a_model_that_is_not_offered_is_not_measured() -> None:
    engine = FakeEngine(name="ollama", models=("tiny:latest", "other:1b"))
    async with an_agent(engine) as agent:
        with pytest.raises(ModelError, match="not offered"):
            await measure_outcome(agent, "other:1b")
        assert agent.report.measuring is None


async def test_a_speed_is_kept_under_the_engine_s_name() -> None:
    """Offered is the model in any quantisation; measured is the file that serves it now."""
    engine = FakeEngine(name="ollama", models=())
    engine.models.append(EngineModel(name="Small-Q4_K_M", size_bytes=1_000_000, quant="Q4_K_M"))
    async with an_agent(engine, "Small") as agent:
        outcome = await measure_outcome(agent, "", seconds=0.001)
        assert outcome.result["model"] == "Small-Q4_K_M"


async def test_what_was_loaded_while_nothing_is_shared_leaves_memory_again() -> None:
    engine = FakeEngine(name="ollama")

    def script_for(prompt: Prompt) -> Iterable[Step]:
        engine.loaded = [LoadedModel(name="tiny:latest", total_mb=100, vram_mb=0)]
        return pieces_of("a", "b")

    engine.script_for = script_for
    async with an_agent(engine) as agent:
        agent.reasons.put(Reason(code="game_running", sentence="A game runs."))
        await measure_outcome(agent, "", seconds=0.001)
        await until(agent, lambda _: "unload" in engine.calls)
        assert engine.loaded == []


def loads_when_asked(engine: FakeEngine) -> asyncio.Event:
    """Each answer loads the model, as a real engine does; the second one waits for the event."""
    gate = asyncio.Event()

    def script_for(prompt: Prompt) -> Iterable[Step]:
        engine.loaded = [LoadedModel(name="tiny:latest", total_mb=100, vram_mb=0)]
        return [gate, *pieces_of("a", "b")] if len(engine.prompts) == 2 else pieces_of("a", "b")

    engine.script_for = script_for
    return gate


async def test_a_pause_in_the_middle_of_it_gives_the_memory_back_in_the_end() -> None:
    """In a gap between two answers it was given back already; the next answer loaded the model again."""
    engine = FakeEngine(name="ollama")
    gate = loads_when_asked(engine)
    async with an_agent(engine) as agent:
        await agent.models.load("tiny:latest")
        measuring = asyncio.create_task(measure_outcome(agent, "", seconds=0.05))
        await engine.wait_asked(2)
        agent.owner.pause()
        gate.set()
        await measuring
        assert len(engine.prompts) > 2
        await until(agent, lambda _: engine.loaded == [])


async def test_a_self_test_during_a_pause_leaves_nothing_in_memory() -> None:
    engine = FakeEngine(name="ollama")
    loads_when_asked(engine)
    async with an_agent(engine) as agent:
        agent.owner.pause()
        outcome = await self_test_outcome(agent)
        assert outcome.result["model"] == "tiny:latest"
        await until(agent, lambda _: "unload" in engine.calls)
        assert engine.loaded == []
