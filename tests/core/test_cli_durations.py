"""Lengths of time, in and out."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.cli.durations import BadDuration, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("1h", 3600), ("1h30m", 5400), ("2d", 172_800), ("1 H 30 m", 5400), ("1.5h", 5400)],
)
def test_lengths_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "1x", "-1h", "30m1h", "1h1h", "1h30", "0s", "1e3s", "٣h", "∞"])
def test_anything_else_is_refused_with_examples(text: str) -> None:
    with pytest.raises(BadDuration) as caught:
        parse_duration(text)
    assert "1h30m" in caught.value.hint


@given(st.text(max_size=20))
def test_any_text_gives_seconds_or_a_clear_error(text: str) -> None:
    with contextlib.suppress(BadDuration):
        assert parse_duration(text) > 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.9, "0 s"),
        (-5, "0 s"),
        (45, "45 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (5400.7, "1 h 30 min"),
        (3605, "1 h"),
        (90_000, "1 d 1 h"),
        (86_400, "1 d"),
    ],
)
def test_lengths_are_shown_in_their_two_largest_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
