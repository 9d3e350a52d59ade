"""Walk the metadata of a GGUF file, local or remote, without believing a word of it before it is checked.

Source of the format: the GGUF specification in ggml's docs/gguf.md. Every length and count is held against the file's
size first. `read_metadata` stops at the vocabulary, which is nearly all of a head (megabytes): what tells a model's
size stands before it.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import BinaryIO, Protocol

from core.atomic_file import open_plain

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRUCTS = {kind: struct.Struct("<" + code) for kind, code in _SCALARS.items()}
_STRING, _ARRAY = 8, 9
_LONGEST_KEY = 65535  # bytes; the specification's limit
_LONGEST_STRING = 4096  # a chat template is skipped, not kept
_LONGEST_ARRAY = 1024  # numbers; one per layer is kept, one per token is not
_SMALLEST_FILE = 24
_FIRST_READ, _LONGEST_HEAD = 64 << 10, 256 << 20  # bytes; heads have 2 KB to 20 MB
# Far beyond any model (60 pairs, 2,000 tensors, a million strings); what a made-up file could keep us busy with is a
# second, and 150 MB.
_MOST_PAIRS, _MOST_TENSORS, _MOST_STRINGS = 4096, 1 << 17, 1 << 23

VOCABULARY_KEY = "tokenizer.ggml.tokens"  # its length is kept in the array's place

# A remote head is fetched from its beginning in at most three steps: 4.98 MB together. Without the vocabulary a head
# has 2 to 5 KB, with a long description 20; so the first step nearly always is enough.
REMOTE_STEPS = (256 << 10, 1 << 20, 3584 << 10)

FetchRange = Callable[[int, int], bytes]  # (first byte, number of bytes) → those bytes, or fewer at the file's end


class DamagedGguf(Exception):
    """The file is not a whole GGUF that we can serve; the text says why, in the owner's words."""


class HeadTooLong(DamagedGguf):
    """A remote file's figures stand behind more than we fetch to look at it."""


class ByteSource(Protocol):
    """A file's beginning. `data` holds at least what `ensure` was asked for."""

    size: int  # bytes, of the whole file

    @property
    def data(self) -> bytearray: ...

    def ensure(self, end: int) -> None:
        """Make the first `end` bytes available. Raises DamagedGguf where the file has fewer."""
        ...


class LocalBytes:
    """A file on this machine, read as far as it is looked at. Not mapped: when a disk is pulled out meanwhile, or the
    file is cut, the system would end the program.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.size = size
        self.data = bytearray()
        self._file = file

    def ensure(self, end: int) -> None:
        """Raises DamagedGguf, and OSError where the disk gives nothing more."""
        if end > _LONGEST_HEAD and end <= self.size:
            raise DamagedGguf("its head is longer than any model's")
        if end > len(self.data):
            wanted = min(self.size, max(end, 2 * len(self.data), _FIRST_READ))
            self.data += self._file.read(wanted - len(self.data))
        if end > len(self.data):
            raise DamagedGguf("the file ends in the middle of its head")


class RemoteBytes:
    """A file that is read by ranges, from its beginning, as far as needed and never beyond `steps`."""

    def __init__(self, fetch: FetchRange, size: int, *, steps: Sequence[int] = REMOTE_STEPS) -> None:
        """`fetch` blocks, and may raise what it likes: it is passed on. `steps` are bytes, a request each."""
        self.size = size
        self.requests = 0
        self._fetch = fetch
        self._steps = steps
        self._data = bytearray()

    @property
    def data(self) -> bytearray:
        return self._data

    def ensure(self, end: int) -> None:
        if end > self.size:
            raise DamagedGguf("the file ends in the middle of its head")
        while end > len(self._data):
            if self.requests == len(self._steps):
                raise HeadTooLong(f"its figures are not in its first {len(self._data) / 1e6:.1f} MB")
            step = min(self._steps[self.requests], self.size - len(self._data))
            self.requests += 1
            piece = self._fetch(len(self._data), step)
            if len(piece) < step:
                raise DamagedGguf("the server sent less of the file than it promised")
            self._data += piece[:step]


@contextmanager
def open_local(path: Path) -> Iterator[LocalBytes]:
    """The file's bytes. Raises DamagedGguf for one that is too short, OSError for one that can't be read."""
    size = _plain_size(path)
    if size < _SMALLEST_FILE:
        raise DamagedGguf("the file is empty" if not size else "the file is too short to be a model")
    with os.fdopen(open_plain(path), "rb") as file:
        yield LocalBytes(file, size)


def _plain_size(path: Path) -> int:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise DamagedGguf("it is no plain file")
    return found.st_size


def read_metadata(source: ByteSource) -> Mapping[str, object]:
    """The metadata up to the vocabulary once the model's figures are known, else all of it. Raises DamagedGguf."""
    return GgufReader(source).read_metadata(has_enough=_has_figures)


