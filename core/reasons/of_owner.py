"""Sentences of what the owner did: a pause, what still finishes before it, an end, a setup that isn't done."""

from __future__ import annotations

import time
from dataclasses import dataclass

from core.plurals import counted
from core.snapshot import Reason


def stopping() -> Reason:
    return Reason(code="stopping", sentence="The agent is stopping.", icon="stop")


def setup_not_done() -> Reason:
    return Reason(
        code="setup_not_done",
        sentence="Not set up yet: nothing is shared.",
        icon="pause",
        remedy="Answer the first questions: Set up.",
    )


@dataclass(frozen=True, slots=True)
class Ending:
    """Sessions that may still go on for a while: how many, how long (whole seconds), and until when (epoch)."""

    running: int
    left_s: int
    at: float

    @property
    def words(self) -> str:
        """ "Finishing 2 sessions: 95 s left"."""
        return f"Finishing {counted(self.running, 'session')}: {self.left_s} s left"


def paused_by_owner(until: float | None, ending: Ending | None = None) -> Reason:
    """`until` in seconds since the epoch; None means until the owner resumes."""
    when = "until you resume" if until is None else f"until {time.strftime('%H:%M', time.localtime(until))}"
    return Reason(
        code="paused_by_owner",
        sentence=f"Paused by you {when}." + (f" {ending.words}." if ending else ""),
        icon="pause",
        remedy="titan resume",
        ends_at=until,
        sessions_end_at=ending.at if ending else None,
    )


def paused_in_doubt() -> Reason:
    """What the owner had done before the restart can't be read: closed, until the owner says otherwise."""
    return Reason(
        code="paused_by_owner",
        sentence="Paused until you resume: whether you had paused could not be read.",
        icon="pause",
        remedy="titan resume",
    )


def draining(running: int, ending: Ending | None = None) -> Reason:
    words = ending.words if ending else f"Finishing {counted(running, 'session')}"
    return Reason(
        code="draining",
        sentence=f"{words}, then pausing.",
        icon="drain",
        remedy="titan resume",
        sessions_end_at=ending.at if ending else None,
    )
