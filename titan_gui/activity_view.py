"""Snapshot and ledger → the rows of the activity page. Pure; no row can hold text of a prompt or an answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from core.snapshot import AgentSnapshot, SessionView
from titan_gui.view_model import duration_text

DASH = "–"

END_WORDS = {
    "completed": "answered",
    "client_gone": "the client left",
    "slow_client": "the client took too long to read",
    "session_limit": "longest session reached",
    "first_token_timeout": "the engine gave no first token",
    "token_gap_timeout": "the engine stopped giving tokens",
    "owner_stopped": "stopped by you",
    "paused": "ended by your pause",
    "rule": "ended by one of your rules",
    "stopping": "the agent was stopped",
    "engine_failed": "the engine failed",
    "refused": "the engine refused the request",
    "fault": "an error in this program",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table. `key` stays the same while the row lives; `cells` are texts, `notes` their tool tips."""

    key: str
    cells: tuple[str, ...]


LIVE_TITLES = ("Model", "Client", "State", "Tokens", "Tokens/s", "Age")
PAST_TITLES = ("Time", "Model", "Client", "Tokens", "Duration", "How it ended")
NUMBER_TITLES = frozenset({"Tokens", "Tokens/s", "Age", "Duration"})


def live_rows(snapshot: AgentSnapshot, now: float) -> tuple[Row, ...]:
    """The sessions of now, the oldest first: a new one never moves the others."""
    sessions = sorted(snapshot.sessions, key=lambda session: (session.started_at, session.session_id))
    return tuple(Row(session.session_id, _live_cells(session, now)) for session in sessions)


def past_rows(result: Mapping[str, object]) -> tuple[Row, ...]:
    """The sessions that ended last, the newest first, from the result of the command "contribution"."""
    recent = result.get("recent")
    if not isinstance(recent, list | tuple):
        return ()
    rows: list[Row] = []
    seen: dict[str, int] = {}
    for entry in reversed(recent):
        if isinstance(entry, Mapping):
            key = f"{entry.get('started_at')} {entry.get('client')} {entry.get('model')}"
            seen[key] = seen.get(key, 0) + 1  # counted from the oldest: the same number at the next look
            rows.append(Row(f"{key} {seen[key]}", _past_cells(entry)))
    return tuple(reversed(rows))


def end_words(end_reason: str) -> str:
    """How a session ended, in words; a reason that this version doesn't know is shown as it is."""
    return END_WORDS.get(end_reason, end_reason or DASH)


def _live_cells(session: SessionView, now: float) -> tuple[str, ...]:
    rate = DASH if session.tokens_per_second is None else f"{session.tokens_per_second:.1f}"
    state = {"queued": "waiting", "running": "running"}.get(session.phase, session.phase)
    age = duration_text(max(0.0, now - session.started_at))
    return session.model, session.client, state, f"{session.tokens:,}", rate, age


def _past_cells(entry: Mapping[str, object]) -> tuple[str, ...]:
    started_at, tokens, seconds = (entry.get(name) for name in ("started_at", "completion_tokens", "seconds"))
    quant = str(entry.get("quant") or "")
    model = str(entry.get("model") or DASH)
    return (
        _moment_text(started_at),
        f"{model} ({quant})" if quant and quant.lower() not in model.lower() else model,
        str(entry.get("client") or DASH)[:8],
        f"{tokens:,}" if isinstance(tokens, int) else DASH,
        f"{seconds:.1f} s" if isinstance(seconds, int | float) else DASH,
        end_words(str(entry.get("end_reason") or "")),
    )


def _moment_text(epoch: object) -> str:
    """ "25 Nov 10:04:31", local time."""
    if not isinstance(epoch, int | float):
        return DASH
    try:
        return time.strftime("%d %b %H:%M:%S", time.localtime(epoch))
    except (OverflowError, ValueError, OSError):  # a year that the system doesn't know
        return DASH
