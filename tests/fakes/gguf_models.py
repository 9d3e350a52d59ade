"""Generated GGUF files: real shapes of several architectures and quants, made small, with weights that are all zero.

What matters is that llama.cpp loads them and reports what it allocates; their answers are nothing. Written with the
`gguf` package, which only tests have.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

SPECIALS = ("<|bos|>", "<|endoftext|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}<|assistant|>"


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyModel:
    """The shape of one generated model. Widths are multiples of 256, as K-quants need them."""

    name: str
    architecture: str = "llama"  # "llama", "qwen2", "qwen3" or "gemma3"
    quant: str = "Q8_0"  # of every matrix; vectors are F32
    blocks: int = 4
    width: int = 512
    feed_forward: int = 1536
    heads: int = 8
    kv_heads: int = 2
    head_width: int = 64
    vocabulary: int = 32000
    context: int = 8192
    experts: int = 0
    experts_used: int = 0
    window: int = 0
    has_output: bool = True  # False: the embeddings are used for the output too
    file_type: int | None = None  # general.file_type


class _Tensors:
    def __init__(self, writer: gguf.GGUFWriter, quant: str) -> None:
        self._writer, self._type = writer, gguf.GGMLQuantizationType[quant]

    def matrix(self, name: str, *shape: int) -> None:
        if self._type in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16):
            kind = np.float32 if self._type is gguf.GGMLQuantizationType.F32 else np.float16
            self._writer.add_tensor(name, np.zeros(shape, kind))
            return
        data = np.zeros(gguf.quant_shape_to_byte_shape(shape, self._type), np.uint8)
        self._writer.add_tensor(name, data, raw_dtype=self._type)

    def vector(self, name: str, *shape: int) -> None:
        self._writer.add_tensor(name, np.ones(shape, np.float32))


def byte_tokens() -> list[str]:
    """GPT-2's printable stand-in for each of the 256 bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(hidden)) for byte in range(256)]


def write_tokenizer(writer: gguf.GGUFWriter, size: int) -> None:
    """A byte-level vocabulary of `size` tokens; those beyond the bytes stand for nothing."""
    made_up = size - 256 - len(SPECIALS)
    tokens = byte_tokens() + [f"ZZ{number}" for number in range(made_up)] + list(SPECIALS)
    kinds = [gguf.TokenType.NORMAL] * (256 + made_up) + [gguf.TokenType.CONTROL] * len(SPECIALS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["t h", "th e"])
    writer.add_bos_token_id(size - 4)
    writer.add_eos_token_id(size - 3)
    writer.add_chat_template(CHAT_TEMPLATE)


def write_model(path: Path, model: TinyModel, *, tensors_per_file: int = 0) -> None:
    """In one file, or in several (`x-00001-of-00003.gguf` beside `path`) as gguf-split and the package write them."""
    writer = gguf.GGUFWriter(path, model.architecture, split_max_tensors=tensors_per_file)
    writer.add_name(model.name)
    writer.add_context_length(model.context)
    writer.add_embedding_length(model.width)
    writer.add_block_count(model.blocks)
    writer.add_feed_forward_length(model.feed_forward)
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.kv_heads)
    writer.add_key_length(model.head_width)
    writer.add_value_length(model.head_width)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(model.vocabulary)
    writer.add_rope_dimension_count(model.head_width)
    if model.experts:
        writer.add_expert_count(model.experts)
        writer.add_expert_used_count(model.experts_used)
    if model.window:
        writer.add_sliding_window(model.window)
    if model.file_type is not None:
        writer.add_file_type(model.file_type)
    write_tokenizer(writer, model.vocabulary)
    tensors = _Tensors(writer, model.quant)
    tensors.matrix("token_embd.weight", model.vocabulary, model.width)
    if model.has_output:
        tensors.matrix("output.weight", model.vocabulary, model.width)
    tensors.vector("output_norm.weight", model.width)
    for block in range(model.blocks):
        _write_block(tensors, f"blk.{block}.", model)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_block(tensors: _Tensors, prefix: str, model: TinyModel) -> None:
    width, ff = model.width, model.feed_forward
    queries, keys = model.heads * model.head_width, model.kv_heads * model.head_width
    tensors.vector(prefix + "attn_norm.weight", width)
    tensors.vector(prefix + "ffn_norm.weight", width)
    for part, rows in (("attn_q", queries), ("attn_k", keys), ("attn_v", keys)):
        tensors.matrix(f"{prefix}{part}.weight", rows, width)
        if model.architecture == "qwen2":
            tensors.vector(f"{prefix}{part}.bias", rows)
    tensors.matrix(prefix + "attn_output.weight", width, queries)
    if model.architecture in ("qwen3", "gemma3"):
        tensors.vector(prefix + "attn_q_norm.weight", model.head_width)
        tensors.vector(prefix + "attn_k_norm.weight", model.head_width)
    if model.architecture == "gemma3":
        tensors.vector(prefix + "post_attention_norm.weight", width)
        tensors.vector(prefix + "post_ffw_norm.weight", width)
    if model.experts:
        tensors.vector(prefix + "ffn_gate_inp.weight", model.experts, width)
        for part, shape in (("gate", (ff, width)), ("up", (ff, width)), ("down", (width, ff))):
            tensors.matrix(f"{prefix}ffn_{part}_exps.weight", model.experts, *shape)
        return
    tensors.matrix(prefix + "ffn_gate.weight", ff, width)
    tensors.matrix(prefix + "ffn_up.weight", ff, width)
    tensors.matrix(prefix + "ffn_down.weight", width, ff)


# What the estimates are checked against: eight shapes, eight quants, four architectures.
MODELS = (
    TinyModel(name="llama-q8_0", quant="Q8_0", blocks=8, file_type=7),
    TinyModel(name="llama-f16-mha", quant="F16", blocks=6, kv_heads=8, feed_forward=1024, file_type=1),
    TinyModel(
        name="llama-q4_k", quant="Q4_K", blocks=6, width=1024, heads=16, kv_heads=4, feed_forward=2816, file_type=15
    ),
    TinyModel(
        name="llama-moe-q5_k",
        quant="Q5_K",
        width=768,
        heads=12,
        kv_heads=4,
        feed_forward=1024,
        experts=8,
        experts_used=2,
        file_type=17,
    ),
    TinyModel(
        name="llama-q2_k", quant="Q2_K", blocks=10, width=1024, heads=16, kv_heads=8, feed_forward=2560, file_type=10
    ),
    TinyModel(name="qwen2-q6_k", architecture="qwen2", quant="Q6_K", vocabulary=151936, has_output=False, file_type=18),
    TinyModel(
        name="qwen3-iq4_xs",
        architecture="qwen3",
        quant="IQ4_XS",
        blocks=8,
        width=1024,
        heads=16,
        kv_heads=8,
        head_width=128,
        feed_forward=3072,
        vocabulary=64000,
        has_output=False,
        file_type=30,
    ),
    TinyModel(
        name="gemma3-q3_k",
        architecture="gemma3",
        quant="Q3_K",
        blocks=12,
        width=768,
        heads=4,
        kv_heads=1,
        head_width=256,
        feed_forward=2048,
        vocabulary=64000,
        window=512,
        has_output=False,
        context=32768,
        file_type=12,
    ),
)
