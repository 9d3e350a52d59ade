"""What memory and processor this machine really has for models, card by card. Pure: a sample in, plain facts out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from core.capacity import automatic_reserve_mb
from core.gpu import GpuSample
from core.sizes import memory_text
from core.stats_collector import SystemStats


def hardware_facts(
    stats: SystemStats,
    *,
    own_pids: Collection[int] = (),
    vram_reserve_mb: int = 0,
    ram_reserve_mb: int = 0,
    missing_cpu_features: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Figures in MiB; None means "not measured". `own_pids` are the engine's; a reserve of 0 is the automatic one."""
    ram = stats.total_ram_mb
    return {
        "cards": [_card(card, own_pids) for card in stats.gpus if not card.is_lost],
        "vram_reserve_mb": _reserve(stats.total_vram_mb, vram_reserve_mb),
        "is_unified": is_unified(stats),
        "ram_total_mb": ram,
        "ram_free_mb": stats.free_ram_mb,
        "ram_reserve_mb": _reserve(ram, ram_reserve_mb),
        "missing_cpu_features": list(missing_cpu_features),
        "gpu_problem": stats.gpu_problem,
    }


def is_unified(stats: SystemStats) -> bool:
    """Whether the graphics memory is the system's RAM: what models take of one is gone from the other."""
    return bool(stats.gpus) and all(card.is_unified for card in stats.gpus)


def sentences(facts: Mapping[str, Any]) -> list[str]:
    """The same for people, one line for each part."""
    lines = [_card_sentence(card) for card in facts["cards"]]
    if facts["cards"] and facts["vram_reserve_mb"] is not None:
        lines.append(f"Of the graphics memory {memory_text(facts['vram_reserve_mb'])} stays yours.")
    if not facts["cards"]:
        lines.append(facts["gpu_problem"] or "No graphics card.")
    if facts["ram_total_mb"] is not None:
        lines.append(
            f"RAM: {memory_text(facts['ram_total_mb'])}, {memory_text(facts['ram_free_mb'])} free, "
            f"{memory_text(facts['ram_reserve_mb'])} stays yours."
        )
    if facts["missing_cpu_features"]:
        missing = ", ".join(facts["missing_cpu_features"])
        lines.append(f"The processor lacks {missing}: the embedded engine can't run here, Ollama can.")
    return lines


def _card(card: GpuSample, own_pids: Collection[int]) -> dict[str, Any]:
    own_mb = sum(process.used_mb or 0 for process in card.processes if process.pid in own_pids)
    return {
        "uuid": card.uuid,
        "name": card.name,
        "total_mb": card.total_mb,
        "free_mb": card.free_mb,
        "own_mb": own_mb,
        "others_mb": None if card.used_mb is None else max(0, card.used_mb - own_mb),
        "is_unified": card.is_unified,
        "kept_because": card.kept_because,
    }


def _card_sentence(card: Mapping[str, Any]) -> str:
    parts = [f"{card['name']}: {memory_text(card['total_mb'])}", f"{memory_text(card['free_mb'])} free"]
    if card["others_mb"]:
        parts.append(f"{memory_text(card['others_mb'])} held by other programs")
    if card["own_mb"]:
        parts.append(f"{memory_text(card['own_mb'])} by our engine")
    if card["is_unified"]:
        parts.append("shared with the RAM")
    if card["kept_because"]:
        parts.append(f"kept for you: {card['kept_because']}")
    return f"{', '.join(parts)}."


def _reserve(total_mb: int | None, setting_mb: int) -> int | None:
    return None if total_mb is None else min(total_mb, setting_mb or automatic_reserve_mb(total_mb))
