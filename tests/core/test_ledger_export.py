"""The ledger as CSV and JSON: complete, readable by others, and harmless in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.contribution import COLUMNS, LedgerRow
from core.errors import StorageError
from core.ledger_export import COLUMN_DOCS, csv_chunks, export_rows, json_chunks
from tests.fakes.session_records import ledger_row

texts = st.text(st.characters(exclude_characters="\0"), max_size=20)


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_every_column_is_documented_and_exported() -> None:
    assert tuple(COLUMN_DOCS) == ("started", *COLUMNS)


def test_csv_has_a_header_and_a_line_per_session() -> None:
    (line,) = read_csv("".join(csv_chunks([ledger_row(prompt_tokens=None)])))

    assert line == {
        "started": "2023-11-14T22:13:20.000+00:00",
        "started_at": "1700000000.0",
        "model": "tiny:latest",
        "quant": "Q4_K_M",
        "engine": "ollama",
        "client": "c0ffee00",
        "prompt_tokens": "",
        "completion_tokens": "20",
        "seconds": "1.5",
        "end_reason": "completed",
        "time_to_first_token_ms": "31.5",
    }


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝"])
def test_no_cell_begins_as_a_formula(start: str) -> None:
    (line,) = read_csv("".join(csv_chunks([ledger_row(model=f"{start}HYPERLINK(1)")])))

    assert line["model"] == f"'{start}HYPERLINK(1)"


@given(models=st.lists(texts, max_size=5))
def test_any_text_comes_back_from_csv_and_json(models: list[str]) -> None:
    kept = [ledger_row(model=model) for model in models]

    lines = read_csv("".join(csv_chunks(kept)))
    entries = json.loads("".join(json_chunks(kept)))["sessions"]

    assert [line["model"].removeprefix("'") for line in lines] == [row.model.removeprefix("'") for row in kept]
    assert [entry["model"] for entry in entries] == [row.model for row in kept]


@pytest.mark.parametrize(("file_format", "count"), [("csv", 1_234), ("json", 1_234), ("csv", 0), ("json", 0)])
def test_big_and_empty_exports_are_whole(tmp_path: Path, file_format: str, count: int) -> None:
    target = tmp_path / "out"

    written = export_rows([ledger_row()] * count, target, file_format, ledger=tmp_path / "l")

    text = target.read_bytes().decode()
    entries = read_csv(text) if file_format == "csv" else json.loads(text)["sessions"]
    assert (written, len(entries)) == (count, count)
    assert target.stat().st_mode & 0o777 == 0o600


def test_export_that_fails_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    def broken() -> Iterator[LedgerRow]:
        yield from [ledger_row()] * 1_000
        raise StorageError("the ledger cannot be read")

    (tmp_path / "out").write_text("old")

    with pytest.raises(StorageError, match="cannot be read"):
        export_rows(broken(), tmp_path / "out", "csv", ledger=tmp_path / "l")
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_text() == "old"
