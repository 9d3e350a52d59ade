"""The owner comes first, through the whole agent: memory that comes back, and an engine that the owner uses too."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from core.agent import Agent
from core.config_load import load_settings
from core.paths import profile_paths
from core.rules.effects import DEFAULT_EFFECTS
from tests.fakes.agent_process import AgentProcess, run_titan
from tests.fakes.fake_ollama import FakeOllama, tag
from tests.fakes.faulty_coordinator import FaultyCoordinator
from tests.fakes.nvml_double import LIBRARY_NAME, build, find_compiler
from tests.fakes.polling import until
from tests.integration.client import OK, client_of, token_of
from tests.integration.running import ID, embedded_agent
from tests.integration.settings import MODEL, TINY, ollama


async def test_memory_that_is_taken_back_is_measured_shown_and_remembered(home: Path) -> None:
    async with embedded_agent(home) as (coordinator, agent):
        async with (
            client_of(agent.endpoint) as client,
            client.streaming(token_of(coordinator, ID, MODEL), max_tokens=1500),
        ):
            (child,) = agent.children()
            child.suspend()  # so that its answer is not over before it is taken back
            message, result = await agent.command("take_back")
        assert not child.is_running()
        assert "stopped 1 session, unloaded titan-selftest-random." in message
        assert " back in " in message
        snapshot = await agent.wait_snapshot(lambda snapshot: snapshot["give_back"] is not None)
        last = snapshot["give_back"]["last"]
        assert (last["ok"], last["kind"], last["holder"]) == (True, "ram", "")
        assert result["freed_mb"] == last["freed_mb"] >= 0.9 * last["held_mb"] > 0
        assert snapshot["loaded_models"] == []
        code, out, err = await run_titan(agent.home, "status", "--profile", ID)
        assert code == 0, err
        assert f"Given back   {snapshot['give_back']['sentence']}" in out

        await agent.command("resume")
        snapshot = await agent.wait_snapshot(lambda snapshot: snapshot["state"] == "ready")
        assert [model["name"] for model in snapshot["loaded_models"]] == [MODEL]
        await agent.command("pause")
        await agent.wait_snapshot(lambda snapshot: snapshot["give_back"]["count"] == 2)
        assert await agent.stop() == 0  # it may still be writing

    paths = profile_paths(ID, environ={"TITAN_HOME": str(home)})
    assert len(json.loads((paths.state_dir / "give-back.json").read_text())) == 2


async def test_a_pause_also_ends_the_load_that_a_session_had_begun(home: Path) -> None:
    async with embedded_agent(home) as (coordinator, agent), client_of(agent.endpoint) as client:
        asking = asyncio.create_task(client.ask(token_of(coordinator, ID, MODEL)))
        await until(lambda: any(_is_itself(child, agent) for child in agent.children()), every_s=0.001)
        (child,) = agent.children()
        if sys.platform == "linux":  # a crash of either leaves no prompt on the disk
            for process in (child, psutil.Process(agent.process.pid)):
                assert process.rlimit(psutil.RLIMIT_CORE)[0] <= 1
        with contextlib.suppress(psutil.NoSuchProcess):
            child.suspend()  # so that its load is not over before the pause
        await agent.command("pause", mode="stop")
        assert (await asking).details == "the owner of this machine took it back"
        await until(lambda: not agent.children())
        snapshot = await agent.snapshot()
        assert (snapshot["state"], snapshot["loaded_models"]) == ("paused", [])


def _is_itself(child: psutil.Process, agent: AgentProcess) -> bool:
    """Whether a child runs its own program. Stopped before that it would hold up its parent, which waits for it."""
    with contextlib.suppress(psutil.Error):
        return child.cmdline() not in ([], psutil.Process(agent.process.pid).cmdline())
    return False


CARD = "card uuid=GPU-a name=Double_4090 total=24564 used={used} reserved=400 util=0 temp=51 power=80500 procs={procs}"


@asynccontextmanager
async def card_of(engine: FakeOllama, folder: Path, taker: int = 1) -> AsyncIterator[dict[str, str]]:
    """A graphics card whose memory is what this Ollama has loaded; the environment in which an agent sees it.

    While the folder has a file "taken", the process `taker` takes at once what the model leaves.
    """
    (folder / LIBRARY_NAME).symlink_to(build(folder.parent))
    state = folder / "state"

    async def follow() -> None:
        shown = ""
        while True:
            held = len(engine.loaded) * (engine.size_vram >> 20)
            taken = (engine.size_vram >> 20) - held if (folder / "taken").exists() else 0
            line = CARD.format(used=1000 + held + taken, procs=f"g:{taker}:{100 + taken}")
            if line != shown:
                fresh = state.with_name("state.new")
                fresh.write_text(f"{line}\n")
                fresh.replace(state)
                shown = line
            await asyncio.sleep(0.02)

    following = asyncio.create_task(follow())
    await until(state.exists)
    yield {"LD_LIBRARY_PATH": str(folder), "NVML_DOUBLE_STATE": str(state)}
    following.cancel()
    await asyncio.wait([following])


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler to build the NVML double")
async def test_graphics_memory_is_measured_on_the_card_and_who_keeps_it_is_named(home: Path, tmp_path: Path) -> None:
    (tmp_path / "driver").mkdir()
    async with (
        FaultyCoordinator() as coordinator,
        FakeOllama() as engine,
        card_of(engine, tmp_path / "driver") as card,
    ):
        engine.size = engine.size_vram = 4000 << 20
        state = Path(card["NVML_DOUBLE_STATE"])
        settings = {"COORDINATOR_ENDPOINT": coordinator.endpoint, "AGENT_ID": ID, **card}
        async with AgentProcess(home, **ollama(engine.url, **settings)) as agent:
            await agent.wait_state("ready")
            async with client_of(agent.endpoint) as client:
                assert (await client.ask(token_of(coordinator, ID, TINY))).code is OK
            await until(lambda: "used=5000" in state.read_text())
            message, _ = await agent.command("take_back")
            assert "unloaded tiny:latest. 3.9 GB back in " in message
            await agent.command("resume")
            await agent.wait_state("ready")
            assert list(engine.loaded) == ["tiny:latest"]

            engine.stays_loaded = True
            await until(lambda: "used=5000" in state.read_text())
            message, _ = await agent.command("take_back")
            assert "Only 0 MB of 3.9 GB back after " in message
            assert "Ollama still holds the rest" in message
            snapshot = await agent.wait_snapshot(lambda snapshot: not snapshot["give_back"]["last"]["ok"])
            assert (snapshot["give_back"]["last"]["kind"], snapshot["give_back"]["count"]) == ("vram", 1)


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler to build the NVML double")
async def test_program_that_takes_the_cards_memory_at_once_is_named_in_red(home: Path, tmp_path: Path) -> None:
    """Which is what happens when a game starts in that second; the engine's processes are not told here."""
    folder = tmp_path / "driver"
    folder.mkdir()
    game = await asyncio.create_subprocess_exec("sleep", "300")
    try:
        async with (
            FaultyCoordinator() as coordinator,
            FakeOllama() as engine,
            card_of(engine, folder, game.pid) as card,
        ):
            engine.size = engine.size_vram = 4000 << 20
            settings = {"COORDINATOR_ENDPOINT": coordinator.endpoint, "AGENT_ID": ID, **card}
            async with AgentProcess(home, **ollama(engine.url, **settings)) as agent:
                await agent.wait_state("ready")
                async with client_of(agent.endpoint) as client:
                    assert (await client.ask(token_of(coordinator, ID, TINY))).code is OK
                await until(lambda: "used=5000" in (folder / "state").read_text())
                (folder / "taken").touch()
                message, _ = await agent.command("take_back")
                sentence = "Only 0 MB of 3.9 GB back after 5 s; sleep still holds the rest"
                assert sentence in message
                code, out, err = await run_titan(agent.home, "status", "--profile", ID, COLUMNS="120", FORCE_COLOR="1")
                assert code == 0, err
                assert re.search(rf"\x1b\[(1;)?31m[^\x1b]*{sentence}", out), out
    finally:
        game.kill()
        await game.wait()


