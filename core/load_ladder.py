"""The steps between how a model should be loaded and how it can be: fewer sessions, less context, a smaller quant.

Pure: the engines ask what to try, core/model_manager.py which quant to take. Sessions go first: with fewer of them
clients wait, with less context their prompts are refused. The seed's guidance (2, 4 or 8 sessions for 8, 16 or 32 GB)
only says how many sessions count when a quantisation is chosen; what is loaded, the arithmetic decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.memory_need import LoadPlan, memory_need
from core.model_shape import ModelShape
from core.plurals import counted

LEAST_CONTEXT = 1024  # tokens; with less hardly a prompt fits
STEP_UP_SHARE = 1.1  # of what a better load needs must be free, so that it doesn't go up and down
_OVERHEAD = 1.2  # memory over file size, where a model's shape isn't known (issue 4's rule)
_GUIDANCE = ((32 * 1024, 8), (16 * 1024, 4), (8 * 1024, 2))  # MiB, sessions: the seed's MAX_CONCURRENT_JOBS
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One way to load a model, and what it takes."""

    plan: LoadPlan
    need_mb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A quantisation of a model that is there."""

    name: str
    quant: str
    size_bytes: int
    shape: ModelShape | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to load, how, and why not better: one sentence for each step down."""

    candidate: Candidate
    rung: Rung
    reasons: tuple[str, ...] = ()


def held(wanted: LoadPlan, shape: ModelShape | None) -> LoadPlan:
    """`wanted` with no more context than the model was trained for, as the engines hold it."""
    trained = shape.context_tokens if shape else None
    return wanted.smaller(context_tokens=min(wanted.context_tokens, trained or wanted.context_tokens))


def guided(wanted: LoadPlan, memory_mb: int) -> LoadPlan:
    """`wanted` with no more sessions than the seed's guidance has for so much memory: where quality and sessions
    compete for it, this is how many are worth a worse quantisation."""
    if wanted.are_sessions_fixed:
        return wanted
    most = next((sessions for from_mb, sessions in _GUIDANCE if memory_mb >= from_mb), 1)
    return wanted.smaller(sessions=min(wanted.sessions, most))


def plans(wanted: LoadPlan) -> Iterator[LoadPlan]:
    """`wanted` and what is below it: sessions halved down to one, where they are ours to lower, then the context halved
    down to LEAST_CONTEXT."""
    plan = wanted
    yield plan
    while plan.sessions > 1 and not plan.are_sessions_fixed:
        plan = plan.smaller(sessions=plan.sessions // 2)
        yield plan
    while plan.context_tokens > LEAST_CONTEXT:
        plan = plan.smaller(context_tokens=max(LEAST_CONTEXT, plan.context_tokens // 2))
        yield plan


def rung_of(shape: ModelShape | None, size_bytes: int, plan: LoadPlan) -> Rung:
    """What `plan` takes. Without a shape: the file and a fifth, whatever the plan."""
    if shape is None:
        return Rung(plan=plan, need_mb=-int(-size_bytes * _OVERHEAD // _MIB))
    return Rung(plan=plan, need_mb=memory_need(shape, size_bytes, plan).total_mb)


def best_rung(
    shape: ModelShape | None, size_bytes: int, wanted: LoadPlan, room_mb: int, *, below_mb: int | None = None
) -> Rung | None:
    """The first way down from `wanted` that takes at most `room_mb`, and less than `below_mb` (what failed already)."""
    for plan in plans(wanted):
        rung = rung_of(shape, size_bytes, plan)
        if rung.need_mb <= room_mb and (below_mb is None or rung.need_mb < below_mb):
            return rung
    return None


def best_quant(
    candidates: Sequence[Candidate], wanted: LoadPlan, room_mb: int, *, can_step_down: bool = True
) -> Choice | None:
    """The best quantisation that fits: the largest file at the highest rung where any fits. None where nothing does.

    Sessions and context are kept before quality: a client that was promised a context needs it. An engine that can't
    step down takes the whole plan, or nothing.
    """
    best_first = sorted(candidates, key=lambda candidate: -candidate.size_bytes)
    for plan in plans(wanted) if can_step_down else (wanted,):
        passed: list[str] = []
        for candidate in best_first:
            rung = rung_of(candidate.shape, candidate.size_bytes, held(plan, candidate.shape))
            if rung.need_mb <= room_mb:
                changed = difference(wanted, plan)
                steps = [f"{changed[0].upper()}{changed[1:]}: more does not fit."] if changed else []
                return Choice(candidate=candidate, rung=rung, reasons=(*steps, *passed))
            passed.append(f"{candidate.quant or candidate.name} needs {rung.need_mb:,} MB of {room_mb:,} MB.")
    return None


def difference(wanted: LoadPlan, got: LoadPlan) -> str:
    """ "2 sessions instead of 4, 2,048 tokens of context instead of 4,096"; "" where nothing is less."""
    parts = []
    if got.sessions < wanted.sessions:
        parts.append(f"{counted(got.sessions, 'session')} instead of {wanted.sessions}")
    if got.context_tokens < wanted.context_tokens:
        parts.append(f"{got.context_tokens:,} tokens of context instead of {wanted.context_tokens:,}")
    return ", ".join(parts)
