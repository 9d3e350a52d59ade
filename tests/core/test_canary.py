"""The canary's own test: a search that finds nothing must be able to find something."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.fakes.canary import assert_no_canary

CANARY = 'kanarie "Ünïque" 7f3a9c'


@pytest.mark.parametrize(
    "written",
    [
        CANARY,
        CANARY[:15],
        json.dumps({"prompt": CANARY}),
        base64.b64encode(b"before" + CANARY.encode()).decode(),
        base64.b64encode(b"odd" + b"x" + CANARY.encode()).decode(),
        CANARY.encode().hex(),
    ],
)
def test_canary_is_found_in_every_spelling(tmp_path: Path, written: str) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_text(f"some {written} text")

    with pytest.raises(AssertionError, match="holds the canary"):
        assert_no_canary([tmp_path], CANARY)
    with pytest.raises(AssertionError, match="holds the canary"):
        assert_no_canary(["clean", f"..{written}.."], CANARY)


def test_file_name_counts(tmp_path: Path) -> None:
    (tmp_path / CANARY).touch()

    with pytest.raises(AssertionError, match="the name of"):
        assert_no_canary([tmp_path], CANARY)


def test_clean_place_passes_and_an_empty_one_does_not(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="nothing was there"):
        assert_no_canary([tmp_path], CANARY)

    (tmp_path / "log").write_bytes(b"\x00\xff nothing")
    assert_no_canary([tmp_path, "output", b""], CANARY)
