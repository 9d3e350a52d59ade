"""Reasons not to serve: the book of those that hold now, and what a client may hear of them.

What each kind means stands in `catalogue`; what is said of one that holds in `of_owner`, `of_rules`, `of_engine` and
`of_network`.
"""

from __future__ import annotations

from collections.abc import Callable

from core.reasons.catalogue import STRENGTH
from core.snapshot import Reason

# What a stranger may know: never the owner's machine, models or habits.
CLIENT_WORDS = {
    "stopping": "this agent is stopping",
    "paused_by_owner": "this agent is paused by its owner",
    "draining": "this agent is finishing its sessions before a pause",
    "memory_going_back": "this agent is unloading its model",
    "model_loading": "this agent is loading its model",
}


class ReasonBook:
    """The reasons that hold now, one per code. Runs on the loop thread."""

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self._reasons: dict[str, Reason] = {}
        self._on_change = on_change

    def put(self, reason: Reason) -> None:
        """Add the reason, or replace the one of the same code."""
        if self._reasons.get(reason.code) != reason:
            self._reasons[reason.code] = reason
            self._on_change()

    def drop(self, code: str) -> None:
        """Remove a reason; one that doesn't hold is no error."""
        if self._reasons.pop(code, None) is not None:
            self._on_change()

    def put_or_drop(self, code: str, reason: Reason | None) -> None:
        if reason is None:
            self.drop(code)
        else:
            self.put(reason)

    def __contains__(self, code: str) -> bool:
        return code in self._reasons

    @property
    def all(self) -> tuple[Reason, ...]:
        """Every reason, strongest first; blocking ones before the others of unknown strength."""
        return tuple(sorted(self._reasons.values(), key=_strength))

    @property
    def is_blocked(self) -> bool:
        return any(reason.blocks for reason in self._reasons.values())

    def closed_because(self) -> str:
        """The strongest blocking reason in words for a client, "" when serving is allowed."""
        if not self._reasons:  # asked twice for each session
            return ""
        for reason in self.all:
            if reason.blocks:
                return CLIENT_WORDS.get(reason.code, "this agent is not serving now")
        return ""

    def closed_to_owner(self) -> str:
        """The same for the owner's own test, which works while nothing is shared."""
        return CLIENT_WORDS["stopping"] if "stopping" in self else ""


def _strength(reason: Reason) -> tuple[int, int]:
    rank = STRENGTH.index(reason.code) if reason.code in STRENGTH else len(STRENGTH)
    return (0 if reason.blocks else 1, rank)
