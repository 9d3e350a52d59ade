"""What so much lent memory would be good for: tier, and for each known model the best quantisation and its sessions.

Pure. The sizes of quantisations that aren't here are computed from bits per weight (core/quantization.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.engines import EngineModel
from core.load_ladder import Candidate, best_quant, best_rung, guided, held, rung_of
from core.memory_need import LoadPlan
from core.model_shape import ModelShape
from core.quant_choice import split_quant
from core.quantization import BITS_PER_WEIGHT, all_quantizations, size_as, size_at

MOST_SESSIONS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model of which the shape and one size are known."""

    name: str  # without its quantisation
    shape: ModelShape
    size_bytes: int
    quant: str  # of that size
    here: tuple[EngineModel, ...] = ()  # the engine's quantisations of it


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """What of one model would be served. `quant` is "" where not even the smallest fits."""

    model: str
    quant: str
    is_here: bool  # the engine has this very quantisation
    size_bytes: int
    needed_mb: int
    sessions: int
    context_tokens: int  # of each
    most_sessions: int  # that would fit with this context
    reasons: tuple[str, ...]
    tokens_per_second: float | None = None  # measured here; None: not measured


def _example(name: str, parameters: int, layers: int, embedding: int, feed_forward: int, heads: int) -> KnownModel:
    """A public model of the Llama 3 family: 8 key-value heads and 128,256 tokens, as their config.json files say."""
    keys = layers * 8 * (64 if embedding == 2048 else 128)
    shape = ModelShape(
        architecture="llama",
        layers=layers,
        embedding=embedding,
        feed_forward=feed_forward,
        heads=heads,
        vocabulary=128256,
        context_tokens=131072,
        full_keys=keys,
        full_values=keys,
    )
    return KnownModel(name=name, shape=shape, size_bytes=size_at(parameters, "Q8_0"), quant="Q8_0")


EXAMPLES = (
    _example("Llama 3.2 1B", 1_235_814_432, 16, 2048, 8192, 32),
    _example("Llama 3.2 3B", 3_212_749_888, 28, 3072, 8192, 24),
    _example("Llama 3.1 8B", 8_030_261_312, 32, 4096, 14336, 32),
    _example("Llama 3.1 70B", 70_553_706_560, 80, 8192, 28672, 64),
)


def known_models(models: Sequence[EngineModel]) -> tuple[KnownModel, ...]:
    """The engine's models whose need can be computed, each once with all its quantisations; else EXAMPLES."""
    groups: dict[str, list[EngineModel]] = {}
    for model in models:
        if model.shape is not None and model.size_bytes and not model.is_selftest:
            groups.setdefault(split_quant(model.name)[0] or model.name, []).append(model)
    found = []
    for name, here in groups.items():
        first = next((model for model in here if model.quant in BITS_PER_WEIGHT), here[0])
        assert first.shape is not None
        found.append(
            KnownModel(
                name=name,
                shape=first.shape,
                size_bytes=first.size_bytes or 0,
                quant=first.quant,
                here=tuple(here),
            )
        )
    return tuple(found) or EXAMPLES


def what_if(
    memory_mb: int,
    models: Sequence[KnownModel],
    wanted: LoadPlan,
    speed_of: Callable[[str], float | None] = lambda model: None,
) -> tuple[WhatIf, ...]:
    """One line for each model with `memory_mb` MiB lent: the quantisation by the guidance's sessions, and how many of
    the `wanted` ones it then has room for."""
    return tuple(_line(memory_mb, model, wanted, speed_of) for model in models)


def _line(memory_mb: int, model: KnownModel, wanted: LoadPlan, speed_of: Callable[[str], float | None]) -> WhatIf:
    wanted = held(wanted, model.shape)
    candidates = _candidates(model)
    choice = best_quant(candidates, guided(wanted, memory_mb), memory_mb)
    if choice is None:
        least = min(candidates, key=lambda candidate: candidate.size_bytes)
        need_mb = rung_of(model.shape, least.size_bytes, wanted.smaller(sessions=1)).need_mb
        return WhatIf(
            model=model.name, quant="", is_here=False, size_bytes=least.size_bytes, needed_mb=need_mb, sessions=0,
            context_tokens=wanted.context_tokens, most_sessions=0,
            reasons=(f"Even {least.quant or 'its smallest file'} needs {need_mb:,} MB for one session.",),
        )  # fmt: skip
    found = choice.candidate
    rung = best_rung(found.shape, found.size_bytes, wanted, memory_mb) or choice.rung
    plan = rung.plan
    here = {candidate.name for candidate in model.here}
    return WhatIf(
        model=model.name,
        quant=found.quant,
        is_here=found.name in here,
        size_bytes=found.size_bytes,
        needed_mb=rung.need_mb,
        sessions=plan.sessions,
        context_tokens=plan.context_tokens,
        most_sessions=_most_sessions(found, plan, memory_mb),
        reasons=choice.reasons[:2],
        tokens_per_second=speed_of(found.name) if found.name in here else None,
    )


def _candidates(model: KnownModel) -> list[Candidate]:
    """What is here with its true size, and the tiers' other quantisations with their computed one."""
    found = [
        Candidate(name=here.name, quant=here.quant, size_bytes=here.size_bytes or 0, shape=here.shape)
        for here in model.here
    ]
    have = {here.quant for here in model.here}
    for quant in all_quantizations():
        size = size_as(model.size_bytes, model.quant, quant)
        if quant not in have and size is not None:
            found.append(Candidate(name=f"{model.name} {quant}", quant=quant, size_bytes=size, shape=model.shape))
    return found


def _most_sessions(candidate: Candidate, plan: LoadPlan, memory_mb: int) -> int:
    fitting = [
        sessions
        for sessions in range(1, MOST_SESSIONS + 1)
        if rung_of(candidate.shape, candidate.size_bytes, plan.smaller(sessions=sessions)).need_mb <= memory_mb
    ]
    return max(fitting, default=0)
