"""How many sessions may run for the owner's target temperatures: fewer while one is passed, more once well below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.rules.look import LOST_S
from core.signals import Unknown

HYSTERESIS_C = 5.0
STEP_S = 30.0  # a card, and a processor's cooler, take about this long to show what one session fewer did


@dataclass(frozen=True, slots=True)
class Heat:
    """A part with a target of the owner's; `code` is its reason's, "gpu_warm" or "cpu_warm". `target_c` 0: none."""

    code: str
    celsius: float | Unknown
    target_c: float


@dataclass(frozen=True, slots=True)
class Pace:
    """`sessions` is 0 in a break, when one session alone is still too many. `changed_at` is monotonic, seconds."""

    sessions: int
    changed_at: float = float("-inf")
    code: str = ""  # of the part that was too warm last


def next_pace_times(pace: Pace) -> tuple[float, float]:
    """When time alone may change it: monotonic seconds; times that are over count no more."""
    return pace.changed_at + STEP_S, pace.changed_at + LOST_S


def next_pace(before: Pace, heats: Sequence[Heat], *, most: int, now: float) -> Pace:
    """One step at a time, STEP_S apart. `most` is the owner's own limit, at least 1.

    A temperature that can't be told changes nothing, but for a break: that ends after ten minutes, with one session,
    for what did nothing for so long has cooled. The rules for what is too hot still stop everything.
    """
    aimed = [heat for heat in heats if heat.target_c]
    if not aimed:
        return Pace(most)
    if before.sessions > most:
        before = replace(before, sessions=most)
    if before.code not in {heat.code for heat in aimed}:  # at first, or the owner has no target for it any more
        known = [heat.code for heat in aimed if not isinstance(heat.celsius, Unknown)]
        before = replace(before, code=known[0] if known else aimed[0].code)
    if now - before.changed_at < STEP_S:
        return before
    above = [(heat.celsius - heat.target_c, heat.code) for heat in aimed if not isinstance(heat.celsius, Unknown)]
    passed_c, code = max(above, default=(-HYSTERESIS_C, before.code))
    if passed_c > 0:
        return Pace(before.sessions - 1, now, code) if before.sessions > 0 else before
    if any(heat.code == before.code and isinstance(heat.celsius, Unknown) for heat in aimed):
        is_long = before.sessions == 0 and now - before.changed_at >= LOST_S
        return Pace(1, now, before.code) if is_long else before
    if passed_c <= -HYSTERESIS_C and before.sessions < most:
        return Pace(before.sessions + 1, now, before.code)
    return before
