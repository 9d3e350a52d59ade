"""Whether the owner's own work uses an engine that we share: pure, fed with one look after the other.

Ollama tells nobody who asks it. What it tells is enough: a model that we didn't load; the time at which a model would
leave, which moves with each use; and whether its processes compute while no request of ours runs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from core.engines.ollama_ownership import SharedLook
from core.stats_collector import SystemStats

GPU_PERCENT = 20.0
GPU_FOR_S = 10.0
# A session of ours that was ended in the middle of a long prompt is let go of by Ollama only after a whole step of it,
# which takes a slow processor half a minute: the end moves once more then, and that was us.
LATE_S = 60.0


@dataclass(frozen=True, slots=True)
class OwnerUse:
    """`model` is what the owner's work keeps in the engine, "" when nothing; `taken` are models of ours it uses now."""

    model: str = ""
    taken: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Baseline:
    look: SharedLook
    is_settled: bool  # no work of ours for a whole interval before it, so nothing of ours still moves it


class OwnerEngineUse:
    """One per engine. Looks come at a steady pace of some seconds."""

    def __init__(self) -> None:
        self._before: _Baseline | None = None
        self._worked_at = float("-inf")  # when a look last saw work of ours
        self._may_be_late = False  # its last move of the end has perhaps not been seen yet
        self._computing_since: float | None = None

    def take(self, look: SharedLook, *, at: float, engine_gpu_percent: float | None = None) -> OwnerUse:
        """Take one look in. `at` is monotonic seconds; `engine_gpu_percent` the cards' use by the engine's processes,
        None where the system doesn't tell.
        """
        before = self._before
        is_quiet = not look.is_busy and (
            look.requests == 0 if before is None else look.requests == before.look.requests
        )
        self._before = _Baseline(look, is_quiet)
        if not is_quiet:
            self._worked_at, self._may_be_late = at, True
        ours = tuple(entry.name for entry in look.entries if entry.is_ours)
        taken = self._moved(before, look) if is_quiet and before is not None and before.is_settled else ()
        if taken and self._may_be_late and at - self._worked_at <= LATE_S:
            taken, self._may_be_late = (), False
        is_computing = is_quiet and self._computes(at, engine_gpu_percent)
        if not is_quiet:
            self._computing_since = None
        if is_computing and not taken:
            taken = ours
        others = tuple(entry.name for entry in look.entries if not entry.is_ours)
        unnamed = "another model" if is_computing else ""
        return OwnerUse(next(iter((*others, *taken)), unnamed), taken)

    def _moved(self, before: _Baseline, look: SharedLook) -> tuple[str, ...]:
        """Our models whose end moved although nobody of ours used them."""
        was = {entry.name: entry.expires_at for entry in before.look.entries}
        return tuple(
            entry.name
            for entry in look.entries
            if entry.is_ours and was.get(entry.name, entry.expires_at) != entry.expires_at
        )

    def _computes(self, at: float, percent: float | None) -> bool:
        if percent is None or percent <= GPU_PERCENT:
            self._computing_since = None
            return False
        if self._computing_since is None:
            self._computing_since = at
        return at - self._computing_since >= GPU_FOR_S


def gpu_percent_of(stats: SystemStats | None, pids: Collection[int]) -> float | None:
    """The cards' computing for these processes, 0 to 100 (the busiest card); None where drivers don't tell."""
    if stats is None:
        return None
    by_card = []
    for card in stats.gpus:
        known = [
            process.utilisation_percent
            for process in card.processes
            if process.pid in pids and process.utilisation_percent is not None
        ]
        if known:
            by_card.append(min(100.0, sum(known)))
    return max(by_card, default=None)
