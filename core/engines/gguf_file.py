"""Read the head of a GGUF file: enough to name the model, size its memory, and see that the file is whole.

Source of the format: the GGUF specification in ggml's docs/gguf.md. The file is the owner's download, so every length
in it is checked against the file's size before it is believed; no tensor data is read.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MAX_KEPT_STRING = 4096  # chat templates and the like are skipped, not kept
_MAX_DIMENSIONS = 4

# general.file_type → the usual name (llama.h, enum llama_ftype).
QUANT_NAMES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip

# ggml type → (values per block, bytes per block) (ggml.c, type_traits). A type that isn't here isn't measured.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),
    28: (1, 8), 30: (1, 2),
}  # fmt: skip


class DamagedGguf(Exception):
    """The file is not a whole GGUF that we can serve; the text says why, in the owner's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHead:
    """What the head of one file says."""

    architecture: str
    name: str
    quant: str  # "" when the file doesn't say
    context_tokens: int | None  # the trained maximum
    kv_bytes_per_token: int | None  # 16-bit keys and values of all blocks; None when the head lacks the figures
    split_count: int  # 1 when the model is in one file


def read_gguf_head(path: Path) -> GgufHead:
    """Check a file and read its head. Raises DamagedGguf, or OSError when it cannot be read."""
    size = path.stat().st_size
    if size < 24:
        raise DamagedGguf("the file is empty" if not size else "the file is too short to be a model")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _Reader(data, size).read()


class _Reader:
    """Walks one head once."""

    def __init__(self, data: mmap.mmap, size: int) -> None:
        self._data, self._size, self._at = data, size, 0

    def read(self) -> GgufHead:
        if self._data[:4] != _MAGIC:
            raise DamagedGguf("it does not begin as a GGUF file does")
        self._at = 4
        if (version := self._number("I")) not in _VERSIONS:
            raise DamagedGguf(f"GGUF version {version} is not supported (2 and 3 are)")
        tensors, pairs = self._number("Q"), self._number("Q")
        if tensors > self._size // 24 or pairs > self._size // 12:
            raise DamagedGguf("its head promises more than the file can hold")
        values: dict[str, object] = {}
        for _ in range(pairs):
            key = self._string() or ""
            values[key] = self._value(self._number("I"))
        self._check_tensors(tensors, values.get("general.alignment"))
        return _head_of(values)

    def _check_tensors(self, count: int, alignment: object) -> None:
        """Every tensor's data must lie inside the file: a download that broke off ends early."""
        end = 0
        for _ in range(count):
            self._string()
            dimensions = self._number("I")
            if dimensions > _MAX_DIMENSIONS:
                raise DamagedGguf("a tensor has more dimensions than the format allows")
            values = 1
            for _ in range(dimensions):
                values *= self._number("Q")
            per_block, block_bytes = _BLOCKS.get(self._number("I"), (1, 0))
            end = max(end, self._number("Q") + values // per_block * block_bytes)
        step = alignment if isinstance(alignment, int) and alignment > 0 else 32
        start = -(-self._at // step) * step
        if count and start + end > self._size:
            missing_mb = max(1, (start + end - self._size) >> 20)
            raise DamagedGguf(f"the file is incomplete: at least {missing_mb} MB are missing")

    def _number(self, kind: str) -> int:
        return int(self._scalar(kind))

    def _scalar(self, kind: str) -> int | float | bool:
        width = struct.calcsize("<" + kind)
        at = self._skip(width)
        value: int | float | bool = struct.unpack_from("<" + kind, self._data, at)[0]
        return value

    def _skip(self, count: int) -> int:
        """Move on by `count` bytes; returns where they begin."""
        at = self._at
        if count > self._size - at:
            raise DamagedGguf("the file ends in the middle of its head")
        self._at = at + count
        return at

    def _string(self) -> str | None:
        """A string, or None when it is too long to be worth keeping."""
        length = self._number("Q")
        at = self._skip(length)
        if length > _MAX_KEPT_STRING:
            return None
        return self._data[at : at + length].decode("utf-8", errors="replace")

    def _value(self, kind: int) -> object:
        if kind in _SCALARS:
            return self._scalar(_SCALARS[kind])
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array()
        raise DamagedGguf(f"its head holds a value of an unknown kind ({kind})")

    def _array(self) -> object:
        """Arrays (the vocabulary, mostly) are walked over; only short ones of numbers are kept."""
        kind, count = self._number("I"), self._number("Q")
        if kind in _SCALARS:
            width = struct.calcsize("<" + _SCALARS[kind])
            at = self._skip(width * count)
            if count > 1024:
                return None
            return struct.unpack_from(f"<{count}{_SCALARS[kind]}", self._data, at)
        if kind != _STRING or count > self._size // 8:
            raise DamagedGguf("its head holds an array that the format does not allow")
        data, size, at = self._data, self._size, self._at
        unpack = struct.Struct("<Q").unpack_from
        for _ in range(count):  # hundreds of thousands of tokens: kept tight
            if at + 8 > size:
                raise DamagedGguf("the file ends in the middle of its head")
            at += 8 + unpack(data, at)[0]
        if at > size:
            raise DamagedGguf("the file ends in the middle of its head")
        self._at = at
        return None


def _head_of(values: dict[str, object]) -> GgufHead:
    architecture = _text(values.get("general.architecture"))
    if not architecture:
        raise DamagedGguf("it does not say which kind of model it is")
    file_type = _whole(values.get("general.file_type"))
    return GgufHead(
        architecture=architecture,
        name=_text(values.get("general.name")),
        quant=QUANT_NAMES.get(file_type, "") if file_type is not None else "",
        context_tokens=_whole(values.get(f"{architecture}.context_length")),
        kv_bytes_per_token=_kv_bytes_per_token(architecture, values),
        split_count=_whole(values.get("split.count")) or 1,
    )


def _kv_bytes_per_token(architecture: str, values: dict[str, object]) -> int | None:
    """2 bytes × (key + value width) × key-value heads, summed over the blocks. An upper bound: a model with a sliding
    window or shared layers needs less."""
    blocks = _whole(values.get(f"{architecture}.block_count"))
    heads = _whole(values.get(f"{architecture}.attention.head_count"))
    width = _whole(values.get(f"{architecture}.embedding_length"))
    if not blocks or not heads or not width:
        return None
    kv_heads = values.get(f"{architecture}.attention.head_count_kv", heads)
    key = _whole(values.get(f"{architecture}.attention.key_length")) or width // heads
    value = _whole(values.get(f"{architecture}.attention.value_length")) or width // heads
    if isinstance(kv_heads, tuple):
        return sum(int(count) for count in kv_heads) * (key + value) * 2
    return blocks * (_whole(kv_heads) or heads) * (key + value) * 2


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
