"""Which quantisation of a model to serve, where the owner offers the model and not one file of it.

`Llama-3.1-8B-Instruct` stands for `Llama-3.1-8B-Instruct-Q4_K_M` and its like, `llama3.1:8b-instruct` for
`llama3.1:8b-instruct-q4_K_M`, `hf.co/org/repo` for `hf.co/org/repo:Q4_K_M`. A name that the engine has is never read
so, and `llama3.1` means `llama3.1:latest`, as everywhere in Ollama, not its other tags.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from core.engines import ChosenQuant, EngineModel, LoadedModel
from core.engines.names import DEFAULT_TAG, normalize_model, same_model
from core.fit import Room
from core.load_ladder import STEP_UP_SHARE, Candidate, Choice, best_quant, guided
from core.memory_need import LoadPlan

_QUANT = re.compile(r"^(?P<base>.+?)(?P<between>[-._:])(?P<quant>i?q\d(?:_[a-z0-9]+)*|tq\d_0|mxfp4|bf16|f16|f32)$")
_ANY_PLAN = LoadPlan(sessions=1, context_tokens=4096, batch_tokens=512)  # where the engine doesn't say how it loads
_HELD_BY_OTHERS = "Other programs hold the rest now."


def split_quant(name: str) -> tuple[str, str]:
    """(model, quantisation) of a name, both in lower case; ("", "") for one that doesn't end in a quantisation."""
    found = _QUANT.match(normalize_model(name).removesuffix(f":{DEFAULT_TAG}"))
    if found is None or (found["between"] == ":" and "/" not in found["base"]):
        return "", ""
    return found["base"], found["quant"]


def quants_of(wanted: str, models: Iterable[EngineModel]) -> tuple[EngineModel, ...]:
    """The models that are quantisations of `wanted`; a self-test model is none."""
    base = normalize_model(wanted).removesuffix(f":{DEFAULT_TAG}")
    return tuple(model for model in models if not model.is_selftest and split_quant(model.name)[0] == base != "")


def choose_quant(
    wanted: str,
    models: Iterable[EngineModel],
    *,
    loaded: Iterable[LoadedModel],
    unloadable: Collection[str],
    room: Room | None,
) -> ChosenQuant | None:
    """The quantisation to serve as `wanted`: the one in memory, else the best that fits what the owner lends and is
    free now; where none does, the best that would with other programs closed.

    What failed to load is passed over, so a failure is a step down. None where there is no quantisation left.
    """
    left = [model for model in quants_of(wanted, models) if model.name not in unloadable]
    if not left:
        return None
    in_memory = next((model for model in left if any(same_model(model.name, other.name) for other in loaded)), None)
    if in_memory is not None:
        return ChosenQuant(offered=wanted, model=in_memory.name, reason="It is in memory.")
    sized = [model for model in left if model.size_bytes]
    if not sized or room is None or room.budget_mb is None:
        return ChosenQuant(offered=wanted, model=left[0].name, reason="How much memory there is isn't known.")
    smallest = min(sized, key=lambda model: model.size_bytes or 0)
    found = _best(sized, room)
    if found is None:
        return ChosenQuant(
            offered=wanted, model=smallest.name, reason="None fits what you lend of the memory; this is the smallest."
        )
    return ChosenQuant(offered=wanted, model=found[0], reason=found[1] or "It is the best that is here.")


def better_quant(
    wanted: str, in_memory: str, models: Iterable[EngineModel], *, unloadable: Collection[str], room: Room | None
) -> str | None:
    """The quantisation of `wanted` that fits now in the place of the smaller one in memory, what that holds counted as
    free; None without one. A tenth must be to spare, so that it doesn't go up and down.
    """
    sized = [model for model in quants_of(wanted, models) if model.size_bytes and model.name not in unloadable]
    if room is None or room.budget_mb is None or room.free_mb is None:
        return None
    choice = _that_fits(sized, room, int(min(room.budget_mb, room.free_mb / STEP_UP_SHARE)))
    size = next((model.size_bytes or 0 for model in sized if model.name == in_memory), None)
    if choice is None or size is None or choice.candidate.size_bytes <= size:
        return None
    return choice.candidate.name


def _best(sized: Sequence[EngineModel], room: Room) -> tuple[str, str] | None:
    """(name, why not a better one) of the best that fits now, else of the best that fits what is lent."""
    budget_mb = room.budget_mb or 0
    lent = best_quant(_candidates(sized, room), _plan(room), budget_mb)
    now = lent if room.free_mb is None else _that_fits(sized, room, min(budget_mb, room.free_mb))
    choice = now or lent
    if choice is None:
        return None
    is_less = now is not None and lent is not None and now.candidate.size_bytes < lent.candidate.size_bytes
    return choice.candidate.name, " ".join((*choice.reasons, *([_HELD_BY_OTHERS] if is_less else [])))


def _that_fits(sized: Sequence[EngineModel], room: Room, room_mb: int) -> Choice | None:
    """As this engine would load it."""
    return best_quant(_candidates(sized, room), _plan(room), room_mb, can_step_down=room.can_step_down)


def _plan(room: Room) -> LoadPlan:
    """Where the engine can take fewer sessions, no more count than are worth a worse quantisation."""
    plan = room.plan or _ANY_PLAN
    return guided(plan, room.budget_mb or 0) if room.can_step_down else plan


def _candidates(sized: Sequence[EngineModel], room: Room) -> list[Candidate]:
    return [_candidate(model, room) for model in sized]


def _candidate(model: EngineModel, room: Room) -> Candidate:
    shape = model.shape if room.plan is not None else None
    return Candidate(name=model.name, quant=model.quant, size_bytes=model.size_bytes or 0, shape=shape)
