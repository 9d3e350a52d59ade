"""The first line that window, tray and messages share: its state and its sentence are about the same thing."""

from __future__ import annotations

from dataclasses import replace

from core.errors import PortTakenError
from core.reasons import of_engine, of_network
from core.reasons.of_rules import rule_holds
from core.rules import Holding
from core.rules.effects import parse_effect
from core.snapshot import AgentSnapshot
from core.state import AgentState
from titan_gui.failure import failed_snapshot
from titan_gui.remedies import Does
from titan_gui.view_model import Mood, headline_of

PAUSE = parse_effect("stop, unload")
assert PAUSE is not None
AT_THE_MOUSE = rule_holds(
    Holding(code="in_use", sentence="Paused while you use this computer.", effect=PAUSE, since=0.0)
)
NO_MODEL = of_engine.model_not_ready([], "no model is named to be offered", "Tick one.")
PAUSED = AgentSnapshot(state=AgentState.PAUSED)


def test_what_needs_attention_is_said_although_a_stronger_reason_holds() -> None:
    """Whoever reads it sits at the computer: with "only when I'm away" that rule always holds just then."""
    headline = headline_of(replace(PAUSED, reasons=(AT_THE_MOUSE, NO_MODEL)))
    assert (headline.mood, headline.sentence) == (Mood.ATTENTION, NO_MODEL.sentence)
    assert [action.does for action in headline.actions] == [Does.MODELS]


def test_a_pause_is_said_with_its_reason() -> None:
    away = of_network.coordinator_away("no answer", endpoint="127.0.0.1:1")
    headline = headline_of(replace(PAUSED, reasons=(AT_THE_MOUSE, away)))
    assert (headline.mood, headline.sentence) == (Mood.PAUSED, AT_THE_MOUSE.sentence)


def test_an_agent_that_failed_says_why_it_failed() -> None:
    failed = failed_snapshot(AgentSnapshot(reasons=(NO_MODEL,)), PortTakenError("Port 50052 is taken."))
    headline = headline_of(failed)
    assert (headline.mood, headline.sentence) == (Mood.ATTENTION, "Port not available: Port 50052 is taken.")


def test_a_machine_that_coordinators_skip_is_not_said_to_wait_for_work() -> None:
    ready = AgentSnapshot(state=AgentState.READY)
    busy = replace(ready, capacity=replace(ready.capacity, cpu_percent_others=95.0))
    assert headline_of(ready).sentence == "Waiting for work."
    assert "coordinators send no work" in headline_of(busy).sentence
