"""The memory arithmetic: against llama.cpp itself, against published files, and never the wrong way round."""

from __future__ import annotations

import os
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.memory_need import (
    CACHE_TYPES,
    LoadPlan,
    cache_bytes,
    compute_bytes,
    embedded_plan,
    memory_need,
    ollama_plan,
    session_cells,
)
from core.model_shape import ModelShape
from core.quantization import BITS_PER_WEIGHT, size_as, size_at
from tests.fakes.gguf_architectures import WRITERS
from tests.fakes.gguf_models import MODELS, TinyModel, write_model
from tests.fakes.llama_8b import LLAMA_8B, PARAMETERS_8B

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
CHECK: dict[str, Any] = runpy.run_path(os.fspath(ROOT / "scripts" / "check-model-memory"))

# https://huggingface.co/bartowski/Meta-Llama-3.1-8B-Instruct-GGUF, its list of files: gigabytes of 10^9 bytes.
PUBLISHED_GB = {
    "Q8_0": 8.54,
    "Q6_K": 6.60,
    "Q5_K_M": 5.73,
    "Q4_K_M": 4.92,
    "Q4_K_S": 4.69,
    "IQ4_XS": 4.45,
    "Q3_K_L": 4.32,
    "IQ3_M": 3.78,
    "Q2_K": 3.18,
    "IQ2_M": 2.95,
}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_estimate_meets_the_engine_s_own_report(tmp_path: Path, model: TinyModel) -> None:
    """The issue asks for ±10 %; it is a third of that. docs/models.md has the table, with more plans."""
    path = tmp_path / "model.gguf"
    write_model(path, model)
    need, said = CHECK["estimate"](path, 2, 2048), CHECK["report"](path, 2, 2048)
    assert need.cache / MIB == pytest.approx(said.cache, abs=0.02)
    assert need.compute / MIB == pytest.approx(said.compute, abs=0.05)
    assert (need.weights + need.cache + need.compute) / MIB == pytest.approx(said.total, rel=0.035)
    # The whole process is never more than was said; a repacked copy's original is mapped, and the system's to take.
    assert said.resident <= need.total / MIB + said.repacked


@pytest.mark.parametrize("architecture", WRITERS)
def test_keys_values_and_states_of_odd_architectures_are_the_engines_own(tmp_path: Path, architecture: str) -> None:
    """Latent attention, windows, experts, recurrent layers: what a rule of thumb gets wrong several times over."""
    path = tmp_path / "model.gguf"
    WRITERS[architecture](path)
    need, said = CHECK["estimate"](path, 2, 2048), CHECK["report"](path, 2, 2048)
    assert need.cache / MIB == pytest.approx(said.cache, abs=0.02)
    assert (need.weights + need.cache + need.compute) / MIB == pytest.approx(said.total, rel=0.035)


@pytest.mark.parametrize("quant", PUBLISHED_GB)
def test_size_at_a_quant_meets_the_published_file(quant: str) -> None:
    assert size_at(PARAMETERS_8B, quant) / 1e9 == pytest.approx(PUBLISHED_GB[quant], rel=0.02)


def test_size_of_one_quant_tells_that_of_another() -> None:
    for have in PUBLISHED_GB:
        for wanted in PUBLISHED_GB:
            size = size_as(int(PUBLISHED_GB[have] * 1e9), have, wanted)
            assert size is not None
            assert size / 1e9 == pytest.approx(PUBLISHED_GB[wanted], rel=0.03), (have, wanted)


def test_eight_billion_parameters_with_four_sessions() -> None:
    """128 KiB of keys and values for each token, the figure that llama.cpp's own log gives for Llama 3 8B."""
    plan = embedded_plan(sessions=4, context_tokens=4096, batch_tokens=32)
    assert cache_bytes(LLAMA_8B, plan) == 4 * 4096 * 128 * 1024
    need = memory_need(LLAMA_8B, 4_920_734_272, plan)
    assert 6_800 <= need.total_mb <= 7_000