class GgufReader:
    """Walks one head once, front to back."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self.at = 0  # the next byte
        self.tensors = 0  # how many follow the metadata
        self._strings_left = _MOST_STRINGS

    def read_metadata(
        self, has_enough: Callable[[Mapping[str, object]], bool] = lambda values: False
    ) -> dict[str, object]:
        """All values that are worth keeping; stops at a `tokenizer.*` array when `has_enough` of what came before.

        Long strings and arrays are left out; the vocabulary's length stands in its place.
        """
        source = self._source
        source.ensure(min(4, source.size))
        if bytes(source.data[:4]) != _MAGIC:
            raise DamagedGguf("it does not begin as a GGUF file does")
        self.at = 4
        if (version := self.number(4)) not in _VERSIONS:
            raise DamagedGguf(f"GGUF version {version} is not supported (2 and 3 are)")
        self.tensors, pairs = self.number(10), self.number(10)
        if self.tensors > source.size // 24 or pairs > source.size // 12:
            raise DamagedGguf("its head promises more than the file can hold")
        if self.tensors > _MOST_TENSORS or pairs > _MOST_PAIRS:
            raise DamagedGguf("its head promises more than any model has")
        values: dict[str, object] = {}
        for _ in range(pairs):
            key = self.string(_LONGEST_KEY)
            if key is None:
                raise DamagedGguf("its head holds a name that is longer than the format allows")
            kind = self.number(4)
            if kind == _ARRAY:
                item_kind, count = self.number(4), self.number(10)
                if key == VOCABULARY_KEY:
                    values[key] = count
                if key.startswith("tokenizer.") and has_enough(values):
                    return values
                found = self._array(item_kind, count)
                values.setdefault(key, found)
            else:
                values[key] = self._value(kind)
        return values

    def number(self, kind: int) -> int:
        return int(self._scalar(kind))

    def string(self, longest: int = _LONGEST_STRING) -> str | None:
        """A string, or None when it is longer than is worth keeping."""
        length = self.number(10)
        at = self.skip(length) if length > longest else self._take(length)
        return None if length > longest else bytes(self._source.data[at : at + length]).decode(errors="replace")

    def skip(self, count: int) -> int:
        """Move on by `count` bytes without looking at them; returns where they begin."""
        at = self.at
        if count > self._source.size - at:
            raise DamagedGguf("the file ends in the middle of its head")
        self.at = at + count
        return at

    def _take(self, count: int) -> int:
        at = self.skip(count)
        self._source.ensure(self.at)
        return at

    def _scalar(self, kind: int) -> int | float | bool:
        form = _STRUCTS[kind]
        at = self._take(form.size)
        value: int | float | bool = form.unpack_from(self._source.data, at)[0]
        return value

    def _value(self, kind: int) -> object:
        if kind in _SCALARS:
            return self._scalar(kind)
        if kind == _STRING:
            return self.string()
        raise DamagedGguf(f"its head holds a value of an unknown kind ({kind})")

    def _array(self, kind: int, count: int) -> object:
        """Walked over; only short ones of numbers are kept."""
        if kind in _SCALARS:
            width = _STRUCTS[kind].size
            if count > _LONGEST_ARRAY:
                self.skip(width * count)
                return None
            at = self._take(width * count)
            return struct.unpack_from(f"<{count}{_SCALARS[kind]}", self._source.data, at)
        if kind != _STRING or count > self._source.size // 8:
            raise DamagedGguf("its head holds an array that the format does not allow")
        self._skip_strings(count)
        return None

    def _skip_strings(self, count: int) -> None:
        """Hundreds of thousands of tokens: kept tight. A remote head is fetched as it is walked."""
        self._strings_left -= count
        if self._strings_left < 0:
            raise DamagedGguf("its head promises more than any model has")
        source, at, unpack, rest = self._source, self.at, _STRUCTS[10].unpack_from, repeat(None, count)
        is_over = False
        while not is_over:
            data = source.data
            try:
                for _ in rest:
                    at += 8 + unpack(data, at)[0]
                is_over = True
            except (struct.error, OverflowError):  # the length of this one lies beyond what is here
                source.ensure(at + 8)
                at += 8 + unpack(source.data, at)[0]
        self.skip(at - self.at)


def _has_figures(values: Mapping[str, object]) -> bool:
    """Whether what core/model_shape.py needs is there: the sizes of a model stand together, before its vocabulary."""
    architecture = values.get("general.architecture")
    needed = ("block_count", "embedding_length")
    return (
        isinstance(architecture, str)
        and all(f"{architecture}.{key}" in values for key in needed)
        and VOCABULARY_KEY in values
    )
