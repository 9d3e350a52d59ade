"""What this machine gave: ended sessions as rows, their sums, and the days of the owner's calendar. Pure.

What counts as given is a session that got an answer, or a part of one (`is_served`). One that the engine refused, or
that ended before its first token, stands in the list of past sessions and in an export, and in no sum but "failed".

A session belongs to the local day on which it started. "Last 7 days" is today and the six days before, so it is the
sum of the last seven bars. A session that started later than today (the clock was set back) counts in "all" only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime, timedelta, tzinfo
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from core.inference import SessionRecord

COMPLETED = "completed"
FAILED_REASONS = ("engine_failed", "fault")  # what the snapshot counts as failed too (core/reporting.py)
LAST_DAYS = 7
MOST_DAYS = 3_660  # ten years: as many bars as anybody may ask for
MAX_COUNT = 2**31 - 1  # tokens; an engine's own figure is bounded, so that no sum of ours overflows 64 bits
LATEST = 253_402_300_799.0  # the end of the year 9999, beyond which there are no dates
LONGEST_S = 1e9
MAX_NAME = 200  # characters of a model's name


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One ended session. No field can hold text of a prompt or an answer."""

    started_at: float  # seconds since the epoch, UTC
    model: str
    quant: str  # "Q4_K_M"; "" when unknown
    engine: str  # "ollama", "openai" or "embedded"
    client: str  # keyed hash of the client's id, under a key of this installation
    prompt_tokens: int | None  # None when the engine didn't say
    completion_tokens: int
    seconds: float  # from admission to the end
    end_reason: str  # a value of core.sessions.EndReason
    time_to_first_token_ms: float | None  # None when there was no token

    @property
    def is_served(self) -> bool:
        return is_served(self.end_reason, self.completion_tokens)


COLUMNS = tuple(field.name for field in fields(LedgerRow))
values_of: Callable[[LedgerRow], tuple[object, ...]] = attrgetter(*COLUMNS)  # in that order; astuple takes 10 times it


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Any number of sessions, added up; all but `failed` are of those that were served."""

    sessions: int = 0
    failed: int = 0  # by the engine's or our own fault, whether a part of the answer had gone out or not
    prompt_tokens: int = 0  # of those whose engine said how many
    completion_tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            sessions=self.sessions + other.sessions,
            failed=self.failed + other.failed,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            seconds=self.seconds + other.seconds,
        )


@dataclass(frozen=True, slots=True)
class Period:
    """From `start` up to and without `end`, both seconds since the epoch."""

    start: float = -math.inf
    end: float = math.inf

    def holds(self, moment: float) -> bool:
        return self.start <= moment < self.end


ALWAYS = Period()


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One day of the owner's calendar: 23, 24 or 25 hours long."""

    day: date
    period: Period


@dataclass(frozen=True, slots=True, kw_only=True)
class DaySums:
    """One bar of the chart."""

    day: date
    sums: Sums


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    today: Sums
    last_7_days: Sums
    all: Sums


def is_served(end_reason: str, completion_tokens: int) -> bool:
    """Whether a session got an answer, or a part of one. `end_reason` is a value of core.sessions.EndReason."""
    return completion_tokens > 0 or end_reason == COMPLETED


def row_of(record: SessionRecord, quant: str = "") -> LedgerRow:
    """The row of an ended session, with every value inside what a table takes: no row may block those behind it."""
    prompt_tokens, first_ms = record.prompt_tokens, record.time_to_first_token_ms
    return LedgerRow(
        started_at=_within(record.started_at, LATEST),
        model=_name(record.model),
        quant=_name(quant),
        engine=_name(record.engine),
        client=_name(record.client),
        prompt_tokens=None if prompt_tokens is None else _count(prompt_tokens),
        completion_tokens=_count(record.completion_tokens),
        seconds=_within(record.seconds, LONGEST_S),
        end_reason=str(record.end_reason.value),
        time_to_first_token_ms=None if first_ms is None else _within(first_ms, LONGEST_S * 1000),
    )


def sums_of(rows: Iterable[LedgerRow], period: Period = ALWAYS) -> Sums:
    """The rows that started in `period`, added up."""
    chosen = [row for row in rows if period.holds(row.started_at)]
    served = [row for row in chosen if row.is_served]
    return Sums(
        sessions=len(served),
        failed=sum(row.end_reason in FAILED_REASONS for row in chosen),
        prompt_tokens=sum(row.prompt_tokens or 0 for row in served),
        completion_tokens=sum(row.completion_tokens for row in served),
        seconds=math.fsum(row.seconds for row in served),
    )


def last_days(count: int, now: float, zone: tzinfo | None = None) -> tuple[Day, ...]:
    """The last `count` local days, the oldest first, today last. `zone` None is the system's own zone.

    `now` is in seconds since the epoch. A day's bounds are local midnights; where clocks change it isn't 24 hours long.
    """
    today = datetime.fromtimestamp(now, zone).date()
    days = [today - timedelta(days=back) for back in range(count - 1, -1, -1)]
    return tuple(
        Day(day=day, period=Period(_midnight(day, zone), _midnight(day + timedelta(days=1), zone))) for day in days
    )


class SessionSource(Protocol):
    """Where ended sessions are kept, added up over any period."""

    def sums(self, period: Period) -> Sums: ...

    def all_sums(self) -> Sums: ...

    def recent(self, limit: int) -> Sequence[LedgerRow]:
        """The sessions that ended last, the newest first."""
        ...


class HeldRows:
    """Rows in memory, the newest last, as a SessionSource."""

    def __init__(self, rows: Sequence[LedgerRow] = ()) -> None:
        self._rows = rows

    def sums(self, period: Period) -> Sums:
        return sums_of(self._rows, period)

    def all_sums(self) -> Sums:
        return sums_of(self._rows)

    def recent(self, limit: int) -> list[LedgerRow]:
        return list(reversed(self._rows))[:limit]


def summary_of(source: SessionSource, now: float, zone: tzinfo | None = None) -> Summary:
    """Today, the last 7 days and all, at `now` (seconds since the epoch). Raises what `source` raises."""
    days = last_days(LAST_DAYS, now, zone)
    return Summary(
        today=source.sums(days[-1].period),
        last_7_days=source.sums(Period(days[0].period.start, days[-1].period.end)),
        all=source.all_sums(),
    )


def days_of(source: SessionSource, count: int, now: float, zone: tzinfo | None = None) -> tuple[DaySums, ...]:
    """A bar for each of the last `count` days, the oldest first, empty ones too."""
    return tuple(DaySums(day=day.day, sums=source.sums(day.period)) for day in last_days(count, now, zone))


def contribution_json(
    source: SessionSource, *, days: int, recent: int, now: float, zone: tzinfo | None = None
) -> dict[str, object]:
    """All of it as plain values, for the control door, the window and `titan ledger --json`."""
    return {
        "summary": asdict(summary_of(source, now, zone)),
        "days": [{"day": bar.day.isoformat(), **asdict(bar.sums)} for bar in days_of(source, days, now, zone)],
        "recent": [asdict(row) for row in source.recent(recent)],
    }


def _midnight(day: date, zone: tzinfo | None) -> float:
    """The day's first instant; where midnight itself is skipped, the instant of the change."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


def _count(number: int) -> int:
    return min(max(0, number), MAX_COUNT)


def _within(number: float, most: float) -> float:
    return min(max(0.0, float(number)), most) if math.isfinite(number) else 0.0


def _name(text: str) -> str:
    """Short, and encodable: a lone surrogate is no text that a file takes."""
    return text[:MAX_NAME].encode("utf-8", "replace").decode("utf-8").replace("\0", "?")
