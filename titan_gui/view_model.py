"""Snapshot → what a person sees: which icon, which sentence, what to do. Pure: no Qt object, tested without a display.

Texts are English source strings; whoever shows them passes them through `tr()`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from core import sizes
from core.snapshot import DEGRADED_CPU_PERCENT, AgentSnapshot, Reason
from core.state import AgentState
from titan_gui.plain_text import plain
from titan_gui.remedies import Action, remedy_of

SHARING_NOW = "sharing_now"


class Mood(StrEnum):
    """What the icon says. One shape each, so that colour is never the only difference."""

    SERVING = "serving"  # at least one session runs
    READY = "ready"
    PAUSED = "paused"
    DRAINING = "draining"  # sessions finish, then pause
    ATTENTION = "attention"  # broken: the owner has to do something
    OFFLINE = "offline"  # not running, starting, or the coordinator is away


NEEDS_ATTENTION = frozenset(
    {
        "setup_not_done",
        "engine_attention",
        "engine_unreachable",
        "model_not_ready",
        "no_public_address",
        "registration_refused",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The dashboard's first line: state and reason in one sentence, and what to do about it."""

    mood: Mood
    state: str  # one word or two: "Serving", "Ready", "Paused" ...
    sentence: str
    remedy: str = ""
    actions: tuple[Action, ...] = ()  # buttons
    ends_at: float | None = None  # seconds since the epoch


STATE_WORDS = {
    Mood.SERVING: "Serving",
    Mood.READY: "Ready",
    Mood.PAUSED: "Paused",
    Mood.DRAINING: "Finishing",
    Mood.ATTENTION: "Needs attention",
    Mood.OFFLINE: "Offline",
}


def mood_of(snapshot: AgentSnapshot) -> Mood:
    """The strongest thing to show. A pause by hand is no trouble, whatever else is wrong."""
    if snapshot.state is AgentState.FAILED:
        return Mood.ATTENTION
    if snapshot.state in (AgentState.STOPPED, AgentState.STARTING, AgentState.STOPPING):
        return Mood.OFFLINE
    codes = {reason.code for reason in snapshot.reasons}
    if snapshot.is_draining:
        return Mood.DRAINING
    if "paused_by_owner" in codes:
        return Mood.DRAINING if snapshot.is_busy else Mood.PAUSED
    if codes & NEEDS_ATTENTION:
        return Mood.ATTENTION
    if snapshot.blocking_reasons:
        return Mood.PAUSED
    if snapshot.is_busy:
        return Mood.SERVING
    return Mood.READY if snapshot.state is AgentState.READY else Mood.OFFLINE


def headline_of(snapshot: AgentSnapshot) -> Headline:
    mood = mood_of(snapshot)
    reason = leading_reason(snapshot, mood)
    if reason is not None and mood not in (Mood.SERVING, Mood.READY):
        remedy = remedy_of(reason)
        return Headline(
            mood=mood,
            state=STATE_WORDS[mood],
            sentence=plain(reason.sentence),
            remedy=remedy.sentence,
            actions=remedy.actions,
            ends_at=reason.ends_at,
        )
    sharing = sharing_reason(snapshot) if mood in (Mood.SERVING, Mood.READY) else None
    sentence = plain(sharing.sentence) if sharing is not None else _plain_sentence(snapshot, mood)
    return Headline(mood=mood, state=STATE_WORDS[mood], sentence=sentence)


def leading_reason(snapshot: AgentSnapshot, mood: Mood) -> Reason | None:
    """The strongest reason; a blocking one before one that is only good to know (the core sorts them so).

    "Needs attention" is said of what is broken: "you are at the mouse" stands above that in the core's order, and mends
    nothing.
    """
    if mood is Mood.ATTENTION and snapshot.state is not AgentState.FAILED:
        return next((reason for reason in snapshot.reasons if reason.code in NEEDS_ATTENTION), None)
    return next((reason for reason in snapshot.reasons if reason.code != SHARING_NOW), None)


def sharing_reason(snapshot: AgentSnapshot) -> Reason | None:
    """That the owner shares now whatever some rules say. It leads where nothing is wrong; else it only stands by."""
    return next((reason for reason in snapshot.reasons if reason.code == SHARING_NOW), None)


def tooltip_of(snapshot: AgentSnapshot) -> str:
    """The tray's tooltip: state, reason, sessions, tokens/s; plain text, short lines."""
    headline = headline_of(snapshot)
    lines = [f"TitanCompute: {headline.state}", headline.sentence]
    sharing = sharing_reason(snapshot)
    if sharing is not None and plain(sharing.sentence) != headline.sentence:
        lines.append(plain(sharing.sentence))
    if snapshot.state in (AgentState.READY, AgentState.PAUSED, AgentState.CONNECTING):
        rate = f", {rate_text(snapshot.tokens_per_second)}" if snapshot.is_busy else ""
        lines.append(f"{sessions_text(snapshot)}{rate}")
    return "\n".join(lines)


def sessions_text(snapshot: AgentSnapshot) -> str:
    return f"{snapshot.running_jobs} of {snapshot.max_jobs} sessions"


def take_back_text(snapshot: AgentSnapshot) -> str:
    """The strongest command by what is lent here."""
    return "Take my GPU back now" if _uses_gpu(snapshot) else "Take my memory back now"


def rate_of(snapshot: AgentSnapshot) -> float | None:
    """Tokens per second now; None before anything ran. The measured rate is smoothed, and would go on for a while
    after the last session."""
    if snapshot.is_busy:
        return snapshot.tokens_per_second
    return 0.0 if snapshot.totals.requests_processed else None


def rate_text(tokens_per_second: float | None) -> str:
    return "– tokens/s" if tokens_per_second is None else f"{tokens_per_second:.1f} tokens/s"


memory_text = partial(sizes.memory_text, unknown="–")
size_text = partial(sizes.size_text, unknown="–")


def duration_text(seconds: float) -> str:
    """ "45 s", "12 min", "3 h 20 min", "2 d 4 h"."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86_400
    if minutes < 60:
        return f"{minutes} min"
    if hours < 24:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    return f"{days} d {hours % 24} h" if hours % 24 else f"{days} d"


def clock_text(epoch: float) -> str:
    """Local hours and minutes; with the day when it isn't today."""
    then, now = time.localtime(epoch), time.localtime()
    return time.strftime("%H:%M" if then[:3] == now[:3] else "%a %H:%M", then)


def _plain_sentence(snapshot: AgentSnapshot, mood: Mood) -> str:
    if mood is Mood.SERVING:
        return (
            "One session is running."
            if snapshot.running_jobs == 1
            else f"{snapshot.running_jobs} sessions are running."
        )
    if mood is Mood.READY and snapshot.capacity.cpu_percent_others > DEGRADED_CPU_PERCENT:
        return "Other programs keep the processor so busy that coordinators send no work until it is calmer."
    if mood is Mood.READY:
        return "Waiting for somebody who needs your GPU." if _uses_gpu(snapshot) else "Waiting for work."
    return {
        AgentState.STOPPED: "The agent is not running.",
        AgentState.STARTING: "Starting.",
        AgentState.STOPPING: "Finishing, then stopping.",
        AgentState.CONNECTING: "Connecting to the coordinator.",
        AgentState.FAILED: "The agent stopped because of an error. The log says which.",
    }.get(snapshot.state, "Working.")


def _uses_gpu(snapshot: AgentSnapshot) -> bool:
    return snapshot.capacity.kind == "vram"
