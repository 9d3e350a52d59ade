"""Check a GGUF file whole: name the model, tell its shape, and see that no download broke off in the middle.

core/gguf_reader.py reads the format; here is what only a local file is asked: where its tensors end. No tensor data is
read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.gguf_reader import ByteSource, DamagedGguf, GgufReader, open_local
from core.model_shape import ModelShape, shape_of

_MAX_DIMENSIONS = 4
_MOST_BYTES = 1 << 50  # of a tensor, and to where it lies

# general.file_type → the usual name (llama.h, enum llama_ftype).
QUANT_NAMES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip

# ggml type → (values per block, bytes per block) (ggml.c, type_traits). A type that isn't here isn't measured.
BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 16: (256, 66), 17: (256, 74), 18: (256, 98),
    19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4),
    27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHead:
    """What the head of one file says."""

    architecture: str  # "" in the later parts of a split model: the first has all metadata
    name: str
    quant: str  # "" when the file doesn't say
    context_tokens: int | None  # the trained maximum
    shape: ModelShape | None  # None when the head lacks the figures
    split_count: int  # 1 when the model is in one file


def read_gguf_head(path: Path) -> GgufHead:
    """Check a file and read its head. Raises DamagedGguf, or OSError when it cannot be read."""
    with open_local(path) as source:
        reader = GgufReader(source)
        values = reader.read_metadata()
        _check_tensors(reader, source, values.get("general.alignment"))
    return _head_of(values)


def quant_of(values: Mapping[str, object]) -> str:
    """The quantisation that metadata names, "" when it doesn't."""
    return QUANT_NAMES.get(file_type, "") if (file_type := _whole(values.get("general.file_type"))) is not None else ""


def _check_tensors(reader: GgufReader, source: ByteSource, alignment: object) -> None:
    """Every tensor's data must lie inside the file: a download that broke off ends early."""
    end = 0
    for _ in range(reader.tensors):
        reader.string()
        dimensions = reader.number(4)
        if dimensions > _MAX_DIMENSIONS:
            raise DamagedGguf("a tensor has more dimensions than the format allows")
        values = 1
        for _ in range(dimensions):
            values *= reader.number(10)
        per_block, block_bytes = BLOCKS.get(reader.number(4), (1, 0))
        end = max(end, reader.number(10) + values // per_block * block_bytes)
        if max(end, values) > _MOST_BYTES:
            raise DamagedGguf("its head tells of a tensor that is larger than any model")
    step = alignment if isinstance(alignment, int) and alignment > 0 else 32
    start = -(-reader.at // step) * step
    if reader.tensors and start + end > source.size:
        missing_mb = max(1, (start + end - source.size) >> 20)
        raise DamagedGguf(f"the file is incomplete: at least {missing_mb} MB are missing")


def _head_of(values: Mapping[str, object]) -> GgufHead:
    architecture = _text(values.get("general.architecture"))
    if not architecture and not _whole(values.get("split.no")):
        raise DamagedGguf("it does not say which kind of model it is")
    return GgufHead(
        architecture=architecture,
        name=_text(values.get("general.name")),
        quant=quant_of(values),
        context_tokens=_whole(values.get(f"{architecture}.context_length")),
        shape=shape_of(values),
        split_count=_whole(values.get("split.count")) or 1,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
