"""Download, delete, offer, withdraw: what the owner asks for, and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from core.agent import Agent
from core.assets_path import selftest_model_path
from core.commands import CommandError, CommandOutcome
from core.config_edit import change_settings
from core.config_load import load_settings
from core.config_values import Value
from core.engines import EngineModel, PullProgress
from core.engines.embedded import EmbeddedEngine
from core.engines.ollama import OllamaEngine
from core.errors import ConfigError, EngineFailed, StorageError
from core.owner_commands import owner_commands
from core.pull_meter import PullMeter
from core.pulled_models import PulledModels
from core.snapshot import AgentSnapshot
from tests.fakes.calm_signals import FakeSignals
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.fake_hub import FakeHub
from tests.fakes.fake_ollama import FakeOllama
from tests.fakes.manual_clock import ManualClock
from tests.fakes.pulling_engine import GB, PullingEngine
from tests.fakes.small_agent import small_agent


async def command(agent: Agent, name: str, model: str, **others: str) -> CommandOutcome:
    async def no_self_test(model: str) -> CommandOutcome:
        raise AssertionError("not asked for")

    table = owner_commands(agent, shut_down=lambda: None, self_test=no_self_test)
    return await table.execute(name, {"model": model, **others})


async def until(agent: Agent, is_true: Callable[[AgentSnapshot], bool]) -> AgentSnapshot:
    """The first snapshot of which that is true."""
    seen: asyncio.Future[AgentSnapshot] = asyncio.get_running_loop().create_future()

    def look(snapshot: AgentSnapshot) -> None:
        if not seen.done() and is_true(snapshot):
            seen.set_result(snapshot)

    unsubscribe = agent.store.subscribe(look)
    look(agent.store.current)
    try:
        async with asyncio.timeout(10):
            return await seen
    finally:
        unsubscribe()


def phases(snapshot: AgentSnapshot) -> dict[str, str]:
    return {pull.model: pull.phase for pull in snapshot.pulls}


async def pulled(agent: Agent, model: str) -> AgentSnapshot:
    await command(agent, "pull_model", model)
    return await until(agent, lambda snapshot: phases(snapshot).get(model) == "done")


async def test_a_download_shows_its_progress_and_brings_a_model_that_may_be_deleted() -> None:
    engine, gate = PullingEngine(), asyncio.Event()
    engine.steps.insert(2, gate)
    async with small_agent(engine) as agent:
        outcome = await command(agent, "pull_model", " new:1b ")
        assert outcome.message == "Downloading new:1b."
        half = await until(agent, lambda snapshot: any(pull.completed_bytes == GB for pull in snapshot.pulls))
        assert half.pulls[0].total_bytes == 2 * GB
        assert half.pulled_models == ()
        gate.set()
        done = await until(agent, lambda snapshot: phases(snapshot) == {"new:1b": "done"})
        assert done.pulled_models == ("new:1b",)
        assert "new:1b" in [model.name for model in done.models]
        assert done.offered_models == ()  # a download offers nothing by itself
        assert json.loads(agent.paths.pulled_models_file.read_text()) == {"models": ["new:1b"]}


async def test_nothing_is_downloaded_unless_the_owner_asks() -> None:
    engine = PullingEngine()
    async with small_agent(engine, {"supported_models": "missing:7b"}) as agent:
        await agent.keeper.refresh()
        assert engine.pulled == []


async def test_a_download_ends_when_it_is_cancelled() -> None:
    engine = PullingEngine()
    engine.steps = [PullProgress("pulling aa", 1, 100), asyncio.Event()]
    async with small_agent(engine) as agent:
        await command(agent, "pull_model", "new:1b")
        await until(agent, lambda snapshot: any(pull.completed_bytes for pull in snapshot.pulls))
        with pytest.raises(CommandError, match="already"):
            await command(agent, "pull_model", "NEW:1b")
        await command(agent, "cancel_pull", "new:1b")
        assert engine.ended_pulls == 1
        assert phases(await until(agent, lambda snapshot: snapshot.pulls[0].phase != "running")) == {
            "new:1b": "cancelled"
        }
        with pytest.raises(CommandError, match="not being downloaded"):
            await command(agent, "cancel_pull", "new:1b")
        assert agent.shelf.pulled_names == ()


async def test_a_download_cancelled_before_its_first_step_is_over_too() -> None:
    async with small_agent(PullingEngine()) as agent:
        agent.shelf.pull("new:1b")
        await agent.shelf.cancel("new:1b")
        await until(agent, lambda snapshot: phases(snapshot) == {"new:1b": "cancelled"})


async def test_a_failed_download_says_why_and_harms_nothing() -> None:
    engine = PullingEngine()
    engine.steps = [EngineFailed("no space left on device", hint="Free some space.")]
    async with small_agent(engine) as agent:
        await command(agent, "pull_model", "new:1b")
        snapshot = await until(agent, lambda snapshot: phases(snapshot) == {"new:1b": "failed"})
        assert (snapshot.pulls[0].problem, snapshot.pulls[0].hint) == ("no space left on device", "Free some space.")
        engine.steps = [PullProgress("success")]
        await pulled(agent, "new:1b")


async def test_a_running_download_ends_with_the_agent() -> None:
    engine = PullingEngine()
    engine.steps = [PullProgress("pulling aa", 1, 100), asyncio.Event()]
    async with small_agent(engine) as agent:
        await command(agent, "pull_model", "new:1b")
        await until(agent, lambda snapshot: any(pull.completed_bytes for pull in snapshot.pulls))
    assert engine.ended_pulls == 1


@pytest.mark.parametrize("name", ["", "  ", "two words", "x" * 300, "a\nb"])
async def test_what_is_no_name_is_not_asked_for(name: str) -> None:
    engine = PullingEngine()
    async with small_agent(engine) as agent:
        with pytest.raises(CommandError, match="no model's name"):
            await command(agent, "pull_model", name)
        assert engine.pulled == []


async def test_an_engine_that_downloads_nothing_says_how_a_model_is_added() -> None:
    async with small_agent(FakeEngine(name="openai")) as agent:
        with pytest.raises(CommandError) as refused:
            await command(agent, "pull_model", "new:1b")
        assert "Load a model in that server" in refused.value.hint


async def test_the_own_engine_gets_a_model_from_the_hub_and_only_that_is_deleted(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    tiny = selftest_model_path().read_bytes()
    (models / "mine.gguf").write_bytes(tiny)
    with FakeHub({"maker/Tiny-GGUF": {"Tiny-Q8_0.gguf": tiny}}) as hub:
        overrides: dict[str, Value] = {"models_dir": models, "hub_endpoint": hub.url}
        async with small_agent(EmbeddedEngine(models), overrides) as agent:
            with pytest.raises(CommandError, match="names no model on the hub"):
                await command(agent, "pull_model", "new:1b")
            await command(agent, "pull_model", "maker/Tiny-GGUF:Q8_0")
            done = await until(agent, lambda seen: phases(seen) == {"maker/Tiny-GGUF:Q8_0": "done"})
            assert {model.name for model in done.models} == {"mine", "Tiny-Q8_0"}
            assert done.pulled_models == ("Tiny-Q8_0",)
            assert done.offered_models == ()  # to have a model isn't to offer it
            with pytest.raises(CommandError, match="not downloaded by this program"):
                await command(agent, "delete_model", "mine")
            await command(agent, "delete_model", "Tiny-Q8_0")
    assert sorted(path.name for path in models.glob("*.gguf")) == ["mine.gguf"]


async def test_nothing_is_downloaded_over_a_network_that_costs() -> None:
    engine = PullingEngine()
    async with small_agent(engine) as agent:
        signals = agent.rules.signals
        assert isinstance(signals, FakeSignals)
        signals.current = replace(signals.current, is_metered=True)
        with pytest.raises(CommandError, match="costs by use"):
            await command(agent, "pull_model", "new:1b")
        assert engine.pulled == []


async def test_a_download_ends_once_the_network_costs_and_keeps_what_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.model_shelf.LOOK_AGAIN_S", 0.0)
    engine, gate = PullingEngine(), asyncio.Event()
    engine.steps.insert(2, gate)
    async with small_agent(engine) as agent:
        await command(agent, "pull_model", "new:1b")
        await until(agent, lambda snapshot: any(pull.completed_bytes for pull in snapshot.pulls))
        signals = agent.rules.signals
        assert isinstance(signals, FakeSignals)
        signals.current = replace(signals.current, is_metered=True)
        gate.set()
        ended = await until(agent, lambda snapshot: phases(snapshot) == {"new:1b": "failed"})
        assert "costs by use" in ended.pulls[0].problem
        assert ended.pulls[0].hint.endswith("What has come is kept.")
        assert engine.ended_pulls == 1


async def test_an_engines_download_that_does_not_fit_on_the_disk_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path))
    monkeypatch.setattr("core.pull_room.shutil.disk_usage", lambda _: SimpleNamespace(free=GB))
    engine = PullingEngine()
    engine.is_on_this_machine = True
    async with small_agent(engine) as agent:
        await command(agent, "pull_model", "new:1b")
        ended = await until(agent, lambda snapshot: phases(snapshot) == {"new:1b": "failed"})
        assert "are to come, and the disk" in ended.pulls[0].problem
        assert "new:1b" not in ended.pulled_models


async def test_the_disk_budget_holds_for_an_engines_downloads_too() -> None:
    engine = PullingEngine()
    async with small_agent(engine, {"models_disk_budget_gb": 1.0}) as agent:
        await command(agent, "pull_model", "new:1b")
        ended = await until(agent, lambda snapshot: phases(snapshot) == {"new:1b": "failed"})
        assert ended.pulls[0].problem.startswith("downloaded models may take 1.0 GB")


async def test_only_what_this_program_downloaded_can_be_deleted() -> None:
    engine = PullingEngine(models=("owners:latest",))
    async with small_agent(engine) as agent:
        with pytest.raises(CommandError, match="not downloaded by this program"):
            await command(agent, "delete_model", "owners:latest")
        await pulled(agent, "owners:latest")  # brought up to date: it stays the owner's
        with pytest.raises(CommandError, match="not downloaded by this program"):
            await command(agent, "delete_model", "owners:latest")
        await pulled(agent, "new:1b")
        await command(agent, "offer_model", "new:1b")
        outcome = await command(agent, "delete_model", "new:1b")
        assert outcome.message == "Deleted new:1b."
        assert engine.deleted == ["new:1b"]
        assert agent.store.current.pulled_models == ()
        assert "new:1b" not in load_settings({}).settings.supported_models


async def test_a_model_in_use_is_not_deleted() -> None:
    engine = PullingEngine()
    async with small_agent(engine) as agent:
        await pulled(agent, "new:1b")
        async with agent.models.serving("new:1b"):
            with pytest.raises(CommandError, match="a session uses"):
                await command(agent, "delete_model", "new:1b")
        assert engine.deleted == []


async def test_what_was_downloaded_is_remembered_over_a_restart() -> None:
    engine = PullingEngine()
    async with small_agent(engine) as agent:
        await pulled(agent, "new:1b")
    async with small_agent(engine) as agent:
        assert agent.store.current.pulled_models == ("new:1b",)


async def test_offer_and_withdraw_count_at_once_and_are_kept() -> None:
    async with small_agent(PullingEngine(models=("a:1", "b:1"))) as agent:
        change_settings({"supported_models": "a:1"}, {})
        await command(agent, "offer_model", "b:1")
        assert list(agent.store.current.offered_models) == ["b:1"]
        await command(agent, "offer_model", "a:1")
        assert list(agent.store.current.offered_models) == ["b:1", "a:1"]
        assert load_settings({}).settings.supported_models[-2:] == ("b:1", "a:1")
        assert (await command(agent, "offer_model", "b:1")).message == "b:1 is offered already."
        await command(agent, "withdraw_model", "b:1")
        assert list(agent.store.current.offered_models) == ["a:1"]
        with pytest.raises(CommandError, match="not offered"):
            await command(agent, "withdraw_model", "b:1")


async def test_withdrawing_the_last_model_offers_nothing_and_says_so() -> None:
    async with small_agent(PullingEngine()) as agent:
        await command(agent, "offer_model", "tiny:latest")
        for name in load_settings({}).settings.supported_models:
            await command(agent, "withdraw_model", name)
        assert agent.store.current.offered_models == ()
        assert "model_not_ready" in [reason.code for reason in agent.store.current.reasons]


async def test_the_self_test_model_is_not_offered_to_strangers() -> None:
    engine = PullingEngine()
    engine.models.append(EngineModel(name="noise", is_selftest=True))
    remote = {"coordinator_endpoint": "coordinator.example.com:50051", "public_host": "gpu.example.com"}
    async with small_agent(engine, {**remote, "listen_address": "127.0.0.1"}) as agent:
        with pytest.raises(CommandError, match="noise"):
            await command(agent, "offer_model", "noise")


async def test_a_model_that_the_engine_has_not_cannot_be_offered() -> None:
    async with small_agent(PullingEngine(models=("a,b",))) as agent:
        with pytest.raises(CommandError, match="has no model"):
            await command(agent, "offer_model", "ghost")
        with pytest.raises(CommandError, match="comma"):
            await command(agent, "offer_model", "a,b")


async def test_a_model_that_writes_no_text_cannot_be_offered() -> None:
    """The list of an old Ollama doesn't tell an embedding model of a chat model's family; /api/show does."""
    async with FakeOllama() as fake, small_agent(OllamaEngine(fake.url)) as agent:
        fake.capabilities = ["embedding"]
        with pytest.raises(CommandError, match="writes no text"):
            await command(agent, "offer_model", "tiny:latest")
        assert list(agent.store.current.offered_models) == []
        fake.capabilities = None
        await command(agent, "offer_model", "tiny:latest")
        assert list(agent.store.current.offered_models) == ["tiny:latest"]


async def test_what_the_environment_offers_is_not_changed_behind_its_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPPORTED_MODELS", "other")
    async with small_agent(PullingEngine()) as agent:
        with pytest.raises(ConfigError, match="environment SUPPORTED_MODELS"):
            await command(agent, "offer_model", "tiny:latest")
        assert not agent.paths.config_file.exists()


def test_a_damaged_list_is_set_aside_and_allows_no_deletion(tmp_path: Path) -> None:
    path = tmp_path / "pulled-models.json"
    for damaged in (b"{", b'{"models": 3}', b'{"models": [1]}', b"[]", b"\xff"):
        path.write_bytes(damaged)
        kept = PulledModels(path)
        kept.load()
        assert kept.names == ()
        assert not path.exists()
    kept.add("a:1")
    assert "A:1" in kept
    again = PulledModels(path)
    again.load()
    assert again.names == ("a:1",)
    again.remove("a:1")
    assert "a:1" not in again


def test_a_list_that_cannot_be_written_still_counts_now(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    kept = PulledModels(blocked / "pulled-models.json")
    with pytest.raises(StorageError):
        kept.add("a:1")
    assert "a:1" in kept


async def test_progress_sums_the_layers_and_measures_the_last_seconds() -> None:
    clock = ManualClock()
    progress = PullMeter(clock.monotonic)
    assert progress.take("pulling manifest", None, None)["total_bytes"] is None
    progress.take("pulling aa", 0, 1000)
    await clock.advance(2)
    seen = progress.take("pulling aa", 500, 1000)
    assert (seen["completed_bytes"], seen["total_bytes"], seen["bytes_per_second"]) == (500, 1000, 250)
    await clock.advance(2)
    seen = progress.take("pulling bb", None, 200)
    assert (seen["completed_bytes"], seen["total_bytes"]) == (500, 1200)


async def test_ollama_downloads_and_deletes() -> None:
    async with FakeOllama() as fake:
        engine = OllamaEngine(fake.url)
        async with small_agent(engine) as agent:
            fake.tags[0]["name"] = fake.tags[0]["model"] = "other:latest"
            await agent.keeper.refresh()
            await command(agent, "pull_model", "tiny:latest")
            done = await until(agent, lambda snapshot: bool(snapshot.pulls) and snapshot.pulls[0].phase != "running")
            assert phases(done) == {"tiny:latest": "done"}
            assert done.pulls[0].completed_bytes == done.pulls[0].total_bytes == 442815
            await engine.delete("other:latest")
            assert await engine.list_models() == ()
            await engine.delete("other:latest")  # gone already: no error
