"""What an owner should know whose graphics card does nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from core.capacity import MIN_USEFUL_VRAM_MB

REMEDY = "Install Ollama (ollama.com), which uses it; engine auto or ollama then takes it."


def unused_card(engine: str, device: str, cards: Iterable[tuple[str, int | None]]) -> str:
    """One sentence when the engine leaves a card idle, "" otherwise. `cards`: name, and own memory in MiB.

    `device` is what the engine says that it computes on, "" before its first model: the embedded engine is built for
    the processor (on Apple's machines its memory is the card's, which is none of its own).
    """
    if engine != "embedded" or (device and not device.startswith("CPU")):
        return ""
    name, total_mb = max(((name, total_mb or 0) for name, total_mb in cards), key=lambda card: card[1], default=("", 0))
    if total_mb < MIN_USEFUL_VRAM_MB:
        return ""
    return f"The graphics card {name} ({total_mb:,} MB) is not used: the embedded engine runs on the processor."


def used_kept_card(engine: str, names: Sequence[str]) -> str:
    """What to do about an engine that uses cards which the owner keeps, "" without any: it chooses by itself."""
    if not names:
        return ""
    program = "Ollama" if engine == "ollama" else "The engine"
    return (
        f"{program} uses a graphics card that you keep: {', '.join(names)}. It chooses by itself; "
        "to change that, start it with CUDA_VISIBLE_DEVICES naming the others."
    )
