"""Which quantisation of a model to serve, where the owner offers the model and not one file of it.

`Llama-3.1-8B-Instruct` stands for `Llama-3.1-8B-Instruct-Q4_K_M` and its like, `llama3.1:8b-instruct` for
`llama3.1:8b-instruct-q4_K_M`, `hf.co/org/repo` for `hf.co/org/repo:Q4_K_M`. A name that the engine has is never read
so, and `llama3.1` means `llama3.1:latest`, as everywhere in Ollama, not its other tags.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from core.engines import ChosenQuant, EngineModel, LoadedModel
from core.engines.names import DEFAULT_TAG, normalize_model, same_model
from core.fit import Room
from core.load_ladder import Candidate, best_quant, guided
from core.memory_need import LoadPlan

_QUANT = re.compile(r"^(?P<base>.+?)(?P<between>[-._:])(?P<quant>i?q\d(?:_[a-z0-9]+)*|tq\d_0|mxfp4|bf16|f16|f32)$")
_ANY_PLAN = LoadPlan(sessions=1, context_tokens=4096, batch_tokens=512)  # where the engine doesn't say how it loads


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
    """The quantisation to serve as `wanted`: the one in memory, else the best that fits what the owner lends.

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
    candidates = [_candidate(model, room) for model in sized]
    choice = best_quant(candidates, guided(room.plan or _ANY_PLAN, room.budget_mb), room.budget_mb)
    if choice is None:
        return ChosenQuant(
            offered=wanted, model=smallest.name, reason="None fits what you lend of the memory; this is the smallest."
        )
    return ChosenQuant(
        offered=wanted, model=choice.candidate.name, reason=" ".join(choice.reasons) or "It is the best that is here."
    )


def _candidate(model: EngineModel, room: Room) -> Candidate:
    shape = model.shape if room.plan is not None else None
    return Candidate(name=model.name, quant=model.quant, size_bytes=model.size_bytes or 0, shape=shape)
