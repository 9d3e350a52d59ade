"""Whether a loaded model is on the graphics card as planned. Pure.

After a sleep, or beside a game, an engine may put less of a model on the card than before, or nothing, and go on with
the processor without a word: slow for the client, and loud for the owner.
"""

from __future__ import annotations

from collections.abc import Iterable

from core.capacity import MIN_USEFUL_VRAM_MB
from core.engines import LoadedModel
from core.engines.names import normalize_model

TOLERANCE = 0.9  # of what was planned: engines count their buffers now here, now there
FITS = 0.9  # of the card: a model up to this size is planned to be there as a whole


class VramPlan:
    """Learns from what the engine does: only an engine that has used the card before is expected to do it again."""

    def __init__(self) -> None:
        self._uses_card = False
        self._best: dict[str, float] = {}  # the largest share of each model that was seen on the card

    def problem(self, loaded: Iterable[LoadedModel], card_mb: int | None) -> dict[str, str]:
        """By name: why a model of ours is not to be served as it is loaded now. `card_mb` is all cards' memory."""
        models = [model for model in loaded if model.total_mb and model.vram_mb is not None]
        found = {}
        for model in models:
            share = self._share(model)
            planned = self._planned(model, card_mb)
            if planned is not None and share < TOLERANCE * planned and not model.is_owners:
                whole = "all of it" if planned > TOLERANCE else f"{planned:.0%}"
                found[model.name] = f"{share:.0%} of it is on the graphics card, where {whole} was to be"
        for model in models:  # afterwards: what is wrong now is no plan
            if model.vram_mb:
                self._uses_card = True
                name = normalize_model(model.name)
                self._best[name] = max(self._best.get(name, 0.0), self._share(model))
        return found

    def _planned(self, model: LoadedModel, card_mb: int | None) -> float | None:
        """The share that should be on the card; None where nothing is known, or there is no useful card."""
        if not self._uses_card or (card_mb or 0) < MIN_USEFUL_VRAM_MB:
            return None
        best = self._best.get(normalize_model(model.name))
        if best is not None:
            return best
        return 1.0 if (model.total_mb or 0) <= FITS * (card_mb or 0) else None

    def _share(self, model: LoadedModel) -> float:
        return min(1.0, (model.vram_mb or 0) / (model.total_mb or 1))
