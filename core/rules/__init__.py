"""The owner's rules: pure functions (settings, signals, now) → reasons not to serve, and what each does.

Nothing in this package reads a clock, a file or the system: `core/rules_keeper.py` feeds it and acts on what it says.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class SessionsThen(StrEnum):
    """What a rule that begins to hold does to the sessions that run."""

    STOP = "stop"  # ended once the limit has passed
    FINISH = "finish"  # may end by themselves within the limit, then they are ended
    SERVE = "serve"  # go on, and new ones are admitted too (only told)


class MemoryThen(StrEnum):
    UNLOAD = "unload"
    KEEP = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What follows when a rule holds. `limit_s` None: no limit (finish without end)."""

    sessions: SessionsThen
    limit_s: float | None
    memory: MemoryThen


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A rule that holds now."""

    code: str  # as in core/reasons.CATALOGUE: "in_use", "listed_app" ...
    sentence: str  # "Paused while Steam runs." - names the program, the time, the figure
    effect: Effect
    since: float  # seconds since the epoch
    ends_at: float | None = None  # seconds since the epoch; None: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """One instant on both clocks, seconds: wall for schedules and people, monotonic for hold times."""

    wall: float
    monotonic: float
