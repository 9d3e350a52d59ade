"""The reasons that exist, and which of them hold now, as the rules page lists them: those that hold first. Pure."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from core.reasons.catalogue import CATALOGUE, ReasonKind
from core.rules.look import time_text
from core.snapshot import Reason
from titan_gui.plain_text import plain, sentences
from titan_gui.remedies import Action, remedy_of
from titan_gui.view_model import clock_text


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonView:
    """One entry of the list."""

    code: str
    title: str
    meaning: str
    effect: str
    setting: str
    blocks: bool
    now: str = ""  # the sentence, the remedy and the end while it holds; "" while it doesn't
    actions: tuple[Action, ...] = ()  # what can be done while it holds


def reason_views(reasons: Sequence[Reason]) -> tuple[ReasonView, ...]:
    """Every kind of reason: those that hold, also ones that this version doesn't know, then the others.

    Both parts are strongest first, so the order changes only where a reason begins or ends to hold.
    """
    holding = {reason.code: reason for reason in reasons}
    known = [_view(kind, holding.pop(kind.code, None)) for kind in CATALOGUE]
    unknown = [_unknown(reason) for reason in holding.values()]
    return (*(view for view in known if view.now), *unknown, *(view for view in known if not view.now))


def summary_of(reasons: Sequence[Reason]) -> str:
    blocking = sum(reason.blocks for reason in reasons)
    if not reasons:
        return "Nothing keeps it from serving."
    if not blocking:
        return "Nothing keeps it from serving, and there is something to know."
    return (
        "One reason keeps this machine from serving." if blocking == 1 else f"{blocking} reasons keep it from serving."
    )


def _view(kind: ReasonKind, holding: Reason | None) -> ReasonView:
    return ReasonView(
        code=kind.code,
        title=kind.title,
        meaning=kind.meaning,
        effect=kind.effect,
        setting=(holding and holding.setting) or kind.setting,
        blocks=kind.blocks,
        now=_now(holding) if holding else "",
        actions=remedy_of(holding).actions if holding else (),
    )


def _unknown(reason: Reason) -> ReasonView:
    title = reason.code.replace("_", " ").capitalize()
    effect = "No new session is taken." if reason.blocks else ""
    return ReasonView(
        code=reason.code,
        title=title,
        meaning="",
        effect=effect,
        setting=reason.setting,
        blocks=reason.blocks,
        now=_now(reason),
        actions=remedy_of(reason).actions,
    )


def what_to_do(sentence: str, remedy: str, ends_at: float | None) -> str:
    """The remedy as a sentence, and the end where the first sentence doesn't name it."""
    if ends_at is None:
        return sentences(remedy)
    ends = clock_text(ends_at)
    is_said = ends in sentence or time_text(ends_at, time.time(), None) in sentence  # the core's way to say the day
    return sentences(remedy, "" if is_said else f"Ends at {ends}.")


def _now(reason: Reason) -> str:
    sentence = plain(reason.sentence)
    return sentences(sentence, what_to_do(sentence, remedy_of(reason).sentence, reason.ends_at))
