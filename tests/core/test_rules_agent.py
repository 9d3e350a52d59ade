"""A real agent and its rules: what a signal does to sessions, to memory, to the coordinator and to the snapshot."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from core.agent import Agent
from core.app import identified
from core.commands import CommandOutcome
from core.config_edit import change_settings
from core.config_load import load_settings
from core.config_values import Value
from core.coordinator_types import NotRegistering
from core.energy_log import energy_file
from core.errors import NotServing, SessionEnded
from core.first_run import held_settings
from core.inference import InferenceCall
from core.live_settings import apply_settings_outcome
from core.owner_commands import owner_commands
from core.rules.effects import DEFAULT_EFFECTS
from core.sessions import EndReason
from core.signals import FullScreen, Power, Unknown
from core.snapshot import AgentSnapshot
from core.token_signer import TokenSigner
from tests.fakes.calm_signals import FakeSignals
from tests.fakes.fake_engine import FakeEngine, pieces_of
from tests.fakes.small_agent import FixedStats, small_agent

MODEL = "tiny:latest"
SETTINGS: dict[str, Value] = {
    "supported_models": (MODEL,),
    "agent_id": "agent-1",
    "listed_apps": ("steam",),
    "listed_app_effect": "stop after 0.1 s, unload",
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TITAN_HOME", str(tmp_path / "home"))


def machine_of(agent: Agent) -> FakeSignals:
    return cast(FakeSignals, agent.rules.signals)


def rules_that_block(agent: Agent) -> list[str]:
    """Without the moment in which memory goes back because of them."""
    return [reason.code for reason in agent.reasons.all if reason.blocks and reason.code in DEFAULT_EFFECTS]


async def snapshot_when(agent: Agent, condition: Callable[[AgentSnapshot], bool]) -> AgentSnapshot:
    changed = asyncio.Event()
    unsubscribe = agent.store.subscribe(lambda _: changed.set())
    try:
        async with asyncio.timeout(10):
            while not condition(agent.store.current):
                changed.clear()
                await changed.wait()
        return agent.store.current
    finally:
        unsubscribe()


async def token_of(agent: Agent) -> str:
    signer = await TokenSigner.generate()
    agent.keys.adopt(signer.public_key_pem)
    return signer.issue(agent_id="agent-1", model=MODEL)


async def serve(agent: Agent, token: str) -> None:
    async def take(text: str) -> None:
        pass

    assert agent.public.service is not None
    await agent.public.service.serve(InferenceCall(session_token=token, prompt="hello"), take)


async def test_a_listed_program_refuses_at_once_ends_the_session_and_unloads() -> None:
    engine = FakeEngine([*pieces_of("a"), asyncio.Event()], models=(MODEL,))
    async with small_agent(engine, SETTINGS) as agent:
        await agent.models.load(MODEL)
        running = asyncio.create_task(serve(agent, await token_of(agent)))
        await engine.wait_open(1)
        machine_of(agent).show(listed_apps=("Steam",))
        token = await token_of(agent)
        with pytest.raises(NotServing, match="this agent is not serving now"):
            await serve(agent, token)
        with pytest.raises(SessionEnded, match="the owner of this machine took it back") as caught:
            async with asyncio.timeout(5):
                await running
        assert caught.value.reason is EndReason.RULE
        snapshot = await snapshot_when(agent, lambda snapshot: not snapshot.loaded_models)
        assert snapshot.reasons[0].sentence == "Paused while Steam runs."
        assert snapshot.capacity.free_mb == 0
        assert agent.report.registration() == NotRegistering("Paused while Steam runs.")
        view = next(view for view in snapshot.rules if view.code == "listed_app")
        assert (view.holds, view.is_on, view.effect) == (True, True, "stop after 0.1 s, unload")


async def test_the_owner_shares_now_over_a_restart_until_a_pause() -> None:
    engine = FakeEngine(pieces_of("a"), name="ollama", models=(MODEL,))
    async with small_agent(engine, SETTINGS) as agent:
        table = owner_commands(agent, shut_down=lambda: None, self_test=no_test)
        machine_of(agent).show(listed_apps=("Steam",))
        assert rules_that_block(agent) == ["listed_app"]
        await table.execute("share_now", {"for_s": "3600"})
        snapshot = await snapshot_when(agent, lambda snapshot: not snapshot.blocking_reasons)
        until = snapshot.share_until
        assert until is not None
        await serve(agent, await token_of(agent))
        assert next(view for view in snapshot.rules if view.code == "listed_app").waits_until == until
    async with small_agent(engine, SETTINGS) as agent:
        table = owner_commands(agent, shut_down=lambda: None, self_test=no_test)
        machine_of(agent).show(listed_apps=("Steam",))
        snapshot = await snapshot_when(agent, lambda snapshot: snapshot.share_until == until)
        assert rules_that_block(agent) == []
        await table.execute("pause", {})
        await table.execute("resume", {})
        assert (rules_that_block(agent), agent.owner.share_until) == (["listed_app"], None)
        await table.execute("share_now", {"for_s": "3600"})
        assert rules_that_block(agent) == []
        await table.execute("follow_rules", {})
        assert rules_that_block(agent) == ["listed_app"]
        await table.execute("share_now", {"for_s": "3600"})
    async with small_agent(engine, {**SETTINGS, "share": "by_hand"}) as agent:
        assert (agent.owner.is_paused, agent.owner.is_sharing) == (True, False)


async def no_test(model: str) -> CommandOutcome:
    raise NotImplementedError(model)


async def test_a_warm_card_stays_slowed_whatever_else_says_how_many_may_run() -> None:
    settings: dict[str, Value] = {**SETTINGS, "gpu_target_c": 70.0, "max_concurrent_jobs": 4}
    async with small_agent(FakeEngine(models=(MODEL,)), settings) as agent:
        machine_of(agent).show(gpu_temperature_c=72.0)
        assert agent.admission.max_jobs == 3
        agent.sampling.take(FixedStats().sample)
        assert agent.admission.max_jobs == 3
        agent.sampling.take(FixedStats().sample)
        assert agent.admission.max_jobs == 3
        assert "gpu_warm" in agent.reasons


async def test_nobody_is_let_in_between_a_sleep_and_the_first_token_after_it() -> None:
    engine = FakeEngine(pieces_of("a"), name="ollama", models=(MODEL,))
    async with small_agent(engine, SETTINGS) as agent:
        await agent.models.load(MODEL)
        machine_of(agent).show(is_going_to_sleep=True)
        assert "going_to_sleep" in agent.reasons
        machine_of(agent).show()
        assert [reason.code for reason in agent.reasons.all if reason.blocks] == ["model_loading"]
        await snapshot_when(agent, lambda snapshot: not snapshot.blocking_reasons)


async def test_the_window_hears_what_cannot_be_told_and_which_rules_are_off() -> None:
    async with small_agent(FakeEngine(models=(MODEL,)), SETTINGS) as agent:
        machine_of(agent).show(is_metered=Unknown("NetworkManager doesn't run here."))
        cause = "NetworkManager doesn't run here."
        snapshot = await snapshot_when(agent, lambda snapshot: any(view.unknown == cause for view in snapshot.rules))
        views = {view.code: view for view in snapshot.rules}
        assert [code for code, view in views.items() if view.unknown] == ["metered"]
        assert not views["in_use"].is_on
        assert views["in_use"].effect == "finish within 30 s, unload"
        assert not snapshot.blocking_reasons


async def test_changed_rules_count_at_once() -> None:
    async with small_agent(FakeEngine(models=(MODEL,)), {"supported_models": (MODEL,)}) as agent:
        machine = machine_of(agent)
        machine.show(full_screen=FullScreen(is_on=True, program="VLC"), idle_s=2.0)
        assert [reason.code for reason in agent.reasons.all if reason.blocks] == ["full_screen"]
        change_settings(
            {"pause_in_full_screen": "false", "pause_while_in_use": "true", "listed_apps": "steam,/opt/games"},
            os.environ,
        )
        await apply_settings_outcome(agent)
        assert rules_that_block(agent) == ["in_use"]
        assert machine.apps == ("steam", "/opt/games")
        assert {"idle_s", "listed_apps"} <= machine.wanted
        assert "full_screen" not in machine.wanted


async def test_an_owners_pause_and_a_rule_hold_beside_each_other() -> None:
    async with small_agent(FakeEngine(models=(MODEL,)), SETTINGS) as agent:
        agent.owner.pause()
        machine_of(agent).show(power=Power(on_mains=False, battery_percent=50.0))
        codes = [reason.code for reason in agent.reasons.all]
        assert codes[:2] == ["paused_by_owner", "on_battery"]
        agent.owner.resume()
        assert agent.reasons.is_blocked
        assert agent.store.current.reasons[0].code == "on_battery"


async def test_served_time_and_tokens_are_counted_and_kept() -> None:
    engine = FakeEngine(pieces_of("a", "b", "c"), models=(MODEL,))
    async with small_agent(engine, {**SETTINGS, "serving_power_w": 100.0, "tariff_per_kwh": 0.3}) as agent:
        await serve(agent, await token_of(agent))
        agent.rules.take_sample(agent.stats.collect(), 0.0)
        energy = agent.rules.energy.view()
        assert energy.source == "By your own figure of 100 W."
        assert energy.kwh is not None
        assert energy.cost is not None
        assert agent.rules.energy.served_s_today > 0
    (day,) = (energy_file(agent.paths.state_dir / "energy.json").read() or {}).values()
    assert day.tokens == 3


async def test_before_the_setup_no_rule_is_looked_at() -> None:
    loaded = identified(load_settings(overrides={"engine": "ollama", "listed_apps": ("steam",)}))
    agent = Agent(
        held_settings(loaded),
        factories={"ollama": FakeEngine},
        stats=FixedStats(),
        open_signals=FakeSignals,
        is_held=True,
    )
    async with agent:
        machine_of(agent).show(listed_apps=("Steam",), idle_s=0.0)
        agent.rules.take_sample(agent.stats.collect(), 99.0)
        agent.use_settings(replace(agent.settings, pause_while_in_use=True))
        agent.publish_now()
        assert agent.store.current.rules == ()
        codes = {reason.code for reason in agent.reasons.all if reason.blocks}
        assert "setup_not_done" in codes
        assert not codes & set(DEFAULT_EFFECTS)
    assert machine_of(agent).is_closed


async def test_hours_and_doubt_hold_before_the_first_call() -> None:
    class Silent(FakeSignals):
        async def run(self) -> None:
            await asyncio.Event().wait()

    loaded = identified(
        load_settings(overrides={"agent_port": 0, "engine": "ollama", "schedule": "never", "pause_while_in_use": True})
    )
    agent = Agent(loaded, factories={"ollama": FakeEngine}, stats=FixedStats(), open_signals=Silent)
    listening: list[list[str]] = []
    listen = agent.public.listen

    async def watched() -> None:
        listening.append([reason.code for reason in agent.reasons.all])
        await listen()

    agent.public.listen = watched  # type: ignore[method-assign]
    async with agent:
        assert listening == [["schedule", "in_use"]]


async def test_what_the_machine_tells_holds_before_anybody_hears_of_this_agent() -> None:
    class Playing(FakeSignals):
        async def look(self) -> None:
            self.show(listed_apps=("Steam",))

        async def run(self) -> None:
            await asyncio.Event().wait()

    engine = FakeEngine(name="ollama", models=(MODEL,))
    loaded = identified(
        load_settings(overrides={**SETTINGS, "agent_port": 0, "engine": "ollama", "preload_at_start": True})
    )
    agent = Agent(loaded, factories={"ollama": lambda: engine}, stats=FixedStats(), open_signals=Playing)
    async with agent:
        assert rules_that_block(agent) == ["listed_app"]
        assert engine.loaded == []


@pytest.mark.parametrize(("name", "is_told"), [("openai", False), ("ollama", True)])
async def test_work_of_a_server_whose_programs_nobody_knows_is_not_taken_for_others(name: str, is_told: bool) -> None:
    gate = asyncio.Event()
    engine = FakeEngine([*pieces_of("a"), gate], name=name, models=(MODEL,))
    async with small_agent(engine, SETTINGS) as agent:
        running = asyncio.create_task(serve(agent, await token_of(agent)))
        await engine.wait_open(1)
        machine_of(agent).show(cpu_percent_others=99.0)
        view = next(view for view in agent.rules.keeper.views if view.code == "cpu_busy")
        assert (view.unknown == "") is is_told
        gate.set()
        await running
