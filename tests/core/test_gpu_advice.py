"""Who is told that a graphics card does nothing, and who isn't."""

from __future__ import annotations

import pytest

from core.gpu.advice import unused_card

CARDS = [("GT 710", 1024), ("RTX 4090", 24_576)]


@pytest.mark.parametrize("device", ["", "CPU (AVX2)"])
def test_owner_of_a_card_is_told_that_the_embedded_engine_leaves_it_idle(device: str) -> None:
    said = "The graphics card RTX 4090 (24,576 MB) is not used: the embedded engine runs on the processor."
    assert unused_card("embedded", device, CARDS) == said


@pytest.mark.parametrize(
    ("engine", "device", "cards"),
    [
        ("ollama", "CPU", CARDS),
        ("embedded", "CUDA0", CARDS),
        ("embedded", "CPU", CARDS[:1]),
        ("embedded", "CPU", [("unmeasured", None)]),
        ("embedded", "CPU", []),
    ],
)
def test_nobody_else_is_told(engine: str, device: str, cards: list[tuple[str, int | None]]) -> None:
    assert unused_card(engine, device, cards) == ""
