"""Two graphics cards under the real program: which one counts, a change of the owner's mind, and a card that goes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from core.rules.effects import DEFAULT_EFFECTS
from tests.fakes.agent_process import run_titan
from tests.fakes.faulty_coordinator import FaultyCoordinator
from tests.fakes.nvml_double import build, find_compiler
from tests.fakes.polling import until
from tests.integration.client import client_of, token_of, within
from tests.integration.running import ID, ollama_agent
from tests.integration.settings import OFTEN, TINY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_compiler() is None, reason="no C compiler to build the NVML double"),
]
BIG = "card uuid=GPU-a name=RTX_4090 total=24564 used=500 temp=51 power=80500"
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
SHOWN = "card uuid=GPU-b name=RTX_3060 total=12288 used=2000 temp=70 power=30000 monitor=1 display=1"


def show(state: Path, *cards: str) -> None:
    fresh = state.with_name("state.new")
    fresh.write_text("".join(f"{card}\n" for card in cards), encoding="ascii")
    fresh.replace(state)


async def test_only_lent_cards_count_and_the_owner_can_lend_another_one(home: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    show(state, BIG, SHOWN)
    library = await asyncio.to_thread(build, tmp_path)
    environ = {
        **OFTEN,
        "LD_LIBRARY_PATH": str(library.parent),
        "NVML_DOUBLE_STATE": str(state),
        "TITAN_GPU_LOST_EFFECT": DEFAULT_EFFECTS["gpu_lost"],
    }
    async with ollama_agent(home, **environ) as (coordinator, _, agent):
        seen = await agent.wait_snapshot(lambda snapshot: snapshot["capacity"]["kind"] == "vram")
        assert seen["capacity"]["total_mb"] == 24564 - 2457  # a tenth of the lent card stays the owner's
        assert seen["machine"]["gpu_temperature"] == 51.0
        assert [card["kept_because"] for card in seen["machine"]["gpus"]] == ["", "it drives the display"]
        code, out, err = await run_titan(agent.home, "status", "--profile", ID)
        assert code == 0, err
        words = " ".join(out.split())
        assert "RTX 4090: lent, 24,064 MB of 24,564 MB free, 51 °C" in words
        assert "RTX 3060: kept for you, it drives the display" in words

        code, out, err = await run_titan(agent.home, "config", "set", "gpus", "rtx 3060", "--profile", ID)
        assert code == 0, err
        await agent.command("apply_settings")
        seen = await agent.wait_snapshot(lambda snapshot: snapshot["capacity"]["total_mb"] == 12288 - 1229)
        assert seen["machine"]["gpu_temperature"] == 70.0
        await told(coordinator, 12288 - 1229)

        show(state, f"{BIG} lost=1", SHOWN)  # the kept one: nobody's business
        await agent.wait_snapshot(lambda snapshot: any(card["is_lost"] for card in snapshot["machine"]["gpus"]))
        assert (await agent.snapshot())["state"] == "ready"
        show(state, f"{BIG} lost=1", f"{SHOWN} lost=1")
        seen = await agent.wait_snapshot(lambda snapshot: snapshot["state"] == "paused")
        assert seen["reasons"][0]["code"] == "gpu_lost"
        assert await agent.stop() == 0


async def test_card_that_is_pulled_out_while_it_serves_ends_the_session_and_nobody_is_let_in(
    home: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    show(state, BIG)
    library = await asyncio.to_thread(build, tmp_path)
    environ = {
        **OFTEN,
        "LD_LIBRARY_PATH": str(library.parent),
        "NVML_DOUBLE_STATE": str(state),
        "TITAN_GPU_LOST_EFFECT": DEFAULT_EFFECTS["gpu_lost"],
    }
    async with ollama_agent(home, **environ) as (coordinator, engine, agent), client_of(agent.endpoint) as client:
        engine.size_vram = engine.size
        engine.pace()
        engine.let_through(2)
        async with client.streaming(token_of(coordinator, ID, TINY)) as (answer, asking):
            show(state, f"{BIG} lost=1")
            await within(asking)
            assert answer.code is UNAVAILABLE
        await agent.wait_snapshot(lambda snapshot: [r["code"] for r in snapshot["reasons"]] == ["gpu_lost"])
        await until(lambda: not engine.loaded)
        refused = await client.ask(token_of(coordinator, ID, TINY))
        assert refused.code is UNAVAILABLE
        assert refused.pieces == []
        seen = await agent.snapshot()
        assert seen["capacity"]["free_mb"] == 0
        assert seen["give_back"] is None  # nobody can measure it, so nobody is said to hold it
        assert await agent.stop() == 0


async def told(coordinator: FaultyCoordinator, total_mb: int) -> None:
    """The coordinator has heard it in a registration."""
    async with asyncio.timeout(20):
        while coordinator.registrations[-1].total_vram_mb != total_mb:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)
