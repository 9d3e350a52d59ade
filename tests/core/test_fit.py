"""The verdict on a model's size: every case, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engines import LoadedModel
from core.fit import Fit, Room, judge, room_of
from core.snapshot import AgentSnapshot
from tests.fakes.snapshots import busy_snapshot

GIB = 1 << 30
CARD = Room(kind="vram", free_mb=6 * 1024, budget_mb=7 * 1024)


@pytest.mark.parametrize(
    ("size_bytes", "fit", "sentence"),
    [
        (5 * GIB, Fit.FITS, "Needs about 6.0 GB of graphics memory; 6.0 GB is free."),
        (
            5 * GIB + 1,
            Fit.TIGHT,
            "Needs about 6.0 GB of graphics memory; 6.0 GB is free now, you lend 7.0 GB. Close other programs first.",
        ),
        (6 * GIB, Fit.TOO_BIG, "Needs about 7.2 GB of graphics memory; you lend 7.0 GB."),
        (None, Fit.UNKNOWN, "The engine does not say how big it is."),
    ],
)
def test_verdicts(size_bytes: int | None, fit: Fit, sentence: str) -> None:
    verdict = judge(size_bytes, CARD)
    assert (verdict.fit, verdict.sentence) == (fit, sentence)


def test_unmeasured_memory_is_unknown_and_still_says_what_is_needed() -> None:
    verdict = judge(GIB // 2, Room())
    assert verdict.fit is Fit.UNKNOWN
    assert verdict.sentence == "Needs about 615 MB of memory; how much there is isn't known."


def test_what_our_own_model_holds_counts_as_free() -> None:
    room = room_of(busy_snapshot())
    assert room == Room(kind="vram", free_mb=2800 + 5200, budget_mb=7168)
    assert judge(4_900_000_000, room).fit is Fit.FITS


def test_a_pause_does_not_make_a_model_too_big() -> None:
    """Paused, nothing is free to serve; the room for a model is as it was."""
    snapshot = busy_snapshot()
    paused = replace(snapshot, capacity=replace(snapshot.capacity, free_mb=0))
    assert room_of(paused) == room_of(snapshot)


def test_before_the_first_sample_nothing_is_known() -> None:
    assert room_of(AgentSnapshot(loaded_models=(LoadedModel(name="x"),))) == Room(kind="ram")


@given(st.integers(1, 1 << 45), st.integers(0, 1 << 22), st.integers(1, 1 << 22))
def test_more_memory_never_makes_a_verdict_worse(size_bytes: int, free_mb: int, budget_mb: int) -> None:
    order = [Fit.TOO_BIG, Fit.TIGHT, Fit.FITS]
    small = judge(size_bytes, Room(free_mb=free_mb, budget_mb=budget_mb))
    large = judge(size_bytes, Room(free_mb=free_mb + 1024, budget_mb=budget_mb + 1024))
    assert order.index(large.fit) >= order.index(small.fit)
