"""How many of what."""

from __future__ import annotations

from pathlib import Path

import pytest

import core
import titan_gui
from core.plurals import counted


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 sessions"), (1, "1 session"), (2, "2 sessions"), (1204, "1,204 sessions")]
)
def test_a_number_and_its_noun(number: int, said: str) -> None:
    assert counted(number, "session") == said


def test_no_text_leaves_the_plural_to_the_reader() -> None:
    sources = [path for package in (core, titan_gui) for path in Path(str(package.__file__)).parent.rglob("*.py")]
    assert [path.name for path in sources if "session(s)" in path.read_text(encoding="utf-8")] == []
