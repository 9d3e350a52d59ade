"""What the agent does with the arithmetic: admits what fits, reports it, and shows it."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from core.agent import Agent
from core.capacity import CapacityLimits, OwnMemory, capacity_to_serve
from core.cli.render_tables import models_table
from core.config_edit import change_settings
from core.config_load import load_settings
from core.config_values import Value
from core.engines import EngineModel, LoadedModel, TokenChunk
from core.engines.absent import NoEngine
from core.engines.load_room import lendable_ram_mb, load_plan
from core.errors import NotEnoughMemory
from core.fit import judge, room_of
from core.host_meter import CpuReading, RamReading
from core.live_settings import apply_settings_outcome
from core.model_commands import withdraw
from core.quantization import size_at
from core.snapshot import AgentSnapshot, EngineView
from core.stats_collector import SystemStats
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.llama_8b import LLAMA_8B, PARAMETERS_8B
from tests.fakes.small_agent import FixedStats, small_agent

MODEL = "llama3.1:8b"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TITAN_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OLLAMA_NUM_PARALLEL", raising=False)


def engine_with(*quants: str, name: str = "ollama") -> FakeEngine:
    """An engine with Llama 3.1 8B in these quantisations: 32 GB of RAM are the machine's, 20 GB free."""
    engine = FakeEngine(name=name)
    engine.status = engine.status.__class__(state="ready", device="CPU (fake)", version="1")
    engine.models = [
        EngineModel(
            name=f"{MODEL}-{quant.lower()}",
            quant=quant,
            size_bytes=size_at(PARAMETERS_8B, quant),
            shape=LLAMA_8B,
            context_tokens=131072,
        )
        for quant in quants
    ]
    return engine


async def test_agent_refuses_a_load_beyond_what_the_owner_lends_and_the_engine_is_not_asked() -> None:
    engine = engine_with("Q8_0")
    overrides: dict[str, Value] = {"supported_models": (f"{MODEL}-q8_0",), "ram_budget_mb": 6000}
    async with small_agent(engine, overrides) as agent:
        with pytest.raises(NotEnoughMemory, match=r"is too big\. Needs .* you lend 5\.9 GB"):
            await agent.models.load(f"{MODEL}-q8_0")
        assert "load" not in engine.calls


async def test_model_that_has_just_answered_is_in_memory_and_its_next_session_is_no_load() -> None:
    name = f"{MODEL}-q8_0"
    overrides: dict[str, Value] = {"supported_models": (name,), "ram_budget_mb": 6000}
    async with small_agent(engine_with("Q8_0"), overrides) as agent:
        agent.models.note_answered(name)
        async with agent.models.serving(name):
            pass
        await agent.models.refresh()  # the engine says that it has let it go
        with pytest.raises(NotEnoughMemory):
            async with agent.models.serving(name):
                pass


async def test_agent_serves_the_best_quantisation_of_an_offered_model_and_says_why() -> None:
    engine = engine_with("Q8_0", "Q4_K_M", "Q2_K")
    async with small_agent(engine, {"supported_models": (MODEL,), "ram_budget_mb": 7000}) as agent:
        agent.publish_now()
        snapshot = agent.store.current
        assert snapshot.offered_models == (MODEL,)
        assert agent.models.resolve(MODEL) == f"{MODEL}-q4_k_m"
        (choice,) = snapshot.chosen_quants
        assert choice.reason.startswith("Q8_0 needs ")


async def test_smaller_quantisation_makes_way_once_other_programs_leave_room_for_a_better_one() -> None:
    """Step down while a game holds the memory, up again when it has gone; nobody is let in between the two."""
    engine = engine_with("Q8_0", "Q4_K_M")
    engine.script = [TokenChunk("x", 1), TokenChunk(done=True, finish_reason="length")]
    async with small_agent(engine, {"supported_models": (MODEL,), "preload_on_resume": True}) as agent:
        whole = agent.stats.collect()
        told(agent, replace(whole, free_ram_mb=8_000))
        assert (await agent.models.load(MODEL)).name == f"{MODEL}-q4_k_m"
        assert agent.models.chosen_quants[0].reason.endswith("of 7,488 MB. Other programs hold the rest now.")
        await agent.keeper.refresh()
        assert agent.models.is_loaded(f"{MODEL}-q4_k_m")
        told(agent, whole)
        await agent.keeper.refresh()
        async with asyncio.timeout(10):
            while not agent.models.is_loaded(f"{MODEL}-q8_0") or agent.reasons.is_blocked:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert [model.name for model in agent.models.loaded] == [f"{MODEL}-q8_0"]
        assert agent.models.resolve(MODEL) == f"{MODEL}-q8_0"


