"""The verdict on a model: every case, in words; by arithmetic where its shape is known, else by its file's size."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.engines import EngineModel, LoadedModel
from core.errors import NotEnoughMemory
from core.fit import (
    OLD_RULE,
    Fit,
    Room,
    fits_whole,
    judge,
    layers_on_card,
    less_that_fits,
    refuse_what_breaks_the_reserve,
    room_of,
    room_of_json,
    shape_of_json,
)
from core.gpu import GpuSample
from core.load_ladder import rung_of
from core.memory_need import embedded_plan, memory_need, ollama_plan
from core.quantization import size_at
from core.snapshot import AgentSnapshot, CapacityView, EngineView
from core.stats_collector import SystemStats
from tests.core.test_memory_need import PLANS, SHAPES
from tests.fakes.llama_8b import LLAMA_8B, PARAMETERS_8B
from tests.fakes.snapshots import busy_snapshot

GIB = 1 << 30
CARD = Room(kind="vram", free_mb=6 * 1024, budget_mb=7 * 1024)
Q4 = size_at(PARAMETERS_8B, "Q4_K_M")
FOUR = embedded_plan(sessions=4, context_tokens=4096, batch_tokens=32)
RAM = Room(free_mb=16_000, budget_mb=16_000, plan=FOUR, can_step_down=True)
NEED_MB = memory_need(LLAMA_8B, Q4, FOUR).total_mb  # 6.7 GB; with one session 5.2


@pytest.mark.parametrize(
    ("size_bytes", "fit", "sentence"),
    [
        (5 * GIB, Fit.FITS, "Needs about 6.0 GB of graphics memory; 6.0 GB is free."),
        (
            5 * GIB + 1,
            Fit.TIGHT,
            "Needs about 6.0 GB of graphics memory; 6.0 GB is free now, you lend 7.0 GB. Close other programs first.",
        ),
        (6 * GIB, Fit.TOO_BIG, "Needs about 7.2 GB of graphics memory; you lend 7.0 GB."),
    ],
)
def test_without_a_shape_the_file_s_size_decides_and_the_verdict_says_so(
    size_bytes: int, fit: Fit, sentence: str
) -> None:
    verdict = judge(size_bytes, CARD)
    assert (verdict.fit, verdict.sentence) == (fit, f"{sentence} {OLD_RULE}")


def test_size_that_nobody_tells_is_unknown() -> None:
    assert judge(None, CARD).sentence == "The engine does not say how big it is."


@pytest.mark.parametrize(
    ("free_mb", "budget_mb", "fit", "sentence"),
    [
        (
            NEED_MB,
            16_000,
            Fit.FITS,
            "Needs 6.7 GB of memory for 4 sessions of 4,096 tokens; 6.7 GB is free.",
        ),
        (
            NEED_MB - 1,
            16_000,
            Fit.TIGHT,
            "Needs 6.7 GB of memory for 4 sessions of 4,096 tokens; 6.7 GB is free now, "
            "so it is loaded with 2 sessions instead of 4.",
        ),
        (
            1024,
            16_000,
            Fit.TIGHT,
            "Needs 6.7 GB of memory for 4 sessions of 4,096 tokens; 1.0 GB is free now, you lend 15.6 GB. "
            "Close other programs first.",
        ),
        (
            1024,
            NEED_MB - 1,
            Fit.TIGHT,
            "Needs 6.7 GB of memory for 4 sessions of 4,096 tokens; 1.0 GB is free now, you lend 6.7 GB. "
            "With other programs closed, it has 2 sessions instead of 4.",
        ),
        (
            16_000,
            4096,
            Fit.TOO_BIG,
            "Needs 6.7 GB of memory for 4 sessions of 4,096 tokens; you lend 4.0 GB. "
            "Even with 1 session of 1,024 tokens it needs 4.8 GB.",
        ),
    ],
)
def test_with_a_shape_the_arithmetic_decides(free_mb: int, budget_mb: int, fit: Fit, sentence: str) -> None:
    verdict = judge(Q4, replace(RAM, free_mb=free_mb, budget_mb=budget_mb), LLAMA_8B)
    assert (verdict.fit, verdict.sentence, verdict.needed_mb) == (fit, sentence, NEED_MB)


def test_context_is_held_at_what_the_model_was_trained_for() -> None:
    verdict = judge(Q4, RAM, replace(LLAMA_8B, context_tokens=2048))
    assert "for 4 sessions of 2,048 tokens" in verdict.sentence


def test_engine_that_keeps_to_itself_how_it_loads_is_judged_by_size() -> None:
    assert judge(Q4, replace(RAM, plan=None), LLAMA_8B).sentence.endswith(OLD_RULE)


def test_layers_that_do_not_fit_on_the_card_go_beside_it() -> None:
    room = Room(kind="vram", free_mb=4096, budget_mb=5000, spare_ram_mb=8000, plan=ollama_plan(context_tokens=4096))
    verdict = judge(Q4, room, LLAMA_8B)
    assert verdict.fit is Fit.PARTLY
    assert verdict.sentence == (
        "Needs 5.9 GB of graphics memory for 1 session of 4,096 tokens; 4.0 GB is free: 20 of its 32 layers run on the "
        "card, the others on the processor, much slower, in 1.9 GB of memory."
    )
    assert judge(Q4, replace(room, spare_ram_mb=1000), LLAMA_8B).fit is Fit.TOO_BIG
    assert judge(Q4, replace(room, free_mb=400), LLAMA_8B).fit is Fit.TOO_BIG  # not one layer


@given(SHAPES, PLANS, st.integers(1, 1 << 40), st.integers(0, 1 << 20))
@settings(deadline=None)
def test_split_between_card_and_memory_loses_nothing(shape: object, plan: object, weights: int, card_mb: int) -> None:
    on_card, beside_mb = layers_on_card(shape, weights, plan, card_mb)  # type: ignore[arg-type]
    need = memory_need(shape, weights, plan)  # type: ignore[arg-type]
    assert 0 <= on_card <= shape.layers  # type: ignore[attr-defined]
    if on_card:
        assert card_mb + beside_mb + 1 >= need.total_mb  # MiB, each rounded up
    if card_mb >= need.total_mb + shape.layers:  # type: ignore[attr-defined]
        assert (on_card, beside_mb) == (shape.layers, 0)  # type: ignore[attr-defined]


def test_unmeasured_memory_is_unknown_and_still_says_what_is_needed() -> None:
    verdict = judge(GIB // 2, Room())
    assert verdict.fit is Fit.UNKNOWN
    assert verdict.sentence == f"Needs about 615 MB of memory; how much there is isn't known. {OLD_RULE}"


def test_what_our_own_model_holds_counts_as_free() -> None:
    room = room_of(busy_snapshot())
    assert (room.kind, room.free_mb, room.budget_mb) == ("vram", 2800 + 5200 - 409, 7168)  # a twentieth stays free
    assert room.spare_ram_mb == 20_000 - 3200  # the reserve stays the owner's
    assert judge(4_900_000_000, room).fit is Fit.FITS


def test_a_pause_does_not_make_a_model_too_big() -> None:
    """Paused, nothing is free to serve; the room for a model is as it was."""
    snapshot = busy_snapshot()
    paused = replace(snapshot, capacity=replace(snapshot.capacity, free_mb=0))
    assert room_of(paused) == room_of(snapshot)


def test_before_the_first_sample_nothing_is_known() -> None:
    assert room_of(AgentSnapshot(loaded_models=(LoadedModel(name="x"),))) == Room(kind="ram")


@pytest.mark.parametrize(
    "snapshot",
    [
        replace(busy_snapshot(), load_plan=ollama_plan(context_tokens=4096)),
        AgentSnapshot(
            engine=EngineView(name="embedded"),
            capacity=CapacityView(total_mb=20_000),
            machine=SystemStats(total_ram_mb=24_000, free_ram_mb=9000, own_ram_mb=100),
            load_plan=FOUR,
        ),
        AgentSnapshot(),
    ],
    ids=["on a card", "in memory", "just begun"],
)
def test_command_line_sees_the_same_room_as_the_window(snapshot: AgentSnapshot) -> None:
    with_model = replace(snapshot, models=(EngineModel(name="m", size_bytes=Q4, shape=LLAMA_8B),))
    status = json.loads(with_model.to_json())
    assert room_of_json(status) == room_of(snapshot)
    assert shape_of_json(status["models"][0]) == LLAMA_8B


def test_load_that_would_break_the_reserve_is_refused_with_numbers_and_a_remedy() -> None:
    model = EngineModel(name="llama3.1:8b", size_bytes=Q4, shape=LLAMA_8B)
    room = Room(free_mb=9000, budget_mb=9000, plan=ollama_plan(context_tokens=4096))
    refuse_what_breaks_the_reserve(model, room)
    with pytest.raises(NotEnoughMemory, match=r"is too big\. Needs 5\.9 GB of memory .* you lend 4\.9 GB") as refused:
        refuse_what_breaks_the_reserve(model, replace(room, budget_mb=5000))
    assert refused.value.hint == "Offer a smaller model, or lend more memory."
    with pytest.raises(NotEnoughMemory, match=r"does not fit now\. .* 4\.9 GB is free now") as refused:
        refuse_what_breaks_the_reserve(model, replace(room, free_mb=5000))
    assert refused.value.hint.startswith("Close other programs")


def test_engine_that_takes_less_context_is_not_refused_and_is_told_how_much() -> None:
    model = EngineModel(name="llama3.1:8b", size_bytes=Q4, shape=LLAMA_8B)
    plan = ollama_plan(context_tokens=16_384)
    short = Room(free_mb=6500, budget_mb=12_000, plan=plan, can_step_down=True)
    assert "so it is loaded with 4,096 tokens of context instead of 16,384" in judge(Q4, short, LLAMA_8B).sentence
    refuse_what_breaks_the_reserve(model, short)
    less = less_that_fits(model, short)
    assert less is not None
    assert (less.sessions, less.context_tokens) == (1, 4096)
    assert less_that_fits(model, replace(short, free_mb=12_000)) is None
    assert less_that_fits(model, replace(short, free_mb=4_000)) is None
    assert less_that_fits(model, replace(short, can_step_down=False)) is None
    need_mb = rung_of(LLAMA_8B, Q4, plan).need_mb
    assert not fits_whole(model, replace(short, free_mb=need_mb + 1))  # a tenth must be to spare
    assert fits_whole(model, replace(short, free_mb=int(need_mb * 1.1) + 2))


def test_guess_from_a_file_s_size_refuses_only_what_never_fits() -> None:
    model = EngineModel(name="odd", size_bytes=5 * GIB)
    refuse_what_breaks_the_reserve(model, Room(free_mb=1000, budget_mb=9000))
    refuse_what_breaks_the_reserve(EngineModel(name="untold"), Room(free_mb=1, budget_mb=1))
    with pytest.raises(NotEnoughMemory):
        refuse_what_breaks_the_reserve(model, Room(free_mb=1000, budget_mb=5000))


def test_model_that_fits_on_no_single_card_needs_more_on_two() -> None:
    """Each of them has work buffers and an engine's own memory; so the sum of what is free says too much."""
    plan = ollama_plan(context_tokens=4096)
    need_mb = rung_of(LLAMA_8B, Q4, plan).need_mb
    two = replace(CARD, free_mb=need_mb + 100, budget_mb=need_mb + 100, plan=plan, spare_ram_mb=16_000)
    assert judge(Q4, replace(two, card_mb=(need_mb, 100)), LLAMA_8B).fit is Fit.FITS
    verdict = judge(Q4, replace(two, card_mb=(need_mb // 2, need_mb // 2)), LLAMA_8B)
    assert verdict.fit is Fit.PARTLY
    assert "of graphics memory on 2 cards for 1 session" in verdict.sentence
    assert verdict.needed_mb is not None
    assert need_mb + 457 < verdict.needed_mb < need_mb + 1000


def test_room_tells_each_lent_cards_memory_to_window_and_command_line() -> None:
    cards = (
        GpuSample(uuid="a", name="RTX 3060", total_mb=12_288, free_mb=9_000),
        GpuSample(uuid="b", name="RTX 3060", total_mb=12_288, free_mb=12_000),
        GpuSample(uuid="c", name="RTX 4090", total_mb=24_564, free_mb=20_000, kept_because="it drives the display"),
        GpuSample(uuid="d", name="RTX 2060", total_mb=6_144, free_mb=6_000, is_lost=True),
        GpuSample(uuid="e", name="Radeon", total_mb=16_000, free_mb=16_000, is_unified=True),
    )
    snapshot = AgentSnapshot(
        engine=EngineView(name="ollama"),
        capacity=CapacityView(kind="vram", total_mb=22_000),
        loaded_models=(LoadedModel(name="x", vram_mb=3_000),),
        machine=SystemStats(total_vram_mb=24_576, free_vram_mb=21_000, gpus=cards),
        load_plan=ollama_plan(context_tokens=4096),
    )
    room = room_of(snapshot)
    assert (room.free_mb, room.card_mb) == (24_000 - 512, (12_000, 12_288))
    assert room_of_json(json.loads(snapshot.to_json())) == room


@given(st.integers(1, 1 << 45), st.integers(0, 1 << 22), st.integers(1, 1 << 22), st.booleans(), SHAPES, PLANS)
@settings(deadline=None)
def test_more_memory_never_makes_a_verdict_worse(
    size_bytes: int, free_mb: int, budget_mb: int, can_step_down: bool, shape: object, plan: object
) -> None:
    order = [Fit.TOO_BIG, Fit.TIGHT, Fit.FITS]
    room = Room(free_mb=free_mb, budget_mb=budget_mb, plan=plan, can_step_down=can_step_down)  # type: ignore[arg-type]
    more = replace(room, free_mb=free_mb + 1024, budget_mb=budget_mb + 1024)
    for known in (None, shape):
        small, large = judge(size_bytes, room, known), judge(size_bytes, more, known)  # type: ignore[arg-type]
        assert order.index(large.fit) >= order.index(small.fit)
