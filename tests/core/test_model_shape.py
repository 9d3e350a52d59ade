"""A model's figures from its metadata: each architecture's own ways, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from core.model_shape import shape_of


def metadata(architecture: str = "llama", **figures: Any) -> dict[str, Any]:
    """Of a small model; names with "__" for dots replace or add figures, None takes one away."""
    values: dict[str, Any] = {
        "block_count": 12,
        "embedding_length": 1024,
        "feed_forward_length": 4096,
        "context_length": 8192,
        "attention.head_count": 16,
        "attention.head_count_kv": 4,
        "vocab_size": 32000,
    }
    values |= {key.replace("__", "."): value for key, value in figures.items()}
    named = {f"{architecture}.{key}": value for key, value in values.items() if value is not None}
    return {"general.architecture": architecture, **named}


def test_plain_model() -> None:
    shape = shape_of(metadata())
    assert shape is not None
    assert (shape.layers, shape.heads, shape.vocabulary, shape.context_tokens) == (12, 16, 32000, 8192)
    assert shape.full_keys == shape.full_values == 12 * 4 * 64
    assert (shape.window_keys, shape.window_tokens, shape.state_bytes) == (0, 0, 0)


def test_ollama_s_model_info_has_the_same_names_and_no_vocabulary_list() -> None:
    info = metadata() | {"tokenizer.ggml.tokens": None, "tokenizer.ggml.model": "gpt2"}
    assert shape_of(info) == shape_of(metadata())


def test_without_key_value_heads_every_head_has_its_own() -> None:
    shape = shape_of(metadata(attention__head_count_kv=None))
    assert shape is not None
    assert shape.full_keys == 12 * 16 * 64


def test_width_of_a_head_is_the_file_s_own_where_it_says_it() -> None:
    shape = shape_of(metadata("qwen3", attention__key_length=128, attention__value_length=96))
    assert shape is not None
    assert (shape.full_keys, shape.full_values) == (12 * 4 * 128, 12 * 4 * 96)


@pytest.mark.parametrize(
    ("architecture", "full", "window"),
    [("gemma2", 6, 4096), ("gemma3", 2, 512), ("gpt-oss", 6, 512), ("cohere2", 3, 512), ("llama4", 3, 8192)],
)
def test_sliding_window_is_counted_where_the_engine_uses_it(architecture: str, full: int, window: int) -> None:
    said = None if architecture == "gemma2" else 512  # gemma2's first files don't say; llama4's window is the engine's
    shape = shape_of(metadata(architecture, attention__sliding_window=said))
    assert shape is not None
    assert (shape.full_keys, shape.window_keys) == (full * 4 * 64, (12 - full) * 4 * 64)
    assert shape.window_tokens == window


@pytest.mark.parametrize("architecture", ["llama", "phi3", "qwen2", "made-up"])
def test_window_that_the_engine_does_not_use_counts_as_full_attention(architecture: str) -> None:
    shape = shape_of(metadata(architecture, attention__sliding_window=512))
    assert shape is not None
    assert (shape.full_keys, shape.window_keys) == (12 * 4 * 64, 0)


def test_pattern_by_layer_and_shared_layers_are_read() -> None:
    pattern = (True, True, True, False) * 3
    shape = shape_of(
        metadata(
            "gemma4",
            attention__sliding_window=512,
            attention__sliding_window_pattern=pattern,
            attention__shared_kv_layers=4,
            attention__key_length=128,
            attention__value_length=128,
            attention__key_length_swa=64,
            attention__value_length_swa=64,
        )
    )
    assert shape is not None  # the last four layers keep nothing: three with a window, one without
    assert (shape.full_keys, shape.window_keys) == (2 * 4 * 128, 6 * 4 * 64)


def test_layers_without_key_value_heads_carry_a_state() -> None:
    kv_heads = (0, 0, 0, 4) * 3
    shape = shape_of(
        metadata(
            "granitehybrid",
            attention__head_count_kv=kv_heads,
            ssm__inner_size=2048,
            ssm__state_size=128,
            ssm__group_count=1,
            ssm__conv_kernel=4,
        )
    )
    assert shape is not None
    assert shape.full_keys == 3 * 4 * 64
    assert shape.state_bytes == 9 * 4 * (3 * (2048 + 2 * 128) + 128 * 2048)


def test_latent_attention_keeps_its_values_in_its_keys() -> None:
    shape = shape_of(
        metadata(
            "deepseek2",
            attention__head_count_kv=1,
            attention__key_length=576,
            attention__value_length=512,
            attention__key_length_mla=192,
        )
    )
    assert shape is not None
    assert (shape.full_keys, shape.full_values) == (12 * 576, 0)


def test_experts_count_as_far_as_they_are_used() -> None:
    shape = shape_of(metadata("qwen3moe", expert_used_count=8, expert_feed_forward_length=768))
    assert shape is not None
    assert shape.feed_forward == 8 * 768


@pytest.mark.parametrize(
    "broken",
    [
        {"block_count": None},
        {"block_count": 0},
        {"block_count": 10**9},
        {"embedding_length": 2**40},
        {"block_count": "many"},
        {"block_count": True},
    ],
)
def test_figures_that_no_model_has_make_no_shape(broken: dict[str, Any]) -> None:
    assert shape_of(metadata(**broken)) is None


def test_no_architecture_is_no_shape() -> None:
    assert shape_of({}) is None
    assert shape_of({"general.architecture": 7}) is None
