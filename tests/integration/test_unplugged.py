"""A laptop that is unplugged: from the kernel's file to the closed door, through the whole agent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.agent import Agent
from core.app import identified
from core.config_load import load_settings
from core.config_values import Value
from core.rules.effects import DEFAULT_EFFECTS
from core.signals import Signals
from core.signals.guard import ProbeThreads, guard_probe
from core.signals.power import SysfsPower
from core.signals.watch import SignalWatch
from tests.fakes.calm_signals import NO_RULES
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.polling import until
from tests.fakes.small_agent import FixedStats
from tests.integration.settings import TINY

UNPLUGGED_LIMIT_S = 5.0  # from issue 5


def plug(folder: Path, *, is_in: bool) -> None:
    """As the kernel says it; the battery goes on saying "Full" for a while, as some do."""
    for name, files in {
        "AC": {"type": "Mains", "online": str(int(is_in))},
        "BAT0": {"type": "Battery", "status": "Full", "capacity": "100"},
    }.items():
        (folder / name).mkdir(exist_ok=True)
        for file, text in files.items():
            (folder / name / file).write_text(f"{text}\n", encoding="ascii")


@pytest.mark.slow
async def test_an_unplugged_laptop_closes_its_door_in_time_and_gives_the_memory_back(
    home: Path, tmp_path: Path
) -> None:
    plug(tmp_path, is_in=True)
    threads = ProbeThreads()

    def watch(on_change: Callable[[Signals], None]) -> SignalWatch:
        return SignalWatch(on_change, readers=[guard_probe(SysfsPower(tmp_path), threads, "The battery")])

    environ = {**NO_RULES, "TITAN_HOME": str(home), "TITAN_ON_BATTERY_EFFECT": DEFAULT_EFFECTS["on_battery"]}
    given: dict[str, Value] = {"agent_port": 0, "engine": "ollama", "supported_models": (TINY,), "agent_id": "agent-1"}
    engine = FakeEngine(name="ollama", models=(f"{TINY}:latest",))
    loaded = identified(load_settings(environ=environ, overrides=given))
    try:
        async with Agent(loaded, factories={"ollama": lambda: engine}, stats=FixedStats(), open_signals=watch) as agent:
            await agent.models.load(f"{TINY}:latest")
            assert not agent.reasons.is_blocked
            plug(tmp_path, is_in=False)
            began = time.monotonic()
            async with asyncio.timeout(3 * UNPLUGGED_LIMIT_S):
                await until(lambda: "on_battery" in agent.reasons)
            assert time.monotonic() - began <= UNPLUGGED_LIMIT_S
            assert agent.reasons.all[0].sentence == "The machine runs on its battery."
            await until(lambda: engine.loaded == [])
    finally:
        threads.close()