def test_work_buffers_of_512_tokens_with_logits_for_each() -> None:
    """Public logs of Ollama with Llama 3 8B say 258.50 MiB at 512 to 2,048 tokens, and 560.00 MiB at 8,192, both
    without flash attention, and 1,024.00 MiB of keys and values at 8,192.
    """
    assert 258.5 <= compute_bytes(LLAMA_8B, ollama_plan(context_tokens=2048)) / MIB <= 300
    assert compute_bytes(LLAMA_8B, ollama_plan(context_tokens=8192)) / MIB == pytest.approx(560, abs=1)
    assert cache_bytes(LLAMA_8B, ollama_plan(context_tokens=8192)) == 1024 * MIB


def test_context_is_padded_as_the_engine_pads_it() -> None:
    assert [session_cells(tokens) for tokens in (0, 1, 256, 257, 1000)] == [256, 256, 256, 512, 1024]


SHAPES = st.builds(
    ModelShape,
    architecture=st.just("any"),
    layers=st.integers(1, 200),
    embedding=st.integers(1, 1 << 14),
    feed_forward=st.integers(0, 1 << 16),
    heads=st.integers(0, 256),
    vocabulary=st.integers(0, 300_000),
    context_tokens=st.none(),
    full_keys=st.integers(0, 1 << 18),
    full_values=st.integers(0, 1 << 18),
    window_keys=st.integers(0, 1 << 18),
    window_values=st.integers(0, 1 << 18),
    window_tokens=st.integers(0, 1 << 15),
    state_bytes=st.integers(0, 1 << 30),
)
PLANS = st.builds(
    LoadPlan,
    sessions=st.integers(1, 64),
    context_tokens=st.integers(1, 1 << 20),
    batch_tokens=st.sampled_from([32, 512]),
    cache_type=st.sampled_from(sorted(CACHE_TYPES)),
    flash_attention=st.booleans(),
    logit_rows=st.sampled_from([0, 512]),
    cards=st.integers(1, 3),
)


@given(SHAPES, PLANS, st.integers(0, 1 << 40), st.integers(0, 64), st.integers(0, 1 << 20), st.integers(0, 1 << 36))
@settings(deadline=None)
def test_more_context_sessions_or_weights_never_needs_less(
    shape: ModelShape, plan: LoadPlan, weights: int, sessions: int, context: int, more_weights: int
) -> None:
    before = memory_need(shape, weights, plan).total
    more = plan.smaller(sessions=plan.sessions + sessions, context_tokens=plan.context_tokens + context)
    assert memory_need(shape, weights + more_weights, more).total >= before
    assert memory_need(shape, weights, plan.smaller(sessions=plan.sessions + sessions)).total >= before
    assert memory_need(shape, weights, plan.smaller(context_tokens=plan.context_tokens + context)).total >= before


@given(SHAPES, PLANS, st.sampled_from(sorted(CACHE_TYPES)))
@settings(deadline=None)
def test_more_bits_in_the_cache_never_need_less(shape: ModelShape, plan: LoadPlan, other: str) -> None:
    fewer, more = sorted((plan.cache_type, other), key=lambda name: CACHE_TYPES[name])
    assert cache_bytes(shape, replace(plan, cache_type=fewer)) <= cache_bytes(shape, replace(plan, cache_type=more))


@given(st.integers(1, 10**12), st.sampled_from(sorted(BITS_PER_WEIGHT)), st.sampled_from(sorted(BITS_PER_WEIGHT)))
@settings(deadline=None)
def test_more_bits_in_the_weights_never_need_less(parameters: int, one: str, other: str) -> None:
    fewer, more = sorted((one, other), key=lambda quant: BITS_PER_WEIGHT[quant])
    assert size_at(parameters, fewer) <= size_at(parameters, more)


@given(SHAPES, PLANS, st.integers(0, 1 << 40))
@settings(deadline=None)
def test_window_never_needs_more_than_full_attention(shape: ModelShape, plan: LoadPlan, weights: int) -> None:
    full = replace(
        shape,
        full_keys=shape.full_keys + shape.window_keys,
        full_values=shape.full_values + shape.window_values,
        window_keys=0,
        window_values=0,
    )
    assert cache_bytes(shape, plan) <= cache_bytes(full, plan)
