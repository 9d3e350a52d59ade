"""The way down from a wanted load: its order, what it keeps, and that it never goes the wrong way."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from core.load_ladder import LEAST_CONTEXT, Candidate, best_quant, best_rung, difference, guided, plans, rung_of
from core.memory_need import LoadPlan, embedded_plan, memory_need, ollama_plan
from core.quantization import size_at
from tests.core.test_memory_need import PLANS, SHAPES
from tests.fakes.llama_8b import LLAMA_8B, PARAMETERS_8B

WANTED = embedded_plan(sessions=4, context_tokens=4096, batch_tokens=32)
QUANTS = tuple(
    Candidate(name=f"llama-{quant}", quant=quant, size_bytes=size_at(PARAMETERS_8B, quant), shape=LLAMA_8B)
    for quant in ("Q2_K", "Q8_0", "Q4_K_M", "IQ4_XS")
)


def sizes(plan: LoadPlan) -> tuple[int, int]:
    return plan.sessions, plan.context_tokens


def test_sessions_go_before_context() -> None:
    assert [sizes(plan) for plan in plans(WANTED)] == [(4, 4096), (2, 4096), (1, 4096), (1, 2048), (1, 1024)]


def test_sessions_that_are_the_engines_own_setting_stay_and_the_context_goes_down() -> None:
    wanted = ollama_plan(context_tokens=4096, sessions=4)
    assert [(plan.sessions, plan.context_tokens) for plan in plans(wanted)] == [(4, 4096), (4, 2048), (4, 1024)]
    assert guided(wanted, 8_000).sessions == 4


def test_less_context_than_the_least_is_not_made_more() -> None:
    assert [sizes(plan) for plan in plans(WANTED.smaller(sessions=1, context_tokens=512))] == [(1, 512)]


def test_first_way_that_fits_is_taken() -> None:
    weights = size_at(PARAMETERS_8B, "Q4_K_M")
    four = memory_need(LLAMA_8B, weights, WANTED).total_mb
    found = best_rung(LLAMA_8B, weights, WANTED, four)
    assert found is not None
    assert found.plan == WANTED
    found = best_rung(LLAMA_8B, weights, WANTED, four - 1)
    assert found is not None
    assert sizes(found.plan) == (2, 4096)
    assert difference(WANTED, found.plan) == "2 sessions instead of 4"


def test_what_failed_is_not_tried_again() -> None:
    weights = size_at(PARAMETERS_8B, "Q4_K_M")
    two = rung_of(LLAMA_8B, weights, WANTED.smaller(sessions=2))
    found = best_rung(LLAMA_8B, weights, WANTED, 100_000, below_mb=two.need_mb)
    assert found is not None
    assert sizes(found.plan) == (1, 4096)


def test_nothing_fits_into_less_than_the_weights() -> None:
    assert best_rung(LLAMA_8B, size_at(PARAMETERS_8B, "Q4_K_M"), WANTED, 4000) is None


def test_without_a_shape_the_file_and_a_fifth_are_needed_whatever_the_plan() -> None:
    assert rung_of(None, 5 << 30, WANTED).need_mb == 6 * 1024
    assert best_rung(None, 5 << 30, WANTED, 6 * 1024 - 1) is None


def test_best_quant_that_fits_as_wanted_is_taken_and_says_why_not_a_better_one() -> None:
    choice = best_quant(QUANTS, WANTED, 7000)
    assert choice is not None
    assert choice.candidate.quant == "Q4_K_M"
    assert choice.rung.plan == WANTED
    assert choice.reasons == ("Q8_0 needs 10,307 MB of 7,000 MB.",)


def test_sessions_are_given_up_only_where_no_quant_fits_with_all() -> None:
    least = memory_need(LLAMA_8B, size_at(PARAMETERS_8B, "Q2_K"), WANTED).total_mb
    choice = best_quant(QUANTS, WANTED, least - 1)
    assert choice is not None
    assert sizes(choice.rung.plan) == (2, 4096)
    assert choice.reasons[0] == "2 sessions instead of 4: more does not fit."
    assert best_quant(QUANTS, WANTED, 3000) is None


@given(SHAPES, PLANS, st.integers(1, 1 << 40))
@settings(deadline=None)
def test_each_step_down_needs_no_more(shape: object, plan: LoadPlan, weights: int) -> None:
    needs = [rung_of(shape, weights, step).need_mb for step in plans(plan)]  # type: ignore[arg-type]
    assert needs == sorted(needs, reverse=True)
    assert all(step.sessions >= 1 and step.context_tokens >= min(plan.context_tokens, LEAST_CONTEXT)
               for step in plans(plan))  # fmt: skip


@given(SHAPES, PLANS, st.integers(1, 1 << 40), st.integers(0, 1 << 24), st.integers(0, 1 << 20))
@settings(deadline=None)
def test_more_room_never_gives_less(shape: object, plan: LoadPlan, weights: int, room: int, more: int) -> None:
    small = best_rung(shape, weights, plan, room)  # type: ignore[arg-type]
    large = best_rung(shape, weights, plan, room + more)  # type: ignore[arg-type]
    if small is not None:
        assert large is not None
        assert small.need_mb <= room
        assert large.plan.sessions >= small.plan.sessions
        assert large.plan.context_tokens >= small.plan.context_tokens