def told(agent: Agent, stats: SystemStats) -> None:
    """The machine is so from now on, and every part has heard it."""
    assert isinstance(agent.stats, FixedStats)
    agent.stats.sample = stats
    agent.sampling.take(stats)
    agent.publish_now()


async def test_withdrawing_the_file_withdraws_the_model_that_it_is_served_for() -> None:
    engine = engine_with("Q4_K_M")
    async with small_agent(engine) as agent:
        change_settings({"supported_models": MODEL}, os.environ, profile=agent.settings.profile)
        await apply_settings_outcome(agent)
        assert agent.settings.supported_models == (MODEL,)
        await withdraw(agent, f"{MODEL}-q4_k_m")
        assert not agent.models.offered


async def test_command_line_shows_verdict_choice_and_what_was_loaded_with_less() -> None:
    engine = engine_with("Q8_0", "Q4_K_M")
    async with small_agent(engine, {"supported_models": (MODEL,), "ram_budget_mb": 7000}) as agent:
        agent.models.loaded = (LoadedModel(name="x", note="2 sessions instead of 4: memory is short."),)
        agent.publish_now()
        console = Console(width=400, record=True)
        console.print(models_table(json.loads(agent.store.current.to_json())))
        text = console.export_text()
    assert f"{MODEL}-q8_0: Needs 9." in text
    assert f"{MODEL}-q4_k_m: Needs 5.9 GB of memory for 1 session of 4,096 tokens; 6.8 GB is free." in text
    assert f"{MODEL}-q4_k_m is served as {MODEL}. Q8_0 needs" in text
    assert "too big" in text
    assert "x: 2 sessions instead of 4: memory is short." in text


async def test_sessions_at_once_follow_what_the_loaded_model_has_room_for() -> None:
    engine = engine_with("Q4_K_M")
    async with small_agent(engine, {"supported_models": (f"{MODEL}-q4_k_m",), "max_concurrent_jobs": 4}) as agent:
        agent.models.loaded = (LoadedModel(name=f"{MODEL}-q4_k_m", sessions=2, context_tokens=2048),)
        agent.sampling.take(agent.stats.collect())
        assert agent.admission.max_jobs == 2
        registration = agent.report.registration()
        assert registration.max_jobs == 2  # type: ignore[union-attr]
        assert registration.capabilities["context_tokens"] == "2048"  # type: ignore[union-attr]
        agent.models.loaded = ()
        agent.sampling.take(agent.stats.collect())
        assert agent.admission.max_jobs == 4


def test_plan_of_each_engine() -> None:
    settings = load_settings().settings
    embedded, ollama = FakeEngine(name="embedded"), FakeEngine(name="ollama")
    plan = load_plan(embedded, settings)
    assert plan is not None
    assert (plan.sessions, plan.context_tokens, plan.batch_tokens) == (4, 4096, 32)
    embedded.status = embedded.status.__class__(state="ready", device="Metal (Apple M3)")
    plan = load_plan(embedded, settings)
    assert plan is not None
    assert plan.batch_tokens == 512
    for parallel, sessions in (("", 1), ("4", 4), ("many", 1), ("0", 1)):
        plan = load_plan(ollama, settings, {"OLLAMA_NUM_PARALLEL": parallel})
        assert plan is not None
        assert plan.sessions == sessions
    for environ, cache_type in (
        ({"OLLAMA_KV_CACHE_TYPE": "q8_0", "OLLAMA_FLASH_ATTENTION": "1"}, "q8_0"),
        ({"OLLAMA_KV_CACHE_TYPE": "q8_0"}, "f16"),
        ({"OLLAMA_KV_CACHE_TYPE": "odd", "OLLAMA_FLASH_ATTENTION": "true"}, "f16"),
    ):
        plan = load_plan(ollama, settings, environ)
        assert plan is not None
        assert (plan.cache_type, plan.flash_attention) == (cache_type, cache_type != "f16")
    assert load_plan(NoEngine(), settings) is None


