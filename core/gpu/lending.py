"""Which graphics cards the owner lends: those of the setting, else all but the one that drives the display.

Nothing here keeps an engine from a card: Ollama and other servers choose by themselves. What isn't lent counts for
nothing that is reported, and for no rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from core.gpu import MIN_USEFUL_VRAM_MB, GpuSample

DRIVES_DISPLAY = "it drives the display"
NOT_LISTED = "it is not among those that you lend"


class CardLending:
    """Marks each sample's cards. Remembers which one drives the display: a monitor that sleeps may look unplugged."""

    def __init__(self, wanted: Callable[[], Sequence[str]] = tuple) -> None:
        """`wanted` gives the owner's list, UUIDs or names; empty: automatic."""
        self._wanted = wanted
        self._display = ""  # the uuid of the card that was last seen with it
        self.problem = ""  # why no card is lent although there is one, one sentence

    def mark(self, cards: Iterable[GpuSample]) -> tuple[GpuSample, ...]:
        """The same cards, each with the reason why it is kept, "" for those that are lent."""
        cards = tuple(cards)
        wanted = [name.strip().lower() for name in self._wanted()]
        self._look_for_display(cards)
        marked = tuple(replace(card, kept_because=self._why_kept(card, cards, wanted)) for card in cards)
        self.problem = ""
        if cards and not any(card.is_lent for card in marked):
            self.problem = f"None of the graphics cards that you lend is here: {', '.join(self._wanted())}."
        return marked

    def _why_kept(self, card: GpuSample, cards: Sequence[GpuSample], wanted: Sequence[str]) -> str:
        if wanted:
            return "" if card.uuid.lower() in wanted or card.name.lower() in wanted else NOT_LISTED
        if card.uuid != self._display or card.is_unified:
            return ""
        return DRIVES_DISPLAY if any(_is_useful(other) for other in cards if other is not card) else ""

    def _look_for_display(self, cards: Sequence[GpuSample]) -> None:
        """A monitor tells it; without any, a desktop that is drawn all the same (a remote one)."""
        own = [card for card in cards if not card.is_unified and not card.is_lost]
        with_monitor = [card.uuid for card in own if card.has_monitor]
        if with_monitor:
            if self._display not in with_monitor:
                self._display = with_monitor[0]
        elif not self._display:
            self._display = next((card.uuid for card in own if card.is_display_active), "")


def _is_useful(card: GpuSample) -> bool:
    """Whether models could live on it. A lost one counts: it may come back."""
    return card.is_lost or (not card.is_unified and (card.total_mb or 0) >= MIN_USEFUL_VRAM_MB)
