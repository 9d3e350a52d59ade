"""The tier table at its edges, the memory that decides, and the seed's calls."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.host_meter import CpuReading, RamReading
from core.quantization import TIERS, GGUFQuantizationManager, Tier, row_for, tier_for
from core.stats_collector import SystemStats


class FakeHost:
    def __init__(self, ram: RamReading | None) -> None:
        self._ram = ram

    def ram(self) -> RamReading | None:
        return self._ram

    def cpu(self) -> CpuReading | None:
        return None


def test_table_is_the_documented_one() -> None:
    assert [(row.memory, str(row.tier), row.quantizations, row.quality) for row in TIERS] == [
        ("8GB+", "Premium", ("Q8_0", "Q6_K_L", "Q6_K"), "Near-original"),
        ("6-8GB", "High", ("Q5_K_M", "Q4_K_M", "Q4_K_S"), "Balanced"),
        ("4-6GB", "Good", ("IQ4_XS", "Q3_K_L", "IQ3_M"), "Efficient"),
        ("<4GB", "Emergency", ("Q2_K", "IQ2_M"), "Minimal"),
    ]


@pytest.mark.parametrize(
    ("memory_mb", "tier"),
    [
        (0, Tier.EMERGENCY),
        (4095, Tier.EMERGENCY),
        (4095.99, Tier.EMERGENCY),
        (4096, Tier.GOOD),
        (6143, Tier.GOOD),
        (6144, Tier.HIGH),
        (8191, Tier.HIGH),
        (8192, Tier.PREMIUM),
        (10**9, Tier.PREMIUM),
    ],
)
def test_tier_boundaries(memory_mb: float, tier: Tier) -> None:
    assert row_for(memory_mb).tier is tier
    assert GGUFQuantizationManager().determine_optimal_tier(memory_mb) is tier


def test_negative_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="-1 MiB"):
        row_for(-1)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_more_memory_never_gives_a_lower_tier(one: int, other: int) -> None:
    less, more = sorted((one, other))
    assert row_for(less).from_mb <= row_for(more).from_mb


def test_tier_prints_as_its_name() -> None:
    assert f"Recommended tier: {GGUFQuantizationManager().determine_optimal_tier(7000)}" == "Recommended tier: High"


def test_seeds_memory_call_gives_total_and_available_ram() -> None:
    host = FakeHost(RamReading(total_mb=16000, available_mb=9000))
    assert GGUFQuantizationManager(host).get_system_memory_info() == (16000, 9000)
    assert GGUFQuantizationManager(FakeHost(None)).get_system_memory_info() == (0, 0)


def test_seeds_memory_call_works_on_this_machine() -> None:
    total_mb, available_mb = GGUFQuantizationManager().get_system_memory_info()
    assert 0 < available_mb <= total_mb


STATS = SystemStats(total_ram_mb=64000, free_ram_mb=50000, total_vram_mb=8000, free_vram_mb=5000)


def test_engine_on_the_card_takes_its_tier_from_vram_not_from_ram() -> None:
    choice = tier_for(STATS, engine_uses_gpu=True)
    assert (choice.tier, choice.memory_mb) == (Tier.GOOD, 5000)
    assert "VRAM" in choice.reason
    assert choice.row.quality == "Efficient"


def test_engine_on_the_processor_takes_its_tier_from_ram() -> None:
    choice = tier_for(STATS, engine_uses_gpu=False)
    assert (choice.tier, choice.memory_mb) == (Tier.PREMIUM, 50000)
    assert "RAM" in choice.reason
    assert "VRAM" not in choice.reason


def test_memory_of_our_own_model_counts_as_free_up_to_the_total() -> None:
    assert tier_for(STATS, engine_uses_gpu=True, own_mb=1200).tier is Tier.HIGH
    assert tier_for(STATS, engine_uses_gpu=True, own_mb=99999).memory_mb == 8000


def test_unmeasured_memory_gives_the_lowest_tier_and_says_why() -> None:
    choice = tier_for(SystemStats(gpu_problem="The driver is away."), engine_uses_gpu=True)
    assert (choice.tier, choice.memory_mb) == (Tier.EMERGENCY, None)
    assert "can't be measured" in choice.reason
    assert "The driver is away." in choice.reason
