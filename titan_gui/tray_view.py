"""Snapshot → what the tray's icon and menu say and allow. Pure: no Qt object, tested without a display."""

from __future__ import annotations

import time
from dataclasses import dataclass

from core.plurals import counted
from core.rules.table import COMFORT
from core.snapshot import AgentSnapshot
from core.state import AgentState
from titan_gui.view_model import (
    Mood,
    clock_text,
    headline_of,
    mood_of,
    rate_text,
    sessions_text,
    take_back_text,
    tooltip_of,
)

PAUSES_S = (("15 minutes", 900), ("1 hour", 3600), ("4 hours", 4 * 3600))
SHARES_S = PAUSES_S[1:]
MORNING_HOUR = 8
LONGEST_LINE = 80  # characters; a menu as wide as the screen helps nobody

# Of moments between: they go by themselves, and what follows them may be held back or not.
_FOR_A_MOMENT = frozenset({"memory_going_back", "model_loading"})
_RUNNING = frozenset({AgentState.CONNECTING, AgentState.READY, AgentState.PAUSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrayView:
    """Everything the tray shows, comparable: an equal view needs no work at all."""

    mood: Mood
    status: str  # the menu's first line
    tooltip: str
    can_pause: bool = False
    can_resume: bool = False
    can_finish: bool = False
    can_share: bool = False  # now, whatever the rules of comfort say
    is_held_by_comfort: bool = False  # such rules alone keep it from serving
    is_sharing: bool = False
    can_take_back: bool = False
    take_back: str = "Take my memory back now"
    can_start: bool = False  # the agent ended by an error
    is_quitting: bool = False


def tray_view_of(snapshot: AgentSnapshot, *, is_quitting: bool = False) -> TrayView:
    """The view of one snapshot; `is_quitting` from the first click on Quit on."""
    mood = Mood.OFFLINE if is_quitting else mood_of(snapshot)
    if is_quitting:
        status = _finishing(snapshot)
        return TrayView(mood=mood, status=status, tooltip=f"TitanCompute: {status}", is_quitting=True)
    codes = {reason.code for reason in snapshot.reasons}
    # Before the first setup nothing is shared; a pause made then would still hold after the last click on it.
    is_running = snapshot.state in _RUNNING and "setup_not_done" not in codes
    is_paused = "paused_by_owner" in codes
    can_share = is_running and not is_paused and not snapshot.is_draining
    return TrayView(
        mood=mood,
        status=_cut(_status(snapshot)),
        tooltip=tooltip_of(snapshot),
        can_pause=is_running,
        can_resume=is_running and (is_paused or snapshot.is_draining),
        can_finish=is_running and not is_paused and not snapshot.is_draining,
        can_share=can_share,
        is_held_by_comfort=can_share and _is_held_by_comfort(snapshot),
        is_sharing=is_running and snapshot.share_until is not None,
        can_take_back=is_running and (not is_paused or snapshot.is_busy or _holds_memory(snapshot)),
        take_back=take_back_text(snapshot),
        can_start=snapshot.state is AgentState.FAILED,
    )


def _holds_memory(snapshot: AgentSnapshot) -> bool:
    return any(not model.is_owners for model in snapshot.loaded_models)


def _is_held_by_comfort(snapshot: AgentSnapshot) -> bool:
    blocking = {reason.code for reason in snapshot.blocking_reasons} - _FOR_A_MOMENT
    return bool(blocking) and blocking <= COMFORT


def tomorrow_morning(now: float) -> float:
    """Tomorrow at 8:00 by the clock on the wall, in seconds since the epoch, also across a change of the hour."""
    today = time.localtime(now)
    return time.mktime((today.tm_year, today.tm_mon, today.tm_mday + 1, MORNING_HOUR, 0, 0, 0, 0, -1))


def _status(snapshot: AgentSnapshot) -> str:
    headline = headline_of(snapshot)
    until = clock_text(snapshot.share_until) if snapshot.share_until is not None else ""
    if headline.mood is Mood.SERVING:
        state = f"{headline.state} until {until}" if until else headline.state
        return f"{state}: {sessions_text(snapshot)}, {rate_text(snapshot.tokens_per_second)}"
    if headline.mood is Mood.PAUSED and headline.ends_at is not None:
        return f"{headline.state} until {clock_text(headline.ends_at)}"
    if headline.mood is Mood.READY:
        return f"{headline.state}: you share now, until {until}" if until else headline.state
    return (
        headline.sentence if headline.sentence.startswith(headline.state) else f"{headline.state}: {headline.sentence}"
    )


def _finishing(snapshot: AgentSnapshot) -> str:
    if not snapshot.running_jobs:
        return "Finishing …"
    return f"Finishing {counted(snapshot.running_jobs, 'session')} …"


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 1].rstrip()}…"
