"""Ended sessions as the agent reports them, for tests of the ledger."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from core.contribution import LedgerRow, row_of
from core.inference import SessionRecord
from core.sessions import EndReason

STARTED_AT = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC

_RECORD = SessionRecord(
    model="tiny:latest",
    engine="ollama",
    client="c0ffee00",
    end_reason=EndReason.COMPLETED,
    started_at=STARTED_AT,
    seconds=1.5,
    prompt_tokens=7,
    completion_tokens=20,
    time_to_first_token_ms=31.5,
    finish_reason="stop",
)


def ended(**changes: Any) -> SessionRecord:
    """A good session of 20 tokens, with `changes`."""
    return replace(_RECORD, **changes)


def ledger_row(**changes: Any) -> LedgerRow:
    return row_of(ended(**changes), "Q4_K_M")
