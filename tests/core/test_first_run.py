"""Before the setup is done nothing is shared, and the owner's own test works."""

from __future__ import annotations

import asyncio

import pytest

from core.agent import Agent
from core.app import identified, open_agent
from core.config_load import load_settings
from core.engines import EngineModel
from core.errors import AtCapacity, ModelError, NotServing
from core.first_run import held_settings
from core.instance_lock import InstanceLock
from core.local_coordinator import LocalCoordinator
from core.selftest import run_self_test
from core.sessions import Admission
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.small_agent import FixedStats, small_agent


def held_agent(engine: FakeEngine, coordinator: str = "coordinator.example.com:50051") -> Agent:
    loaded = identified(load_settings(overrides={"coordinator_endpoint": coordinator, "engine": "ollama"}))
    factories = {"ollama": lambda: engine}
    return Agent(held_settings(loaded), factories=factories, stats=FixedStats(), is_held=True)


async def test_a_held_agent_shares_nothing_and_listens_on_this_machine_only() -> None:
    async with LocalCoordinator() as coordinator, held_agent(FakeEngine(), coordinator.endpoint) as agent:
        snapshot = agent.store.current
        assert snapshot.blocking_reasons[0].code == "setup_not_done"
        assert snapshot.coordinator.endpoint == "localhost:50051"  # not the one that is going to be asked about
        assert all(address.startswith("127.0.0.1:") for address in snapshot.listening_on)
        assert snapshot.max_jobs == 1
        assert agent.report.capacity().free_mb == 0
        agent.owner.resume()
        assert "setup_not_done" in agent.reasons  # no pause that a click in the tray could end


async def test_the_owner_s_test_runs_while_nothing_is_shared_also_on_a_model_that_is_not_offered() -> None:
    engine = FakeEngine(models=("mine:latest",))
    async with held_agent(engine) as agent:
        assert agent.store.current.offered_models == ()
        end = await run_self_test(agent, model="mine")
        assert end.number("completion_tokens") == 2
        assert agent.models.trials == ()
        with pytest.raises(ModelError, match="no model"):
            await run_self_test(agent, model="ghost")


async def test_the_self_test_model_can_be_tested_before_there_is_a_real_one() -> None:
    engine = FakeEngine(models=())
    engine.models = [EngineModel(name="noise", is_selftest=True)]
    async with held_agent(engine) as agent:
        assert (await run_self_test(agent, model="noise")).number("completion_tokens") == 2


async def test_once_shared_only_what_is_offered_can_be_tested() -> None:
    engine = FakeEngine(models=("mine:latest", "other:latest"))
    async with small_agent(engine, {"supported_models": "mine"}) as agent:
        agent.owner.pause()
        await run_self_test(agent, model="mine:latest")  # paused: the owner's own test works all the same
        with pytest.raises(ModelError, match="not offered"):
            await run_self_test(agent, model="other")


async def test_the_owner_passes_a_closed_gate_but_not_the_limit() -> None:
    closed = {"stranger": "paused", "owner": ""}
    admission = Admission(
        max_jobs=1, closed_because=lambda: closed["stranger"], closed_to_owner=lambda: closed["owner"]
    )

    def slot(job: str, *, is_owner: bool) -> object:
        return admission.slot(model="m", client="c", job_id=job, spend=lambda: None, is_owner=is_owner)

    with pytest.raises(NotServing, match="paused"):
        async with slot("1", is_owner=False):  # type: ignore[attr-defined]
            pass
    async with slot("2", is_owner=True):  # type: ignore[attr-defined]
        with pytest.raises(AtCapacity):
            async with slot("3", is_owner=True):  # type: ignore[attr-defined]
                pass
    closed["owner"] = "stopping"
    with pytest.raises(NotServing, match="stopping"):
        async with slot("4", is_owner=True):  # type: ignore[attr-defined]
            pass


async def test_a_port_that_is_taken_does_not_keep_the_setup_from_running() -> None:
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    async with taken:
        port = taken.sockets[0].getsockname()[1]
        loaded = identified(load_settings(overrides={"agent_port": port, "engine": "ollama"}))
        with InstanceLock(loaded.paths.lock_file, "default") as lock:
            async with open_agent(loaded, lock, shut_down=lambda: None, is_held=True) as running:
                assert running.agent.report.port != port
                assert "self_test" in running.commands.names


def test_what_reading_the_settings_found_is_logged_and_shown(caplog: pytest.LogCaptureFixture) -> None:
    paths = load_settings().paths
    paths.ensure()
    paths.config_file.write_text("not = = toml")
    loaded = identified(load_settings(overrides={"engine": "ollama"}))
    agent = Agent(held_settings(loaded), factories={"ollama": FakeEngine}, stats=FixedStats(), is_held=True)
    said = [record for record in caplog.records if "damaged" in str(vars(record).get("event_fields"))]
    assert [record.levelname for record in said] == ["WARNING"]
    assert any("set aside as settings.toml.damaged-1" in notice for notice in agent.report.notices)
