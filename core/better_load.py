"""Whether what is in memory came down for want of memory, and could now be there in a better form. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from core.engines import ChosenQuant, EngineModel, LoadedModel
from core.engines.names import same_model
from core.fit import Room, fits_whole
from core.load_ladder import held
from core.quant_choice import better_quant


def has_better_quant(
    choices: Iterable[ChosenQuant],
    loaded: Sequence[LoadedModel],
    models: Sequence[EngineModel],
    *,
    local: Callable[[str], str],
    unloadable: Collection[str],
    room: Room | None,
) -> bool:
    """Whether a smaller quantisation of ours is in memory than fits now. `local` gives the engine's name for an offered
    one."""
    return any(
        any(same_model(model.name, choice.model) and not model.is_owners for model in loaded)
        and better_quant(local(choice.offered), choice.model, models, unloadable=unloadable, room=room) is not None
        for choice in choices
    )


def has_more_context(loaded: Sequence[LoadedModel], models: Sequence[EngineModel], room: Room | None) -> bool:
    """Whether a model of ours that was loaded with less context (its note says so) has room for the whole now."""
    if room is None or room.plan is None:
        return False
    for model in loaded:
        known = next((known for known in models if same_model(known.name, model.name)), None)
        if known is None or model.is_owners or not model.note:
            continue
        wanted = held(room.plan, known.shape).context_tokens
        if (model.context_tokens or wanted) < wanted and fits_whole(known, room):
            return True
    return False
