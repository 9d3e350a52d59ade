"""The ledger as a file for a spreadsheet or a program: CSV or JSON, one entry per session, in the order of their ends.

Columns (units in the names; docs of each in `COLUMN_DOCS`) are the same in both. A cell that a spreadsheet would take
for a formula is made text by a leading apostrophe (OWASP, "CSV Injection"): model names come from outside.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from core.atomic_file import write_atomically
from core.contribution import COLUMNS, LedgerRow, values_of
from core.errors import StorageError

FORMATS = ("csv", "json")
COLUMN_DOCS = {
    "started": "start of the session, ISO 8601 in UTC",
    "started_at": "the same in seconds since the epoch",
    "model": "the model that answered",
    "quant": "its quantisation; empty when unknown",
    "engine": "ollama, openai or embedded",
    "client": "keyed hash of the client's id; the same client looks the same on this installation only",
    "prompt_tokens": "tokens of the request; empty when the engine didn't say",
    "completion_tokens": "tokens of the answer",
    "seconds": "from admission to the end",
    "end_reason": "completed, client_gone, paused ... (core.sessions.EndReason)",
    "time_to_first_token_ms": "from the request to the first token, milliseconds; empty when none came",
}
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_ROWS_PER_WRITE = 500


def export_rows(rows: Iterable[LedgerRow], path: Path, file_format: str, *, ledger: Path) -> int:
    """Write all of `rows` to `path`, whole or not at all; returns how many. Raises StorageError.

    `file_format` is one of FORMATS; `ledger` is the file that must not be overwritten. The new file is for its owner
    only (0600), since it says who used what and when.
    """
    if path.resolve() == ledger.resolve():
        raise StorageError(f"{path} is the ledger itself", hint="Choose another file.")
    counted = _Counted(rows)
    chunks = csv_chunks(counted) if file_format == "csv" else json_chunks(counted)
    write_atomically(path, (chunk.encode() for chunk in chunks), mode=0o600)
    return counted.count


def csv_chunks(rows: Iterable[LedgerRow]) -> Iterator[str]:
    """RFC 4180 with a header line, UTF-8, a few hundred rows a piece."""
    import csv
    from io import StringIO

    text = StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMN_DOCS)
    for number, row in enumerate(rows, 1):
        writer.writerow(_harmless(value) for value in _entry(row).values())
        if number % _ROWS_PER_WRITE == 0:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()


def json_chunks(rows: Iterable[LedgerRow]) -> Iterator[str]:
    """One object: the columns' meaning, and the list of sessions."""
    yield f'{{"columns": {json.dumps(COLUMN_DOCS)},\n"sessions": ['
    separator = "\n"
    for row in rows:
        yield separator + json.dumps(_entry(row), ensure_ascii=False)
        separator = ",\n"
    yield "\n]}\n"


def _entry(row: LedgerRow) -> dict[str, object]:
    started = datetime.fromtimestamp(row.started_at, UTC).isoformat(timespec="milliseconds")
    return {"started": started, **dict(zip(COLUMNS, values_of(row), strict=True))}


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


class _Counted:
    def __init__(self, rows: Iterable[LedgerRow]) -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[LedgerRow]:
        for row in self._rows:
            self.count += 1
            yield row
