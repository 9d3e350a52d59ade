"""The memory that models really live in: cards by the driver's figures, reserves, unified memory, the processor."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from core.fit import Fit, judge, room_of, room_of_json
from core.gpu import GpuProcess, GpuSample
from core.hardware_facts import hardware_facts, is_unified, sentences
from core.memory_need import ollama_plan
from core.snapshot import AgentSnapshot, CapacityView, EngineView
from core.stats_collector import SystemStats
from tests.fakes.llama_8b import LLAMA_8B
from tests.fakes.nvml_double import NvmlDouble, build, find_compiler

CARD = GpuSample(
    uuid="GPU-a",
    name="RTX 3060",
    total_mb=12288,
    used_mb=6000,
    free_mb=6288,
    processes=(GpuProcess(pid=7, used_mb=4000, name="ollama"), GpuProcess(pid=8, used_mb=1500, name="game")),
)
STATS = SystemStats(total_ram_mb=32_000, free_ram_mb=20_000, total_vram_mb=12288, free_vram_mb=6288, gpus=(CARD,))


def test_card_says_what_is_free_what_others_hold_and_what_is_ours() -> None:
    facts = hardware_facts(STATS, own_pids=(7,), missing_cpu_features=("AVX2",))
    (card,) = facts["cards"]
    assert (card["own_mb"], card["others_mb"]) == (4000, 2000)
    assert (facts["vram_reserve_mb"], facts["ram_reserve_mb"]) == (1229, 3200)
    assert sentences(facts) == [
        "RTX 3060: 12.0 GB, 6.1 GB free, 2.0 GB held by other programs, 3.9 GB by our engine.",
        "Of the graphics memory 1.2 GB stays yours.",
        "RAM: 31.2 GB, 19.5 GB free, 3.1 GB stays yours.",
        "The processor lacks AVX2: the embedded engine can't run here, Ollama can.",
    ]


def test_owner_s_reserves_count_and_never_more_than_there_is() -> None:
    facts = hardware_facts(STATS, vram_reserve_mb=20_000, ram_reserve_mb=4000)
    assert (facts["vram_reserve_mb"], facts["ram_reserve_mb"]) == (12288, 4000)


def test_without_a_card_the_reason_is_told() -> None:
    facts = hardware_facts(SystemStats(gpu_problem="No NVIDIA driver."))
    assert sentences(facts) == ["No NVIDIA driver."]
    assert sentences(hardware_facts(SystemStats())) == ["No graphics card."]


def test_lost_card_is_left_out() -> None:
    assert hardware_facts(replace(STATS, gpus=(replace(CARD, is_lost=True),)))["cards"] == []


def test_layers_beside_unified_memory_have_nowhere_to_go() -> None:
    """On a Mac the RAM is the graphics memory: what doesn't fit there fits nowhere."""
    apple = replace(CARD, name="Apple M3", is_unified=True, processes=())
    stats = replace(STATS, gpus=(apple,))
    assert is_unified(stats)
    assert not is_unified(replace(STATS, gpus=(CARD, apple)))
    assert not is_unified(SystemStats())
    snapshot = AgentSnapshot(
        engine=EngineView(name="ollama"),
        capacity=CapacityView(kind="vram", total_mb=5000),
        machine=stats,
        load_plan=ollama_plan(context_tokens=4096),
    )
    assert judge(4_900_000_000, room_of(snapshot), LLAMA_8B).fit is Fit.TOO_BIG
    with_card = replace(snapshot, machine=STATS)
    assert judge(4_900_000_000, room_of(with_card), LLAMA_8B).fit is Fit.PARTLY
    for each in (snapshot, with_card):
        assert room_of_json(json.loads(each.to_json())) == room_of(each)


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler (gcc, cc, clang) to build the NVML double")
def test_tiers_of_cards_as_the_driver_tells_them(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    found = NvmlDouble(build(tmp_path), tmp_path / "run").run("tiers")
    assert {size: seen["tier"] for size, seen in found.items()} == {
        "4": "Emergency",  # 3.5 GB are free: the desktop holds the rest
        "6": "Good",
        "8": "High",
        "12": "Premium",
        "24": "Premium",
        "8+8": "Premium",
    }
    assert found["8"]["reason"] == "7.5 GB of VRAM for models: the engine uses the graphics card."
    assert {size: seen["lent_mb"] for size, seen in found.items()} == {
        "4": 3072,
        "6": 5120,
        "8": 7168,
        "12": 11059,
        "24": 22107,
        "8+8": 14745,
    }
    part, whole = "partly on the graphics card", "fits"
    assert {size: list(seen["fits"].values()) for size, seen in found.items()} == {  # Q8_0, Q4_K_M, Q2_K, F16
        "4": [part, part, part, "too big"],
        "6": [part, part, part, "too big"],
        "8": [part, whole, whole, "too big"],
        "12": [whole, whole, whole, part],
        "24": [whole, whole, whole, whole],
        "8+8": [whole, whole, whole, part],
    }
    assert len(found["8+8"]["hardware"]["cards"]) == 2
    assert found["8+8"]["hardware"]["cards"][0]["others_mb"] == 500
