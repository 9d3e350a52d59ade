"""How many sessions may run for the owner's target temperature: fewer while it is above, more once it is well below."""

from __future__ import annotations

from dataclasses import dataclass, replace

from core.signals import Unknown

HYSTERESIS_C = 5.0
STEP_S = 30.0  # a card takes about this long to show what one session fewer did


@dataclass(frozen=True, slots=True)
class Pace:
    """`sessions` is 0 in a break, when one session alone is still too many. `changed_at` is monotonic, seconds."""

    sessions: int
    changed_at: float = float("-inf")


def next_pace(before: Pace, *, target_c: float, celsius: float | Unknown, most: int, now: float) -> Pace:
    """One step at a time, STEP_S apart. `target_c` 0: no target. `most` is the owner's own limit, at least 1.

    A temperature that can't be told changes nothing; the rule for a card that is too hot still stops everything.
    """
    if not target_c:
        return Pace(most)
    if before.sessions > most:
        before = replace(before, sessions=most)
    if isinstance(celsius, Unknown) or now - before.changed_at < STEP_S:
        return before
    if celsius > target_c and before.sessions > 0:
        return Pace(before.sessions - 1, now)
    if celsius <= target_c - HYSTERESIS_C and before.sessions < most:
        return Pace(before.sessions + 1, now)
    return before
