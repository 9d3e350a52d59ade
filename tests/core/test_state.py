"""The lifecycle: exactly the moves of the table are allowed."""

from __future__ import annotations

import itertools

import pytest

from core.state import AgentState, IllegalTransition, check_transition

S = AgentState
ALLOWED = {
    (S.STOPPED, S.STARTING),
    (S.STARTING, S.CONNECTING),
    (S.STARTING, S.STOPPING),
    (S.STARTING, S.FAILED),
    (S.CONNECTING, S.READY),
    (S.CONNECTING, S.PAUSED),
    (S.CONNECTING, S.STOPPING),
    (S.CONNECTING, S.FAILED),
    (S.READY, S.PAUSED),
    (S.READY, S.CONNECTING),
    (S.READY, S.STOPPING),
    (S.READY, S.FAILED),
    (S.PAUSED, S.READY),
    (S.PAUSED, S.CONNECTING),
    (S.PAUSED, S.STOPPING),
    (S.PAUSED, S.FAILED),
    (S.STOPPING, S.STOPPED),
    (S.STOPPING, S.FAILED),
    (S.FAILED, S.STARTING),
    (S.FAILED, S.STOPPING),
}


@pytest.mark.parametrize(("old", "new"), list(itertools.permutations(S, 2)))
def test_only_the_moves_of_the_table_are_allowed(old: AgentState, new: AgentState) -> None:
    if (old, new) in ALLOWED:
        check_transition(old, new)
    else:
        with pytest.raises(IllegalTransition, match=f"{old} → {new}"):
            check_transition(old, new)
