"""The agent's lifecycle: its states, and the table of allowed moves. Busy and draining are data beside it."""

from __future__ import annotations

from enum import StrEnum


class AgentState(StrEnum):
    STOPPED = "stopped"
    STARTING = "starting"
    CONNECTING = "connecting"  # not registered; valid tokens are served all the same while a key is held
    READY = "ready"
    PAUSED = "paused"  # at least one reason not to serve holds
    STOPPING = "stopping"
    FAILED = "failed"


_S = AgentState
ALLOWED_MOVES: dict[AgentState, frozenset[AgentState]] = {
    _S.STOPPED: frozenset({_S.STARTING}),
    _S.STARTING: frozenset({_S.CONNECTING, _S.STOPPING, _S.FAILED}),
    _S.CONNECTING: frozenset({_S.READY, _S.PAUSED, _S.STOPPING, _S.FAILED}),
    _S.READY: frozenset({_S.PAUSED, _S.CONNECTING, _S.STOPPING, _S.FAILED}),
    _S.PAUSED: frozenset({_S.READY, _S.CONNECTING, _S.STOPPING, _S.FAILED}),
    _S.STOPPING: frozenset({_S.STOPPED, _S.FAILED}),
    _S.FAILED: frozenset({_S.STARTING, _S.STOPPING}),
}


class IllegalTransition(RuntimeError):
    """A move that the table doesn't allow: a bug, never a user's mistake."""


def check_transition(old: AgentState, new: AgentState) -> None:
    """Raise IllegalTransition unless `old` → `new` is in the table."""
    if new not in ALLOWED_MOVES[old]:
        raise IllegalTransition(f"{old} → {new}")
