"""The question when an agent without a window has the profile: its place is taken, or left, or not given up in time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QMessageBox, QPushButton
from pytestqt.qtbot import QtBot

from core.errors import AgentNotRunning, AlreadyRunningError, ControlError
from core.instance_lock import InstanceLock
from titan_gui.take_over import TakeOver

pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")  # what the offscreen display can't do

END = "End it and start here"
LEAVE = "Leave it running"


class Other:
    """The agent that has the lock; it ends when it is asked to, or not."""

    def __init__(self, file: Path) -> None:
        self.lock = InstanceLock(file, "default")
        self.lock.acquire()
        self.is_asked = threading.Event()

    def end(self) -> None:
        self.is_asked.set()
        self.lock.release()

    def hang(self) -> None:
        self.is_asked.set()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Other]:
    made = Other(tmp_path / "lock")
    yield made
    made.lock.release()


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[InstanceLock]:
    lock = InstanceLock(tmp_path / "lock", "default")
    yield lock
    lock.release()


class Person:
    """Presses one button after the other, each in the dialog that has it."""

    def __init__(self, *buttons: str) -> None:
        self.left = list(buttons)
        self.strange: list[str] = []  # dialogs that the task bar shows as anybody's
        self._timer = QTimer(interval=10)
        self._timer.timeout.connect(self._look)
        self._timer.start()

    def _look(self) -> None:
        # Not topLevelWidgets(): among those are what other tests left, some of it being taken down just now.
        dialog = QApplication.activeModalWidget()
        if not self.left or not isinstance(dialog, QMessageBox):
            return
        for button in dialog.findChildren(QPushButton):
            if button.text().replace("&", "") == self.left[0]:
                self.left.pop(0)
                if dialog.windowIcon().isNull():
                    self.strange.append(dialog.text())
                button.click()
                return


def test_the_other_one_is_ended_and_its_place_taken(qtbot: QtBot, other: Other, ours: InstanceLock) -> None:
    person = Person(END)
    assert TakeOver(ours, other.end).ask()
    assert ours.is_held
    assert (person.left, person.strange) == ([], [])


def test_it_is_left_alone(qtbot: QtBot, other: Other, ours: InstanceLock) -> None:
    person = Person(LEAVE)
    assert not TakeOver(ours, other.end).ask()
    assert not other.is_asked.is_set()
    assert not ours.is_held
    assert person.left == []


def test_one_that_ended_meanwhile_is_no_trouble(qtbot: QtBot, other: Other, ours: InstanceLock) -> None:
    def gone() -> None:
        other.lock.release()
        raise AgentNotRunning("no agent runs")

    _person = Person(END)
    assert TakeOver(ours, gone).ask()


def test_one_that_takes_too_long_is_said(
    qtbot: QtBot, other: Other, ours: InstanceLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("titan_gui.take_over.END_LIMIT_S", 0.2)
    _person = Person(END)
    with pytest.raises(AlreadyRunningError) as caught:
        TakeOver(ours, other.hang).ask()
    assert "has not ended" in caught.value.detail
    assert not ours.is_held


def test_one_that_cannot_be_asked_is_said(qtbot: QtBot, other: Other, ours: InstanceLock) -> None:
    def refuse() -> None:
        raise ControlError("no answer")

    _person = Person(END)
    with pytest.raises(ControlError):
        TakeOver(ours, refuse).ask()


def test_waiting_can_be_given_up(qtbot: QtBot, other: Other, ours: InstanceLock) -> None:
    person = Person(END, "Stop waiting")
    assert not TakeOver(ours, other.hang).ask()
    assert other.is_asked.is_set()
    assert person.left == []
