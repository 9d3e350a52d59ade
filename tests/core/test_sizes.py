"""Memory and file sizes in words."""

from __future__ import annotations

import pytest

from core.sizes import memory_text, size_text


@pytest.mark.parametrize(
    ("megabytes", "said"),
    [
        (None, "?"),
        (0, "0 MB"),
        (812, "812 MB"),
        (999.4, "999 MB"),
        (999.6, "1.0 GB"),
        (1024, "1.0 GB"),
        (10_035, "9.8 GB"),
        (2**20, "1024.0 GB"),
    ],
)
def test_memory(megabytes: float | None, said: str) -> None:
    assert memory_text(megabytes) == said


@pytest.mark.parametrize(
    ("size_bytes", "said"),
    [
        (None, "?"),
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1 kB"),
        (12_345, "12 kB"),
        (999_600, "1.0 MB"),
        (3_440_000, "3.4 MB"),
        (999_940_000, "999.9 MB"),
        (999_960_000, "1.0 GB"),
        (4_920_000_000, "4.9 GB"),
        (1_500_000_000_000, "1500.0 GB"),
    ],
)
def test_files(size_bytes: float | None, said: str) -> None:
    assert size_text(size_bytes) == said


def test_what_is_not_known_is_said_in_the_words_of_the_place() -> None:
    assert (memory_text(None, unknown="–"), size_text(None, unknown="–")) == ("–", "–")
