"""The way out: in order, hurried, by force; and the signals that lead to it."""

from __future__ import annotations

import os
import signal
from typing import cast

import pytest
from PySide6.QtCore import QObject, Signal
from pytestqt.qtbot import QtBot

from titan_gui.bridge import AgentBridge
from titan_gui.quitting import AT_ONCE, BY_HAND, EXIT_FORCED, EXIT_ORDERED, SESSION_ENDS, Pace, Quitting
from titan_gui.signals import StopSignals


class FakeBridge(QObject):
    """An agent that stops when the test says so."""

    agent_ended = Signal(object)

    def __init__(self, *, is_running: bool = True) -> None:
        super().__init__()
        self.is_running = is_running
        self.drains: list[float | None] = []

    def stop(self, drain_limit_s: float | None = None) -> None:
        self.drains.append(drain_limit_s)

    def end(self) -> None:
        self.is_running = False
        self.agent_ended.emit(None)


def quitting_of(bridge: FakeBridge) -> tuple[Quitting, list[int]]:
    made = Quitting(cast(AgentBridge, bridge))
    codes: list[int] = []
    made.finished.connect(codes.append)
    return made, codes


def test_the_limits_leave_room_below_what_was_promised() -> None:
    """Within 10 s by hand, within 3 s at logout; draining never takes all of it."""
    assert BY_HAND.drain_s < BY_HAND.total_s < 10
    assert SESSION_ENDS.drain_s < SESSION_ENDS.total_s < 3
    assert AT_ONCE.drain_s == 0


def test_it_ends_when_the_agent_has_ended(qtbot: QtBot) -> None:
    bridge = FakeBridge()
    quitting, codes = quitting_of(bridge)
    quitting.begin(BY_HAND)
    assert quitting.is_quitting
    assert (bridge.drains, codes) == ([BY_HAND.drain_s], [])
    bridge.end()
    assert codes == [EXIT_ORDERED]
    quitting.begin(AT_ONCE)
    assert codes == [EXIT_ORDERED]


def test_without_an_agent_it_ends_at_once_but_not_inside_the_click(qtbot: QtBot) -> None:
    quitting, codes = quitting_of(FakeBridge(is_running=False))
    quitting.begin(BY_HAND)
    assert codes == []
    qtbot.waitUntil(lambda: codes == [EXIT_ORDERED], timeout=1000)


def test_an_agent_that_does_not_stop_is_left_behind_after_the_limit(qtbot: QtBot) -> None:
    quitting, codes = quitting_of(FakeBridge())
    quitting.begin(Pace(drain_s=0.0, total_s=0.02))
    qtbot.waitUntil(lambda: codes == [EXIT_FORCED], timeout=1000)


def test_a_shorter_pace_hurries_and_a_longer_one_changes_nothing(qtbot: QtBot) -> None:
    bridge = FakeBridge()
    quitting, codes = quitting_of(bridge)
    quitting.begin(BY_HAND)
    quitting.begin(BY_HAND)
    assert bridge.drains == [BY_HAND.drain_s]
    quitting.begin(Pace(drain_s=0.0, total_s=0.02))
    assert bridge.drains == [BY_HAND.drain_s, 0.0]
    qtbot.waitUntil(lambda: codes == [EXIT_FORCED], timeout=1000)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill() for these")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_arrives_inside_qts_loop(qtbot: QtBot, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    signals = StopSignals()
    try:
        with qtbot.waitSignal(signals.received, timeout=1000) as received:
            os.kill(os.getpid(), number)
        assert received.args == [number]
    finally:
        signals.close()
    assert signal.getsignal(number) is before
