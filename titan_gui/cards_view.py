"""Graphics cards as boxes to tick, and the setting behind them. Pure: tested without Qt."""

from __future__ import annotations

from collections.abc import Sequence

from core.gpu import GpuSample
from core.gpu.lending import DRIVES_DISPLAY
from titan_gui.view_model import memory_text


def card_text(card: GpuSample) -> str:
    """ "RTX 4090 · 24.0 GB · shows your desktop"."""
    parts = [card.name, memory_text(card.total_mb) if card.total_mb is not None else ""]
    if card.is_lost:
        parts.append("gone now")
    elif card.has_monitor or card.kept_because == DRIVES_DISPLAY:
        parts.append("shows your desktop")
    return " · ".join(filter(None, parts))


def is_ticked(card: GpuSample, text: str) -> bool:
    """Whether the setting's text lends the card; without a text, the agent has chosen."""
    wanted = _names(text)
    return _is_named(card, wanted) if wanted else card.is_lent


def with_card(cards: Sequence[GpuSample], text: str, uuid: str, is_on: bool) -> str:
    """The setting's text once a card is ticked or not; what it names of cards that aren't here stays."""
    absent = [name for name in _names(text) if not any(_is_named(card, [name]) for card in cards)]
    ticked = [card.uuid for card in cards if (is_on if card.uuid == uuid else is_ticked(card, text))]
    return ",".join((*ticked, *absent))


def _names(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip())]


def _is_named(card: GpuSample, names: Sequence[str]) -> bool:
    return any(name.lower() in (card.uuid.lower(), card.name.lower()) for name in names)
