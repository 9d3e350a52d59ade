"""The owner's rules: pure functions (settings, signals, now) → reasons not to serve, and what each does.

Nothing in this package reads a clock, a file or the system: `core/rules_keeper.py` feeds it and acts on what it says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from core.signals import Unknown


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

    code: str  # as in core/reasons/catalogue.CATALOGUE: "in_use", "listed_app" ...
    sentence: str  # "Paused while Steam runs." - names the program, the time, the figure
    effect: Effect
    since: float  # seconds since the epoch
    ends_at: float | None = None  # seconds since the epoch; None: not known
    setting: str = ""  # the setting behind it, "" where it is the one that the catalogue names
    is_urgent: bool = False  # sessions that it ends are ended at once: waiting would cost more than them
    doubt: str = ""  # since when, and why, it can't be told whether it still should; "" while it can

    @property
    def words(self) -> str:
        """The sentence, and the doubt about it."""
        return f"{self.sentence} {self.doubt}" if self.doubt else self.sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """One instant on both clocks, seconds: wall for schedules and people, monotonic for hold times."""

    wall: float
    monotonic: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """What this agent itself holds and has used: rules look at it beside the signals. Memory in MiB."""

    vram_mb: int = 0  # held by our engine's models now
    ram_mb: int = 0
    least_ram_mb: int | None = None  # what our model takes at least when it is loaded anew; None: as much as before
    served_s_today: float = 0.0  # with at least one session, since local midnight
    kwh_today: float | Unknown = field(default=Unknown("Not measured yet."))
    measured_kwh_today: float = 0.0  # what is known of it also while nothing measures it: at least so much is used


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleState:
    """What `evaluate` remembers of one rule from one call to the next. Monotonic seconds but for `holding`."""

    holding: Holding | None = None  # None: the rule doesn't hold
    began_at: float = 0.0  # while it holds
    turning_since: float | None = None  # since when without a break the signal says the opposite of what holds
    was_told: bool = False  # the signal was known, and hasn't been given up as lost since
    untold_since: float | None = None  # since when it isn't known any more; None: it is, or never was
    lost_at: float | None = None  # wall seconds: since when the signal, which was told before, isn't any more
    is_in_doubt: bool = False  # it began because the signal could not be told
    held_mb: int = 0  # memory rules: the most that our engine held since the rule began


@dataclass(frozen=True, slots=True, kw_only=True)
class CannotTell:
    """A rule that is on, and whose signal this machine doesn't tell."""

    code: str
    cause: str  # a sentence for the owner
    lost_at: float | None = None  # wall seconds; None: it was never told, or nothing is broken, or it just came