@pytest.mark.parametrize("loads", ["other:latest", "tiny:latest"])
async def test_owner_who_uses_the_shared_ollama_is_made_way_for(
    home: Path, monkeypatch: pytest.MonkeyPatch, loads: str
) -> None:
    """Whichever model it is: the one that we offer isn't ours to unload either."""
    monkeypatch.setattr("core.engine_keeper.WATCH_INTERVAL_S", 0.05)
    for pace in ("SAMPLE_INTERVAL_S", "CALM_INTERVAL_S"):
        monkeypatch.setattr(f"core.parts.sampling.{pace}", 0.05)
    async with FakeOllama() as engine:
        engine.tags.append(tag("other:latest"))
        effect = {"TITAN_ENGINE_USED_BY_OWNER_EFFECT": DEFAULT_EFFECTS["engine_used_by_owner"]}
        async with Agent(load_settings(environ=ollama(engine.url, AGENT_ID=ID, **effect))) as agent:
            assert not agent.reasons.is_blocked
            engine.owner_uses(loads)
            await until(lambda: "engine_used_by_owner" in agent.reasons)
            reason = next(reason for reason in agent.reasons.all if reason.code == "engine_used_by_owner")
            assert loads in reason.sentence
            assert reason.blocks
            await until(lambda: agent.rules.keeper.wants_unload)
            assert list(engine.loaded) == [loads]
            assert engine.bodies("/api/generate") == []  # it was neither unloaded nor given another keep_alive
            engine.loaded.clear()
            await until(lambda: agent.keeper.owner_use == "")
