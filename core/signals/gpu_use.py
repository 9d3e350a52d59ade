"""How much of the serving graphics cards other programs use, and which one is the busiest. Pure.

Where the driver tells the use of each program (NVML in the sample; on Linux AMD's and Intel's in /proc), it is
everybody's but ours. Where it doesn't, or can't tell our engine's part (inside a container it shows other pids), nobody
knows while our engine computes; between two sessions the card's own figure is the others'.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping

from core.capacity import MIN_USEFUL_VRAM_MB
from core.gpu import GpuProcess, GpuSample
from core.gpu.drm_programs import CardPrograms
from core.signals import GpuUse, Unknown
from core.stats_collector import SystemStats

# After our engine's last work: a card's figure covers up to a second before it was asked for (nvmlUtilization_t).
SETTLE_S = 2.0
# A driver that splits nothing, but doesn't say so: the card is busier than this, and nobody is said to use it.
_UNEXPLAINED_PERCENT = 10.0
_NO_FIGURE = Unknown("The graphics driver doesn't tell how busy the card is.")
PROGRAMS_HOLD_S = 6.0  # what /proc told is no older than this: it is read each 2 s
_NOT_SPLIT = Unknown(
    "While a session runs, the graphics driver can't tell our part of the card's use from others'.",
    is_no_loss=True,
    is_own_work=True,
)


class GpuUseByOthers:
    """Fed with every sample of the machine; the answer is what others use now."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._computed_at = float("-inf")
        self._programs: Mapping[str, CardPrograms] = {}
        self._programs_at = float("-inf")
        self.needs_programs = True  # whether `take_programs` would say anything of the cards that serve

    def note_own_work(self) -> None:
        """Our engine is at work on a card, or was until now, be it for a session or to load a model."""
        self._computed_at = self._clock()

    def take_programs(self, programs: Mapping[str, CardPrograms] | Unknown) -> None:
        """What core/gpu/drm_programs.py tells, by the cards' slots."""
        if not isinstance(programs, Unknown):
            self._programs, self._programs_at = programs, self._clock()

    def read(self, stats: SystemStats, own_pids: Collection[int]) -> GpuUse | Unknown:
        is_quiet = self._clock() - self._computed_at >= SETTLE_S
        cards = serving_cards(stats.gpus, own_pids)
        self.needs_programs = any(card.slot for card in cards) or not stats.gpus
        programs = self._programs if self._clock() - self._programs_at < PROGRAMS_HOLD_S else {}
        if cards:
            uses = [
                _use_by_program(programs[card.slot], card.utilisation_percent, own_pids, is_quiet=is_quiet)
                if card.slot in programs
                else _use_of(card, own_pids, is_quiet=is_quiet)
                for card in cards
            ]
        elif programs and not stats.gpus:  # Intel's, of which nothing else is read
            uses = [_use_by_program(card, None, own_pids, is_quiet=is_quiet) for card in programs.values()]
        else:
            return no_card(stats)
        known = [use for use in uses if isinstance(use, GpuUse)]
        unknown = [use for use in uses if isinstance(use, Unknown)]
        busiest = max(known, key=lambda use: use.percent, default=None)
        return unknown[0] if unknown or busiest is None else busiest


def no_card(stats: SystemStats) -> Unknown:
    """Why nothing is told of the cards that are lent. One that isn't there, or lent no more, is no loss."""
    is_gone = not any(card.is_lent for card in stats.gpus) if stats.gpus else not stats.gpu_problem
    return Unknown(stats.gpu_problem or "No graphics card can be read.", is_no_loss=is_gone)


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
        return _add_up(process for process in told if process.pid not in own_pids)
    if not is_quiet:
        return _NOT_SPLIT
    if card.utilisation_percent is None:
        return _NO_FIGURE
    others = {process.name for process in card.processes if process.pid not in own_pids and process.name}
    return GpuUse(percent=card.utilisation_percent, program=others.pop() if len(others) == 1 else "")


def _use_by_program(
    card: CardPrograms, card_percent: float | None, own_pids: Collection[int], *, is_quiet: bool
) -> GpuUse | Unknown:
    """Where nothing of ours works, the card's own figure tells what no program explains."""
    others = [program for program in card.programs if program.pid not in own_pids]
    untold = next((program for program in others if program.utilisation_percent is None), None)
    told = _add_up(others)
    if is_quiet and card_percent is not None:
        is_explained = told.percent >= card_percent / 2
        name = told.program if is_explained else untold.name if untold is not None else ""
        return GpuUse(percent=max(told.percent, card_percent), program=name)
    if not card.incomplete and untold is None:
        return told
    who = untold.name or "Another program" if untold is not None else ""
    why = card.incomplete or f"{who} computes on it too, and its driver doesn't tell how much."
    if card_percent is None:
        return Unknown(f"Others' use of the graphics card can't be told. {why}", is_no_loss=True)
    sentence = f"While a session runs, others' use of the graphics card can't be told. {why}"
    return Unknown(sentence, is_no_loss=True, is_own_work=True)


def _add_up(programs: Iterable[GpuProcess]) -> GpuUse:
    by_name: defaultdict[str, float] = defaultdict(float)
    for program in programs:
        by_name[program.name] += program.utilisation_percent or 0.0
    return most_used(by_name)


def most_used(by_name: dict[str, float]) -> GpuUse:
    """All programs' use of one card together, and the busiest one's name ("" when nobody uses it)."""
    busiest = max(by_name, key=lambda name: by_name[name], default="")
    percent = min(100.0, sum(by_name.values()))
    return GpuUse(percent=percent, program=busiest if percent else "")
