"""Generated GGUF files of architectures that keep their keys and values in ways of their own, small and all zero.

Latent attention (deepseek2), experts with a window on every second layer (gpt-oss), a window beside soft caps (gemma2),
layers with a state of fixed size (granitehybrid), and nothing but such layers (mamba).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import gguf
import numpy as np

from tests.fakes.gguf_models import write_tokenizer

VOCABULARY, WIDTH, FEED_FORWARD, HEADS, KV_HEADS, HEAD, LAYERS, CONTEXT = 32_000, 512, 1024, 8, 2, 64, 12, 16_384
_QUANT = gguf.GGMLQuantizationType.Q8_0

Figure = int | float | bool | str | Sequence[int]


class _File:
    """One model: its figures, then its tensors."""

    def __init__(self, path: Path, architecture: str, figures: Mapping[str, Figure]) -> None:
        self._writer = gguf.GGUFWriter(path, architecture)
        self._writer.add_name(architecture)
        usual: dict[str, Figure] = {
            "context_length": CONTEXT,
            "embedding_length": WIDTH,
            "block_count": LAYERS,
            "feed_forward_length": FEED_FORWARD,
            "attention.head_count": HEADS,
            "attention.head_count_kv": KV_HEADS,
            "attention.key_length": HEAD,
            "attention.value_length": HEAD,
            "attention.layer_norm_rms_epsilon": 1e-5,
            "vocab_size": VOCABULARY,
            "rope.dimension_count": HEAD,
        }
        for key, value in {**usual, **figures}.items():
            self._figure(f"{architecture}.{key}", value)
        write_tokenizer(self._writer, VOCABULARY)
        self.matrix("token_embd", VOCABULARY, WIDTH)
        self.vector("output_norm", WIDTH)

    def _figure(self, key: str, value: Figure) -> None:
        if isinstance(value, bool):
            self._writer.add_bool(key, value)
        elif isinstance(value, int):
            self._writer.add_uint32(key, value)
        elif isinstance(value, float):
            self._writer.add_float32(key, value)
        else:
            self._writer.add_array(key, value)

    def matrix(self, name: str, *shape: int) -> None:
        data = np.zeros(gguf.quant_shape_to_byte_shape(shape, _QUANT), np.uint8)
        self._writer.add_tensor(f"{name}.weight", data, raw_dtype=_QUANT)

    def vector(self, name: str, *shape: int, suffix: str = ".weight") -> None:
        self._writer.add_tensor(f"{name}{suffix}", np.ones(shape, np.float32))

    def bias(self, name: str, *shape: int) -> None:
        self.vector(name, *shape, suffix=".bias")

    def attention(self, block: str) -> None:
        self.vector(f"{block}attn_norm", WIDTH)
        self.matrix(f"{block}attn_q", HEADS * HEAD, WIDTH)
        self.matrix(f"{block}attn_k", KV_HEADS * HEAD, WIDTH)
        self.matrix(f"{block}attn_v", KV_HEADS * HEAD, WIDTH)
        self.matrix(f"{block}attn_output", WIDTH, HEADS * HEAD)

    def feed_forward(self, block: str, kind: str = "", width: int = FEED_FORWARD) -> None:
        for part, shape in (("gate", (width, WIDTH)), ("up", (width, WIDTH)), ("down", (WIDTH, width))):
            self.matrix(f"{block}ffn_{part}{kind}", *shape)

    def experts(self, block: str, count: int, width: int) -> None:
        self.vector(f"{block}ffn_gate_inp", count, WIDTH)
        for part, shape in (("gate", (width, WIDTH)), ("up", (width, WIDTH)), ("down", (WIDTH, width))):
            self.matrix(f"{block}ffn_{part}_exps", count, *shape)

    def close(self) -> None:
        self._writer.write_header_to_file()
        self._writer.write_kv_data_to_file()
        self._writer.write_tensors_to_file()
        self._writer.close()


def _gemma2(path: Path) -> None:
    file = _File(path, "gemma2", {"attention.sliding_window": 512})
    for block in _blocks():
        file.attention(block)
        for norm in ("post_attention_norm", "ffn_norm", "post_ffw_norm"):
            file.vector(block + norm, WIDTH)
        file.feed_forward(block)
    file.close()


def _gpt_oss(path: Path) -> None:
    experts, wide = 8, 512
    figures: dict[str, Figure] = {
        "attention.sliding_window": 256,
        "expert_count": experts,
        "expert_used_count": 4,
        "expert_feed_forward_length": wide,
    }
    file = _File(path, "gpt-oss", figures)
    file.matrix("output", VOCABULARY, WIDTH)
    for block in _blocks():
        file.attention(block)
        file.vector(f"{block}post_attention_norm", WIDTH)
        file.vector(f"{block}attn_sinks", HEADS)
        file.experts(block, experts, wide)
        for name, rows in (("q", HEADS * HEAD), ("k", KV_HEADS * HEAD), ("v", KV_HEADS * HEAD), ("output", WIDTH)):
            file.bias(f"{block}attn_{name}", rows)
        file.bias(f"{block}ffn_gate_inp", experts)
        for part, rows in (("gate", wide), ("up", wide), ("down", WIDTH)):
            file.bias(f"{block}ffn_{part}_exps", experts, rows)
    file.close()


def _deepseek2(path: Path) -> None:
    """Latent attention: one key of 320 values for all heads, and no values."""
    latent, rope, plain, value, queries = 256, 64, 128, 128, 384
    experts, wide = 8, 256
    figures: dict[str, Figure] = {
        "attention.head_count_kv": 1,
        "attention.key_length": latent + rope,
        "attention.value_length": latent,
        "attention.key_length_mla": plain + rope,
        "attention.value_length_mla": value,
        "attention.q_lora_rank": queries,
        "attention.kv_lora_rank": latent,
        "rope.dimension_count": rope,
        "leading_dense_block_count": 1,
        "expert_count": experts,
        "expert_used_count": 2,
        "expert_shared_count": 1,
        "expert_feed_forward_length": wide,
        "expert_weights_scale": 1.0,
        "expert_weights_norm": True,
        "expert_gating_func": 2,
    }
    file = _File(path, "deepseek2", figures)
    file.matrix("output", VOCABULARY, WIDTH)
    for number, block in enumerate(_blocks()):
        for norm, width in (("attn", WIDTH), ("attn_q_a", queries), ("attn_kv_a", latent), ("ffn", WIDTH)):
            file.vector(f"{block}{norm}_norm", width)
        file.matrix(f"{block}attn_q_a", queries, WIDTH)
        file.matrix(f"{block}attn_q_b", HEADS * (plain + rope), queries)
        file.matrix(f"{block}attn_kv_a_mqa", latent + rope, WIDTH)
        file.matrix(f"{block}attn_k_b", HEADS, latent, plain)
        file.matrix(f"{block}attn_v_b", HEADS, value, latent)
        file.matrix(f"{block}attn_output", WIDTH, HEADS * value)
        if number == 0:
            file.feed_forward(block)
        else:
            file.experts(block, experts, wide)
            file.bias(f"{block}exp_probs_b", experts)
            file.feed_forward(block, "_shexp", wide)
    file.close()


def _granitehybrid(path: Path) -> None:
    """Three layers of four carry a state, the fourth keeps keys and values."""
    inner, state, kernel, heads = 1024, 128, 4, 32
    kv_heads = [0 if number % 4 else KV_HEADS for number in range(LAYERS)]
    figures: dict[str, Figure] = {
        "attention.head_count_kv": kv_heads,
        "ssm.conv_kernel": kernel,
        "ssm.inner_size": inner,
        "ssm.state_size": state,
        "ssm.time_step_rank": heads,
        "ssm.group_count": 1,
        "logit_scale": 1.0,
        "residual_scale": 1.0,
        "embedding_scale": 1.0,
        "attention.scale": 0.1,
    }
    file = _File(path, "granitehybrid", figures)
    for number, block in enumerate(_blocks()):
        file.vector(f"{block}ffn_norm", WIDTH)
        file.feed_forward(block)
        if kv_heads[number]:
            file.attention(block)
            continue
        file.vector(f"{block}attn_norm", WIDTH)
        file.matrix(f"{block}ssm_in", 2 * inner + 2 * state + heads, WIDTH)
        file.vector(f"{block}ssm_conv1d", inner + 2 * state, kernel)
        file.bias(f"{block}ssm_conv1d", inner + 2 * state)
        file.bias(f"{block}ssm_dt", heads)
        file.vector(f"{block}ssm_a", heads, 1, suffix="")
        file.vector(f"{block}ssm_d", heads, 1, suffix="")
        file.vector(f"{block}ssm_norm", 1, inner)
        file.matrix(f"{block}ssm_out", WIDTH, inner)
    file.close()


def _mamba(path: Path) -> None:
    inner, state, kernel, rank = 1024, 16, 4, 32
    figures: dict[str, Figure] = {
        "attention.head_count": 0,
        "attention.head_count_kv": 0,
        "feed_forward_length": 0,
        "ssm.conv_kernel": kernel,
        "ssm.inner_size": inner,
        "ssm.state_size": state,
        "ssm.time_step_rank": rank,
    }
    file = _File(path, "mamba", figures)
    for block in _blocks():
        file.vector(f"{block}attn_norm", WIDTH)
        file.matrix(f"{block}ssm_in", 2 * inner, WIDTH)
        file.vector(f"{block}ssm_conv1d", inner, kernel)
        file.bias(f"{block}ssm_conv1d", inner)
        file.matrix(f"{block}ssm_x", rank + 2 * state, inner)
        file.matrix(f"{block}ssm_dt", inner, rank)
        file.bias(f"{block}ssm_dt", inner)
        file.vector(f"{block}ssm_a", inner, state, suffix="")
        file.vector(f"{block}ssm_d", inner, suffix="")
        file.matrix(f"{block}ssm_out", WIDTH, inner)
    file.close()


def _blocks() -> list[str]:
    return [f"blk.{number}." for number in range(LAYERS)]


WRITERS: Mapping[str, Callable[[Path], None]] = {
    "gemma2": _gemma2,
    "gpt-oss": _gpt_oss,
    "deepseek2": _deepseek2,
    "granitehybrid": _granitehybrid,
    "mamba": _mamba,
}
