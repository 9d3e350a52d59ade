"""The metadata reader: where it stops, what it refuses, what it fetches."""

from __future__ import annotations

import io
import os
import struct
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.assets_path import selftest_model_path
from core.engines.gguf_file import read_gguf_head
from core.gguf_reader import (
    REMOTE_STEPS,
    VOCABULARY_KEY,
    DamagedGguf,
    GgufReader,
    HeadTooLong,
    LocalBytes,
    RemoteBytes,
    open_local,
    read_metadata,
)
from core.model_shape import shape_of
from tests.fakes.gguf_models import TinyModel, write_model

SELFTEST = selftest_model_path().read_bytes()
HEAD_BYTES = len(SELFTEST) - 435_968  # what isn't tensor data


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def u32(key: str, value: int) -> bytes:
    return text(key) + struct.pack("<II", 4, value)


def string(key: str, value: str) -> bytes:
    return text(key) + struct.pack("<I", 8) + text(value)


def strings(key: str, count: int, content: bytes) -> bytes:
    return text(key) + struct.pack("<IIQ", 9, 8, count) + content


def gguf_bytes(*pairs: bytes, count: int | None = None) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs) if count is None else count) + b"".join(pairs)


FIGURES = (
    string("general.architecture", "llama"),
    u32("llama.block_count", 2),
    u32("llama.embedding_length", 64),
    u32("llama.attention.head_count", 4),
)


def local(content: bytes, size: int | None = None) -> LocalBytes:
    """A file of this content; `size` is what it had when it was opened."""
    return LocalBytes(io.BytesIO(content), len(content) if size is None else size)


