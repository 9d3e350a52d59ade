"""What a download would bring and whether it would fit, said before it begins: for the window and for `titan pull`.

Pure. Nothing is forbidden here for its need of memory: what is too big is said to be, and the owner decides.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from core.engines.names import find_model, same_model
from core.fit import OLD_RULE, Fit, FitVerdict, Room, judge
from core.hub.look_up import RepositoryLook
from core.hub.names import DEFAULT_QUANT, HubModel, download_name
from core.load_ladder import Candidate, best_quant, guided
from core.memory_need import LoadPlan
from core.missing_models import size_by_name

SIZE_COMES_LATER = (
    "Ollama tells a model's size only once its download has begun. What has no room on the disk then ends by itself."
)
BY_NAME = "Estimated from its name alone."
IS_HERE = "It is here already: a download brings it up to date."
_ANY_PLAN = LoadPlan(sessions=1, context_tokens=4096, batch_tokens=512)  # where the engine doesn't say how it loads


@dataclass(frozen=True, slots=True, kw_only=True)
class PullChoice:
    """One model that could be downloaded."""

    pull_name: str  # for the command pull_model
    quant: str = ""  # "" where its name doesn't tell
    size_bytes: int | None = None  # None: known only once it comes
    is_guess: bool = False  # the size: its name alone tells it
    fit: str = Fit.UNKNOWN.value
    sentence: str = ""  # the verdict with its numbers
    disk_problem: str = ""  # why there is no room on the disk, one sentence
    is_here: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PullOffer:
    """`choices` as the owner should see them; `best` is the index of the one put forward."""

    asked: str
    engine: str
    choices: tuple[PullChoice, ...]
    best: int = 0
    free_bytes: int | None = None  # of the disk; None: not known
    note: str = ""


def hub_offer(
    asked: str,
    engine: str,
    look: RepositoryLook,
    room: Room,
    *,
    here: Collection[str] = (),
    disk_problem: Callable[[HubModel], str] = lambda model: "",
    free_bytes: int | None = None,
) -> PullOffer:
    """Of a repository on the hub. `here` are the engine's names of what it has. `disk_problem` may block."""
    prefix = "hf.co/" if engine == "ollama" else ""  # by which Ollama knows that it is the hub's
    choices = []
    for model in look.models:
        name = prefix + download_name(look.reference, model, look.models)
        verdict = judge(model.size_bytes, room, look.shape_of(model))
        choices.append(
            PullChoice(
                pull_name=name,
                quant=model.quant,
                size_bytes=model.size_bytes,
                fit=verdict.fit.value,
                sentence=verdict.sentence,
                disk_problem=disk_problem(model),
                is_here=find_model(name if prefix else model.stem, here) is not None,
            )
        )
    best = 0 if look.reference.wanted else _best(look, choices, room)
    return PullOffer(asked=asked, engine=engine, choices=tuple(choices), best=best, free_bytes=free_bytes)


def name_offer(
    asked: str, engine: str, room: Room, *, here: Collection[str] = (), free_bytes: int | None = None
) -> PullOffer:
    """Of a name in Ollama's own library, which says nothing beforehand."""
    size_bytes = size_by_name(asked)
    verdict = verdict_by_name(size_bytes, room)
    is_here = any(same_model(asked, name) for name in here)
    choice = PullChoice(pull_name=asked, is_here=is_here)
    if verdict is not None:
        choice = replace(choice, size_bytes=size_bytes, is_guess=True, fit=verdict.fit.value, sentence=verdict.sentence)
    note = f"{IS_HERE} {SIZE_COMES_LATER}" if is_here else SIZE_COMES_LATER
    return PullOffer(asked=asked, engine=engine, choices=(choice,), free_bytes=free_bytes, note=note)


def verdict_by_name(size_bytes: int | None, room: Room) -> FitVerdict | None:
    """The verdict on a model of which the name alone is known (core/missing_models.py); None where it tells nothing."""
    if size_bytes is None:
        return None
    verdict = judge(size_bytes, room)
    return replace(verdict, sentence=f"{verdict.sentence.removesuffix(OLD_RULE)}{BY_NAME}")


def offer_of_json(offer: Mapping[str, Any]) -> PullOffer:
    """What the command look_up_model answers, as a value again."""
    choices = tuple(PullChoice(**choice) for choice in offer["choices"])
    return PullOffer(**{**offer, "choices": choices})


def _best(look: RepositoryLook, choices: list[PullChoice], room: Room) -> int:
    """The best that fits as wanted, of those that the disk has room for; else, with fewer sessions or other programs
    closed, the best that fits what is lent; else the smallest."""
    numbers = [number for number, model in enumerate(look.models) if model.is_quantised] or list(range(len(choices)))
    numbers = [number for number in numbers if not choices[number].disk_problem] or numbers
    if room.budget_mb is None:
        return min(numbers, key=lambda number: (choices[number].quant != DEFAULT_QUANT, number))
    fitting = [number for number in numbers if choices[number].fit == Fit.FITS]
    if fitting:
        return max(fitting, key=lambda number: look.models[number].size_bytes)
    plan = room.plan or _ANY_PLAN
    candidates = [
        Candidate(
            name=str(number),
            quant=choices[number].quant,
            size_bytes=look.models[number].size_bytes,
            shape=look.shape_of(look.models[number]) if room.plan else None,
        )
        for number in numbers
    ]
    choice = best_quant(candidates, guided(plan, room.budget_mb), room.budget_mb)
    return int(choice.candidate.name) if choice else min(numbers, key=lambda number: look.models[number].size_bytes)
