"""Sentences of the owner's rules, and of what a rule sees coming."""

from __future__ import annotations

from collections.abc import Iterable

from core.reasons.catalogue import KINDS
from core.rules import CannotTell, Holding, SessionsThen
from core.rules.look import time_text, within_sentence
from core.snapshot import Reason


def rule_holds(holding: Holding, sessions_end_at: float | None = None) -> Reason:
    """A rule of the owner's holds; `sessions_end_at` is when it ends the running sessions, None when it doesn't."""
    kind = KINDS[holding.code]
    return Reason(
        code=holding.code,
        sentence=holding.words,
        icon=kind.icon,
        setting=holding.setting or kind.setting,
        ends_at=holding.ends_at,
        sessions_end_at=sessions_end_at,
        blocks=holding.effect.sessions is not SessionsThen.SERVE,
    )


def slowed_for_heat(code: str, sessions: int, of: int, target_c: float, untold: str = "") -> Reason:
    """`code` is "gpu_warm" or "cpu_warm". Without any session it is a break, and blocks.

    `untold` is why its temperature can't be told now, one sentence.
    """
    kind = KINDS[code]
    what = f"Serves {sessions} of {of} sessions" if sessions else "A break to cool down"
    part = "processor" if code == "cpu_warm" else "graphics card"
    # Also on the way back, when it is well below it: one session more each half minute.
    sentence = f"{what}, to keep the {part} at your target of {target_c:g} °C."
    if untold:
        sentence += f" How warm it is can't be told now: {within_sentence(untold)}"
    return Reason(code=code, sentence=sentence, icon=kind.icon, setting=kind.setting, blocks=sessions == 0)


def sharing_now(until: float, waiting: Iterable[str], wall: float) -> Reason:
    """The owner shares whatever the rules of comfort say; `waiting` are the codes of those that would hold it back now.

    `until` and `wall` (now) in seconds since the epoch.
    """
    titles = [f"“{KINDS[code].title}”" for code in waiting]
    end = time_text(until, wall, None)
    which = "Until then your rules about yourself don't hold it back."
    if titles:
        rules = "this rule waits" if len(titles) == 1 else "these rules wait"
        which = f"Until then {rules}: {', '.join(titles)}."
    return Reason(
        code="sharing_now",
        sentence=f"You share now, until {end}. {which}",
        icon=KINDS["sharing_now"].icon,
        remedy="titan follow-rules",
        ends_at=until,
        blocks=False,
    )


def rule_blind(unknown: Iterable[CannotTell], wall: float) -> Reason | None:
    """Rules that could tell before, and can't any more; None where there is none. `wall` is now."""
    lost: dict[str, list[CannotTell]] = {}
    for item in unknown:
        if item.lost_at is not None:
            lost.setdefault(item.cause, []).append(item)
    if not lost:
        return None
    sentences = []
    for cause, items in lost.items():
        titles = ", ".join(f"“{KINDS[item.code].title}”" for item in items)
        since = time_text(min(item.lost_at or wall for item in items), wall, None)
        sentences.append(f"Since {since} it can't be told whether {titles} should hold: {within_sentence(cause)}")
    first = next(iter(lost.values()))[0].code
    return Reason(
        code="rule_blind", sentence=" ".join(sentences), icon="attention", setting=KINDS[first].setting, blocks=False
    )


def gpu_look(*, is_waiting: bool = False, is_used: bool = False) -> Reason:
    """`is_waiting`: sessions still run. `is_used`: another program does use the card, so it is looked at for longer."""
    kind = KINDS["gpu_look"]
    sentence = "Looking whether somebody else uses the graphics card: new sessions wait for a moment."
    if is_waiting:
        sentence = "New sessions wait for the running ones, to look whether somebody else uses the graphics card."
    elif is_used:
        sentence = "Another program seems to use the graphics card: looking for some seconds more."
    return Reason(code="gpu_look", sentence=sentence, icon=kind.icon, setting=kind.setting, blocks=False)


def going_to_sleep() -> Reason:
    return Reason(code="going_to_sleep", sentence="The machine is going to sleep.", icon="pause")
