"""What the sample of the machine says to the rules: memory, temperature, power, and whether a card is gone. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from core.signals import Unknown
from core.signals.gpu_use import no_card, serving_cards
from core.stats_collector import SystemStats, vram_totals_mb


def machine_signals(stats: SystemStats, own_pids: Collection[int], cpu_percent_others: float) -> dict[str, Any]:
    """The fields of `Signals` that come with each sample, as core/stats_collector.py took it: nothing is read twice.

    `cpu_percent_others` is smoothed (core/capacity.CpuOfOthers), and counts only where the sample has such a figure.
    """
    cards = serving_cards(stats.gpus, own_pids)
    absent = no_card(stats)
    total_vram_mb, free_vram_mb = vram_totals_mb(stats.gpus)
    heats = [card.temperature_c for card in cards if card.temperature_c is not None]
    powers = [card.power_w for card in cards if card.power_w is not None]
    no_ram = Unknown("This system doesn't tell how much RAM is free.")
    return {
        "gpu_temperature_c": max(heats) if heats else _untold(cards, absent, "how hot it is"),
        "gpu_power_w": sum(powers) if powers else _untold(cards, absent, "how much power it takes"),
        "is_gpu_lost": any(card.is_lost and card.is_lent for card in stats.gpus),
        "free_vram_mb": _untold(cards, absent, "its memory") if free_vram_mb is None else free_vram_mb,
        "total_vram_mb": _untold(cards, absent, "its memory") if total_vram_mb is None else total_vram_mb,
        "free_ram_mb": no_ram if stats.free_ram_mb is None else stats.free_ram_mb,
        "total_ram_mb": no_ram if stats.total_ram_mb is None else stats.total_ram_mb,
        "cpu_percent_others": (
            Unknown("This system doesn't tell how busy the processor is.")
            if stats.cpu_percent is None or stats.cpu_percent_ours is None
            else cpu_percent_others
        ),
    }


def _untold(cards: Collection[Any], absent: Unknown, what: str) -> Unknown:
    return Unknown(f"The graphics card doesn't tell {what}.") if cards else absent