class FixedHost:
    def __init__(self, ram: RamReading | None) -> None:
        self._ram = ram

    def ram(self) -> RamReading | None:
        return self._ram

    def cpu(self) -> CpuReading | None:
        return None


@pytest.mark.parametrize(
    ("free_mb", "overrides", "lendable_mb"),
    [
        (30_000, {}, 28_800),  # all but the reserve of 10 %
        (10_000, {}, 10_000 - 512),  # others hold more than the reserve: the floor stays free (core/capacity.py)
        (30_000, {"ram_reserve_mb": 20_000}, 12_000),
        (30_000, {"ram_budget_mb": 5000}, 5000),
        (100, {}, 0),
    ],
)
def test_embedded_engine_takes_no_more_ram_than_is_lent(
    free_mb: int, overrides: dict[str, int], lendable_mb: int
) -> None:
    settings = load_settings(overrides=overrides).settings
    host = FixedHost(RamReading(total_mb=32_000, available_mb=free_mb))
    assert lendable_ram_mb(lambda: settings, host)(0) == lendable_mb
    assert lendable_ram_mb(lambda: settings, FixedHost(None))(0) == 0
    # what our model holds is free once it has left, and the owner lends no more for it
    host = FixedHost(RamReading(total_mb=32_000, available_mb=max(0, free_mb - 700)))
    assert lendable_ram_mb(lambda: settings, host)(min(free_mb, 700)) == lendable_mb


@given(
    total_mb=st.integers(1024, 1 << 19),
    free_share=st.floats(0, 1),
    own_share=st.floats(0, 1),
    reserve_mb=st.integers(0, 1 << 17),
    ram_budget_mb=st.integers(0, 1 << 18),
)
@settings(deadline=None)
def test_window_and_engine_know_of_the_same_room(
    total_mb: int, free_share: float, own_share: float, reserve_mb: int, ram_budget_mb: int
) -> None:
    """Else a model that "fits" is loaded with fewer sessions, or what is loaded has to leave at once."""
    free_mb = int(total_mb * free_share)
    own_mb = int((total_mb - free_mb) * own_share)
    limits = CapacityLimits(ram_budget_mb=ram_budget_mb, ram_reserve_mb=reserve_mb)
    stats = SystemStats(total_ram_mb=total_mb, free_ram_mb=free_mb, own_ram_mb=own_mb)
    capacity = capacity_to_serve(
        stats, "ram", limits, own=OwnMemory(ram_mb=own_mb), is_serving=True, cpu_percent_others=0.0
    )
    room = room_of(AgentSnapshot(engine=EngineView(name="embedded"), capacity=capacity, machine=stats))
    owner = replace(load_settings().settings, ram_budget_mb=ram_budget_mb, ram_reserve_mb=reserve_mb)
    lendable = lendable_ram_mb(lambda: owner, FixedHost(RamReading(total_mb=total_mb, available_mb=free_mb)))
    assert room.free_mb is not None
    assert lendable(own_mb) == min(room.free_mb, room.budget_mb or 0)


async def test_window_and_admission_judge_by_the_same_room() -> None:
    engine = engine_with("Q4_K_M", name="embedded")
    async with small_agent(engine, {"supported_models": (f"{MODEL}-q4_k_m",)}) as agent:
        agent.publish_now()
        room = room_of(agent.store.current)
        assert room.can_step_down
        assert room.plan is not None
        assert room.plan.sessions == 4
        model = agent.store.current.models[0]
        assert judge(model.size_bytes, room, model.shape).fit == "fits"
