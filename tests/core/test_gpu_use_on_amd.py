"""A game on an AMD card, through a real agent: found by its name in a made-up /proc while a session runs beside it."""

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
from core.errors import SessionEnded
from core.gpu.amd_sysfs import AmdSysfsProbe
from core.gpu.drm_programs import DrmPrograms
from core.inference import InferenceCall
from core.rules.effects import DEFAULT_EFFECTS
from core.signals import Signals
from core.signals.guard import ProbeThreads, guard_probe
from core.signals.watch import INTERVALS_S, SignalWatch
from core.stats_collector import StatsCollector
from core.token_signer import TokenSigner
from tests.core.test_gpu_amd import GIB, add_card
from tests.fakes.fake_engine import FakeEngine, pieces_of
from tests.fakes.polling import until
from tests.fakes.proc_tree import AMD, ProcTree, amdgpu

MODEL = "tiny:latest"
SETTINGS: dict[str, Value] = {
    "supported_models": (MODEL,),
    "agent_id": "agent-1",
    "agent_port": 0,
    "engine": "ollama",
    "gpu_others_for_s": 1.0,
    **{f"{code}_effect": "off" for code in DEFAULT_EFFECTS if code != "gpu_in_use"},
    "gpu_in_use_effect": "stop after 0.1 s, unload",
}


async def play(tree: ProcTree) -> None:
    """Half of the card's time, by a counter that goes on while the game runs."""
    began = time.monotonic()
    while True:
        tree.show(70, 5, amdgpu(11, int((time.monotonic() - began) * 5e8)))
        await asyncio.sleep(0.05)


async def test_game_is_found_by_name_while_a_session_uses_the_card_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TITAN_HOME", str(tmp_path / "home"))
    for pace in ("SAMPLE_INTERVAL_S", "CALM_INTERVAL_S"):
        monkeypatch.setattr(f"core.parts.sampling.{pace}", 0.2)
    monkeypatch.setitem(INTERVALS_S, "gpu_programs", 0.5)
    tree = ProcTree(tmp_path)
    tree.add_card(1, "amdgpu", AMD)
    tree.add_program(70, "Shadow of the T", command="/games/Shadow of the Tomb Raider")
    tree.open_card(70, 5, amdgpu(11, 0))
    card = add_card(tmp_path / "drm", "card1", mem_info_vram_total=24 * GIB, mem_info_vram_used=GIB, gpu_busy_percent=0)
    threads = ProbeThreads()

    def watch(on_change: Callable[[Signals], None]) -> SignalWatch:
        probe = DrmPrograms(proc=tree.proc, sys_root=tree.sys, owner_of=tree.owner_of, own_uid=1000)
        return SignalWatch(on_change, readers=[guard_probe(probe, threads, "The list of programs")])

    engine = FakeEngine([*pieces_of("a"), asyncio.Event()], models=(MODEL,))
    agent = Agent(
        identified(load_settings(overrides=SETTINGS)),
        factories={"ollama": lambda: engine},
        stats=StatsCollector(probe=AmdSysfsProbe(root=tmp_path / "drm")),
        open_signals=watch,
    )
    async with agent:
        session = asyncio.create_task(serve(agent))
        await engine.wait_open(1)
        (card / "gpu_busy_percent").write_text("99\n")  # ours and the game's together
        playing = asyncio.create_task(play(tree))
        with pytest.raises(SessionEnded):
            await asyncio.wait_for(session, 15)
        (reason,) = (reason for reason in agent.reasons.all if reason.code == "gpu_in_use")
        assert reason.sentence == "Shadow of the Tomb Raider uses the graphics card (above 20 %)."
        await until(lambda: engine.loaded == [])
        playing.cancel()
        await asyncio.wait([playing])
    threads.close()


async def serve(agent: Agent) -> None:
    async def take(text: str) -> None:
        pass

    signer = await TokenSigner.generate()
    agent.keys.adopt(signer.public_key_pem)
    token = signer.issue(agent_id="agent-1", model=MODEL)
    assert agent.public.service is not None
    await agent.public.service.serve(InferenceCall(session_token=token, prompt="hello"), take)
