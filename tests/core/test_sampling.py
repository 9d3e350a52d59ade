"""How often a real agent samples the machine: by who looks at the figures, and what of it is in memory."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from core.config_values import Value
from core.parts.sampling import CALM_INTERVAL_S, SAMPLE_INTERVAL_S
from tests.fakes.calm_signals import FakeSignals
from tests.fakes.fake_engine import FakeEngine, pieces_of
from tests.fakes.small_agent import small_agent

MODEL = "tiny:latest"
SETTINGS: dict[str, Value] = {"supported_models": (MODEL,), "agent_id": "agent-1", "preload_at_start": False}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TITAN_HOME", str(tmp_path / "home"))


def engine() -> FakeEngine:
    return FakeEngine(pieces_of("a"), models=(MODEL,))


async def test_nobody_watches_and_no_model_is_in_memory_a_sample_each_four_seconds() -> None:
    async with small_agent(engine(), SETTINGS) as agent:
        assert agent.sampling.interval_s() == CALM_INTERVAL_S == 4.0


async def test_somebody_watches_a_sample_each_two_seconds_until_the_last_one_leaves() -> None:
    async with small_agent(engine(), SETTINGS) as agent:
        leave_window, leave_terminal = agent.store.watch(), agent.store.watch()
        assert agent.sampling.interval_s() == SAMPLE_INTERVAL_S == 2.0
        leave_window()
        assert agent.sampling.interval_s() == 2.0
        leave_terminal()
        assert agent.sampling.interval_s() == 4.0


async def test_a_model_in_memory_or_on_its_way_there_a_sample_each_two_seconds() -> None:
    loading = engine()
    async with small_agent(loading, SETTINGS) as agent:
        await agent.models.load(MODEL)
        assert agent.sampling.interval_s() == 2.0
        await agent.models.unload_all()
        assert agent.sampling.interval_s() == 4.0


async def test_a_session_runs_a_sample_each_two_seconds() -> None:
    async with small_agent(engine(), SETTINGS) as agent:
        async with agent.admission.slot(model=MODEL, client="c", job_id="j", spend=lambda: None):
            assert agent.sampling.interval_s() == 2.0
        assert agent.sampling.interval_s() == 4.0


async def test_a_rule_that_is_about_to_begin_is_not_kept_waiting() -> None:
    async with small_agent(engine(), {**SETTINGS, "cpu_busy_effect": "finish, keep"}) as agent:
        machine = cast(FakeSignals, agent.rules.signals)
        machine.show(cpu_percent_others=90.0)
        assert agent.sampling.interval_s() == 2.0
        machine.show()
        assert agent.sampling.interval_s() == 4.0