class FakeServer:
    """Hands out ranges of a file and counts them."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.sent = 0

    def fetch(self, start: int, count: int) -> bytes:
        self.sent += count
        return self.content[start : start + count]


def test_reading_stops_at_the_vocabulary_once_the_figures_are_known() -> None:
    cut = gguf_bytes(*FIGURES, strings(VOCABULARY_KEY, 128_256, b""), count=9)  # the file goes on; we need no more
    values = read_metadata(local(cut, 8_000_000))
    assert values[VOCABULARY_KEY] == 128_256
    assert values["llama.block_count"] == 2


def test_figures_behind_the_vocabulary_are_found_too() -> None:
    tokens = strings(VOCABULARY_KEY, 3, text("a") + text("b") + text("c"))
    values = read_metadata(local(gguf_bytes(FIGURES[0], tokens, *FIGURES[1:])))
    assert values["llama.embedding_length"] == 64
    assert values[VOCABULARY_KEY] == 3


def test_split_files_first_part_tells_the_shape_of_the_whole() -> None:
    """gguf-split puts all metadata into the first part, its own after the vocabulary."""
    tokens = strings(VOCABULARY_KEY, 1, text("a"))
    whole = gguf_bytes(*FIGURES, tokens, u32("split.count", 3))
    assert shape_of(read_metadata(local(whole))) == shape_of(GgufReader(local(whole)).read_metadata())
    assert GgufReader(local(whole)).read_metadata()["split.count"] == 3


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0), "promises more"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60), "promises more"),
        (gguf_bytes(struct.pack("<Q", 2**63) + b"x"), "ends in the middle"),
        (gguf_bytes(struct.pack("<Q", 70_000) + b"x" * 70_000), "longer than the format allows"),
        (gguf_bytes(text("a") + struct.pack("<I", 99)), "unknown kind"),
        (gguf_bytes(text("a") + struct.pack("<IIQ", 9, 9, 1)), "array that the format does not allow"),
        (gguf_bytes(text("a") + struct.pack("<IIQ", 9, 8, 2**62)), "array that the format does not allow"),
        (gguf_bytes(text("a") + struct.pack("<IIQ", 9, 4, 2**61)), "ends in the middle"),
        (gguf_bytes(strings("a", 1, struct.pack("<Q", 2**64 - 1))), "ends in the middle"),
        (b"GGUX" + bytes(40), "does not begin"),
        (gguf_bytes(*(u32(f"k{number}", 1) for number in range(5000))), "more than any model has"),
        (b"GGUF" + struct.pack("<IQQ", 3, 200_000, 0) + bytes(24 * 200_000), "more than any model has"),
    ],
)
def test_hostile_lengths_and_counts_are_refused(content: bytes, problem: str) -> None:
    with pytest.raises(DamagedGguf, match=problem):
        read_metadata(local(content))


def test_list_of_strings_that_would_take_minutes_to_walk_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    huge = gguf_bytes(strings("a", 10_000_000, b""))
    with pytest.raises(DamagedGguf, match="more than any model has"):
        read_metadata(local(huge, 1 << 40))
    monkeypatch.setattr("core.gguf_reader._MOST_STRINGS", 5)
    many = gguf_bytes(*(strings(name, 2, bytes(16)) for name in "xyz"))
    with pytest.raises(DamagedGguf, match="more than any model has"):
        read_metadata(local(many))


def test_tensor_that_no_disk_could_hold_is_refused_without_astronomy(tmp_path: Path) -> None:
    tensor = text("t") + struct.pack("<IQQQQIQ", 4, 2**63, 2**63, 2**63, 2**63, 0, 0)
    path = tmp_path / "vast.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + string("general.architecture", "llama") + tensor)
    with pytest.raises(DamagedGguf, match="larger than any model"):
        read_gguf_head(path)


def test_file_that_is_shorter_than_it_was_when_it_was_opened_is_damaged() -> None:
    whole = gguf_bytes(*FIGURES, strings("a", 3, text("x")))
    with pytest.raises(DamagedGguf, match="ends in the middle"):
        read_metadata(local(whole, 1 << 30))


def test_file_that_is_cut_while_it_is_read_does_not_end_the_program(tmp_path: Path) -> None:
    """A mapped one did: "Bus error", as when a disk is pulled out."""
    path = tmp_path / "large.gguf"
    path.write_bytes(gguf_bytes(*FIGURES, strings("a", 100_000, text("token") * 100_000)))
    with open_local(path) as source:
        os.truncate(path, 4096)
        with pytest.raises(DamagedGguf, match="ends in the middle"):
            GgufReader(source).read_metadata()


def test_head_that_would_fill_memory_is_refused() -> None:
    long = text("a") + struct.pack("<IIQ", 9, 0, 300 << 20)
    with pytest.raises(DamagedGguf, match="longer than any model"):
        read_metadata(local(gguf_bytes(long, u32("b", 1)), 1 << 40))


def test_file_cut_at_any_byte_is_damaged_and_nothing_else() -> None:
    whole = gguf_bytes(*FIGURES, strings(VOCABULARY_KEY, 2, text("a") + text("b")))
    for end in range(len(whole) - 18):  # 18 bytes of tokens follow the last that is needed
        with pytest.raises(DamagedGguf):
            read_metadata(local(whole[:end]))
    for end in range(len(whole)):
        with pytest.raises(DamagedGguf):
            GgufReader(local(whole[:end])).read_metadata()


def test_shipped_model_cut_at_any_byte_of_its_head_is_damaged_or_has_its_shape() -> None:
    expected = shape_of(read_metadata(local(SELFTEST)))
    for end in range(0, HEAD_BYTES, 7):
        try:
            values = read_metadata(local(SELFTEST[:end]))
        except DamagedGguf:
            continue
        assert shape_of(values) == expected


@given(at=st.integers(4, HEAD_BYTES), patch=st.binary(min_size=1, max_size=12))
@settings(max_examples=300, deadline=None)
def test_patched_head_is_damaged_or_read_and_nothing_else(at: int, patch: bytes) -> None:
    content = SELFTEST[:at] + patch + SELFTEST[at + len(patch) :]
    try:
        values = read_metadata(local(content))
    except DamagedGguf:
        return
    shape = shape_of(values)
    assert shape is None or (0 < shape.layers <= 1000 and 0 <= shape.full_keys <= 1000 << 40)


@given(st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_garbage_behind_the_magic_is_damaged_or_read_and_nothing_else(content: bytes) -> None:
    try:
        values = read_metadata(local(b"GGUF" + struct.pack("<IQQ", 3, 0, 3) + content))
    except DamagedGguf:
        return
    assert isinstance(values, dict)


def test_remote_head_takes_one_request_and_a_quarter_of_a_megabyte() -> None:
    server = FakeServer(gguf_bytes(*FIGURES, strings(VOCABULARY_KEY, 500_000, text("token") * 500_000)))
    source = RemoteBytes(server.fetch, len(server.content))
    assert shape_of(read_metadata(source)) is not None
    assert (source.requests, server.sent) == (1, 256 << 10)


def test_remote_head_with_a_long_text_before_its_figures_takes_three_requests_and_less_than_5_mb() -> None:
    long_text = text("general.description") + struct.pack("<I", 8) + text("x" * 4_700_000)
    server = FakeServer(gguf_bytes(FIGURES[0], long_text, *FIGURES[1:], strings(VOCABULARY_KEY, 3, b"")) + bytes(10**6))
    source = RemoteBytes(server.fetch, len(server.content))
    assert shape_of(read_metadata(source)) is not None
    assert source.requests == 3
    assert server.sent == sum(REMOTE_STEPS) < 5_000_000


def test_remote_vocabulary_is_walked_across_every_boundary_of_what_was_fetched() -> None:
    tokens = strings(VOCABULARY_KEY, 50, b"".join(text("token"[: number % 6]) for number in range(50)))
    server = FakeServer(gguf_bytes(FIGURES[0], tokens, *FIGURES[1:]))
    whole = read_metadata(local(server.content))
    for first in range(40, len(server.content), 3):
        source = RemoteBytes(server.fetch, len(server.content), steps=(first, 1, 7, 5, len(server.content)))
        assert read_metadata(source) == whole


def test_remote_head_whose_figures_are_too_far_in_is_given_up() -> None:
    long_text = text("general.description") + struct.pack("<I", 8) + text("x" * 5_000_000)
    server = FakeServer(gguf_bytes(FIGURES[0], long_text, *FIGURES[1:]))
    with pytest.raises(HeadTooLong, match=r"first 5\.0 MB"):
        read_metadata(RemoteBytes(server.fetch, len(server.content)))
    assert server.sent < 5_000_000


def test_server_that_sends_less_than_it_promised_is_no_endless_loop() -> None:
    server = FakeServer(gguf_bytes(*FIGURES)[:50])
    with pytest.raises(DamagedGguf, match="sent less"):
        read_metadata(RemoteBytes(server.fetch, 10_000_000))


def test_shape_of_a_file_with_a_large_vocabulary_is_read_within_50_ms(tmp_path: Path) -> None:
    path = tmp_path / "large.gguf"
    write_model(path, TinyModel(name="large", vocabulary=128_256, width=256, blocks=1, feed_forward=256, heads=4))
    took_s = []
    for _ in range(3):
        began = time.perf_counter()
        with open_local(path) as source:
            shape = shape_of(read_metadata(source))
        took_s.append(time.perf_counter() - began)
    assert shape is not None
    assert shape.vocabulary == 128_256
    assert min(took_s) < 0.05
