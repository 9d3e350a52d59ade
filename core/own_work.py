"""Our own work in the signals: it must not be read as the owner's programs', and shows for a while after its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from core.capacity import OwnMemory
from core.signals import Signals, Unknown
from core.signals.gpu_use import SETTLE_S

# After a session the smoothed figures still hold some of it (core/capacity.CPU_SMOOTHING_S).
OWN_WORK_SHOWS_S = 15.0
_ENGINE_NOT_TOLD = Unknown(
    "Which programs belong to an OpenAI-compatible server isn't known, "
    "so while it serves its work can't be told apart.",
    is_no_loss=True,
    is_own_work=True,
)


class OwnWork:
    """When our engine worked last, and what can't be told of others until its work has faded."""

    def __init__(
        self,
        *,
        own_memory: Callable[[], OwnMemory],
        engine_name: Callable[[], str],
        on_card: Callable[[], None],
        monotonic: Callable[[], float],
    ) -> None:
        """`own_memory` is what our engine holds, `on_card` is called for each work that may have used a card."""
        self._own_memory = own_memory
        self._engine_name = engine_name
        self._on_card = on_card
        self._monotonic = monotonic
        self._worked_at = float("-inf")
        # At the last sample, as far as that is known: what our engine holds is added up too slowly to be done at each
        # session's begin and end. Models that lie in RAM alone leave the card's use to others.
        self._is_on_card = True

    def take_sample(self, *, is_at_work: bool) -> None:
        """Look where our models lie, with each sample."""
        was_on_card, self._is_on_card = self._is_on_card, self._own_memory().vram_mb != 0
        if is_at_work or (self._is_on_card and not was_on_card):  # a model may have come and served since
            self.note()

    def note(self) -> None:
        """Our engine works, or has until now."""
        self._worked_at = self._monotonic()
        if self._is_on_card:
            self._on_card()

    def leave_out(self, signals: Signals) -> Signals:
        """What other programs use can't be told while an engine works whose programs nobody knows."""
        quiet_s = self._monotonic() - self._worked_at
        if self._engine_name() != "openai" or quiet_s >= OWN_WORK_SHOWS_S:
            return signals
        signals = replace(signals, cpu_percent_others=_ENGINE_NOT_TOLD)
        return signals if quiet_s >= SETTLE_S else replace(signals, gpu_use_by_others=_ENGINE_NOT_TOLD)
