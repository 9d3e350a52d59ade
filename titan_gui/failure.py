"""What a person is told when the agent ended by itself: its error as a snapshot, so that every view shows it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from core.errors import AgentError
from core.snapshot import AgentSnapshot, Reason
from core.state import AgentState
from titan_gui.plain_text import plain, sentences
from titan_gui.remedies import remedy_of_error, setting_behind

FAILED_CODE = "agent_failed"
UNFORESEEN = "The agent stopped: something unforeseen went wrong."


def failed_snapshot(last: AgentSnapshot, error: BaseException) -> AgentSnapshot:
    """The last snapshot, now FAILED, with the error as its first reason and nothing left that runs."""
    known = foreseen(error)
    sentence, remedy, setting = UNFORESEEN, "Start it again. The log has more.", ""
    if known is not None:
        sentence, remedy = sentences(f"{known.title}: {plain(known.detail)}"), remedy_of_error(known).sentence
        setting = setting_behind(known)
    reason = Reason(code=FAILED_CODE, sentence=sentence, remedy=remedy, setting=setting, icon="error")
    return replace(
        last,
        state=AgentState.FAILED,
        reasons=(reason, *(old for old in last.reasons if old.code != FAILED_CODE)),
        is_draining=False,
        running_jobs=0,
        queued_jobs=0,
        sessions=(),
        tokens_per_second=0.0,
    )


def foreseen(error: BaseException) -> AgentError | None:
    """The AgentError in it, also when a task group wrapped it; None for a bug."""
    return next((leaf for leaf in _leaves(error) if isinstance(leaf, AgentError)), None)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error
