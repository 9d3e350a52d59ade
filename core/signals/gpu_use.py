"""How much of the serving graphics cards other programs use, and which one is the busiest. Pure.

Where the driver tells the use of each program, it is everybody's but ours. Where it doesn't, or can't tell our engine's
part (inside a container it shows other pids), nobody knows while our engine computes; between two sessions the card's
own figure is the others'.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable

from core.capacity import MIN_USEFUL_VRAM_MB
from core.gpu import GpuSample
from core.signals import GpuUse, Unknown
from core.stats_collector import SystemStats

# After our engine's last work: a card's figure covers up to a second before it was asked for (nvmlUtilization_t).
SETTLE_S = 2.0
# A driver that splits nothing, but doesn't say so: the card is busier than this, and nobody is said to use it.
_UNEXPLAINED_PERCENT = 10.0
_NO_CARD = Unknown("No graphics card can be read.")
_NO_FIGURE = Unknown("The graphics driver doesn't tell how busy the card is.")
_NOT_SPLIT = Unknown("While a session runs, the graphics driver can't tell our part of the card's use from others'.")


class GpuUseByOthers:
    """Fed with every sample of the machine; the answer is what others use now."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._computed_at = float("-inf")

    def note_own_work(self) -> None:
        """Our engine is at work on a card, or was until now, be it for a session or to load a model."""
        self._computed_at = self._clock()

    def read(self, stats: SystemStats, own_pids: Collection[int]) -> GpuUse | Unknown:
        is_quiet = self._clock() - self._computed_at >= SETTLE_S
        cards = serving_cards(stats.gpus, own_pids)
        if not cards:
            return Unknown(stats.gpu_problem) if stats.gpu_problem else _NO_CARD
        uses = [_use_of(card, own_pids, is_quiet=is_quiet) for card in cards]
        known = [use for use in uses if isinstance(use, GpuUse)]
        unknown = [use for use in uses if isinstance(use, Unknown)]
        busiest = max(known, key=lambda use: use.percent, default=None)
        return unknown[0] if unknown or busiest is None else busiest


def serving_cards(cards: Iterable[GpuSample], own_pids: Collection[int]) -> tuple[GpuSample, ...]:
    """Of the cards that are lent, those that our engine uses where that is known; else every real one, not the one
    inside the processor.
    """
    present = tuple(card for card in cards if not card.is_lost and card.is_lent)
    used = tuple(card for card in present if any(process.pid in own_pids for process in card.processes))
    real = tuple(card for card in present if not card.is_unified and (card.total_mb or 0) >= MIN_USEFUL_VRAM_MB)
    return used or real or present


def _use_of(card: GpuSample, own_pids: Collection[int], *, is_quiet: bool) -> GpuUse | Unknown:
    told = [process for process in card.processes if process.utilisation_percent is not None]
    all_told = sum(process.utilisation_percent or 0.0 for process in told)
    is_split = bool(told) and not (all_told == 0 and (card.utilisation_percent or 0.0) > _UNEXPLAINED_PERCENT)
    is_ours_seen = any(process.pid in own_pids for process in card.processes)
    if is_split and (is_quiet or is_ours_seen):
        by_name: defaultdict[str, float] = defaultdict(float)
        for process in told:
            if process.pid not in own_pids:
                by_name[process.name] += process.utilisation_percent or 0.0
        return most_used(by_name)
    if not is_quiet:
        return _NOT_SPLIT
    if card.utilisation_percent is None:
        return _NO_FIGURE
    others = {process.name for process in card.processes if process.pid not in own_pids and process.name}
    return GpuUse(percent=card.utilisation_percent, program=others.pop() if len(others) == 1 else "")


def most_used(by_name: dict[str, float]) -> GpuUse:
    """All programs' use of one card together, and the busiest one's name ("" when nobody uses it)."""
    busiest = max(by_name, key=lambda name: by_name[name], default="")
    percent = min(100.0, sum(by_name.values()))
    return GpuUse(percent=percent, program=busiest if percent else "")
