"""The program's parts together, with the real agent in its thread and a panel under the test's control."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QAbstractButton, QMessageBox
from pytestqt.qtbot import QtBot

from core.cli import door
from core.config_load import LoadedSettings, load_settings
from core.instance_lock import InstanceLock
from core.parts.sampling import CALM_INTERVAL_S, SAMPLE_INTERVAL_S
from core.snapshot import AgentSnapshot
from core.state import AgentState
from core.stats_collector import SystemStats
from tests.fakes.tray import FakePanel
from titan_gui import app as app_module
from titan_gui import window_pages
from titan_gui.app import Desktop
from titan_gui.quitting import EXIT_ORDERED

pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")  # what the offscreen display can't do

UP = (AgentState.READY, AgentState.PAUSED)
START_MS = 20_000

Start = Callable[..., Desktop]


def settings(**more: str) -> LoadedSettings:
    """An engine without models and a coordinator that nobody is: the agent is up at once and serves nobody."""
    environ = {
        "TITAN_HOME": os.environ["HOME"],
        "TITAN_SETUP_DONE": "true",
        "TITAN_ENGINE": "embedded",
        "AGENT_PORT": "0",
        "COORDINATOR_ENDPOINT": "127.0.0.1:1",
        **more,
    }
    return load_settings(environ)


@pytest.fixture
def panel(qtbot: QtBot) -> FakePanel:
    return FakePanel()


@pytest.fixture
def start(qtbot: QtBot, panel: FakePanel, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setattr(window_pages, "add_pages", lambda window, desktop: None)  # pages have tests of their own
    monkeypatch.setattr("PySide6.QtWidgets.QApplication.exit", lambda code=0: None)
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)  # no message on the desktop of who runs the tests
    opened: list[tuple[Desktop, InstanceLock]] = []

    def begin(*, is_hidden: bool = True, **more: str) -> Desktop:
        loaded = settings(**more)
        lock = InstanceLock(loaded.paths.lock_file, loaded.settings.profile)
        lock.acquire()
        desktop = Desktop(loaded, lock, is_hidden=is_hidden, tray=panel.tray)
        opened.append((desktop, lock))
        desktop.start()
        return desktop

    yield begin
    for desktop, lock in opened:
        if not desktop.quitting.has_finished:
            with qtbot.waitSignal(desktop.quitting.finished, timeout=START_MS):
                desktop.quit()
        assert desktop.leave(timeout_s=5)
        lock.release()


def wait_up(qtbot: QtBot, desktop: Desktop) -> None:
    qtbot.waitUntil(lambda: desktop.bridge.snapshot.state in UP, timeout=START_MS)


def ask(qtbot: QtBot, desktop: Desktop, command: str) -> None:
    """As another process would, once the door is open: that comes a moment after the agent is up."""
    qtbot.waitUntil(desktop.loaded.paths.control_address_file.exists, timeout=START_MS)
    door.execute(None, command)


def press(box: QMessageBox, text: str) -> None:
    button: QAbstractButton = next(one for one in box.buttons() if one.text().replace("&", "") == text)
    button.click()


# Starting


def test_the_icon_is_there_before_the_agent_is(start: Start, panel: FakePanel, qtbot: QtBot) -> None:
    desktop = start()
    assert panel.icon.is_shown
    assert not desktop.bridge.is_running
    wait_up(qtbot, desktop)
    assert desktop.window is None  # a hidden start builds no window


def test_an_agent_that_cannot_start_says_why_and_starts_again_when_asked(
    start: Start, panel: FakePanel, qtbot: QtBot
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        desktop = start(AGENT_PORT=str(taken.getsockname()[1]))
        qtbot.waitUntil(lambda: panel.tray.view.can_start, timeout=START_MS)
        assert str(taken.getsockname()[1]) in panel.tray.view.status
        assert desktop.bridge.snapshot.state is AgentState.FAILED
    panel.tray.start_requested.emit()
    wait_up(qtbot, desktop)
    assert not panel.tray.view.can_start


def test_an_open_window_gets_a_sample_at_once_and_more_of_them_until_it_is_hidden(start: Start, qtbot: QtBot) -> None:
    desktop = start()
    wait_up(qtbot, desktop)
    qtbot.waitUntil(lambda: desktop.bridge._running is not None, timeout=START_MS)
    running = desktop.bridge._running
    assert running is not None
    sampling, store = running.agent.sampling, running.agent.store
    assert (store.is_watched, sampling.interval_s()) == (False, CALM_INTERVAL_S)
    taken: list[SystemStats] = []
    take = sampling.take

    def see(stats: SystemStats) -> None:
        taken.append(stats)
        take(stats)

    sampling.take = see  # type: ignore[method-assign]
    desktop.open_window()
    qtbot.waitUntil(lambda: store.is_watched and bool(taken), timeout=START_MS)
    assert sampling.interval_s() == SAMPLE_INTERVAL_S
    assert desktop.window is not None
    desktop.window.showMinimized()
    qtbot.waitUntil(lambda: not store.is_watched, timeout=START_MS)
    desktop.window.bring_up()
    qtbot.waitUntil(lambda: store.is_watched, timeout=START_MS)
    desktop.window.hide()
    qtbot.waitUntil(lambda: not store.is_watched, timeout=START_MS)
    desktop.open_window()
    desktop.bridge.restart(desktop.loaded)  # who takes the place of that agent is watched from its start
    qtbot.waitUntil(lambda: desktop.bridge._running not in (None, running), timeout=START_MS)
    following = desktop.bridge._running
    assert following is not None
    qtbot.waitUntil(lambda: following.agent.store.is_watched, timeout=START_MS)


def test_the_window_opens_through_the_door_while_the_agent_runs_and_while_it_does_not(
    start: Start, panel: FakePanel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TITAN_HOME", os.environ["HOME"])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        desktop = start(AGENT_PORT=str(taken.getsockname()[1]))
        qtbot.waitUntil(lambda: panel.tray.view.can_start, timeout=START_MS)
        ask(qtbot, desktop, "show_window")
        qtbot.waitUntil(lambda: desktop.window is not None and desktop.window.isVisible(), timeout=START_MS)
    assert desktop.window is not None
    desktop.window.hide()
    desktop.start_agent()
    wait_up(qtbot, desktop)
    ask(qtbot, desktop, "show_window")
    qtbot.waitUntil(desktop.window.isVisible, timeout=START_MS)


# The window


def test_closing_with_a_tray_hides_the_window_and_keeps_the_agent(start: Start, qtbot: QtBot) -> None:
    desktop = start(is_hidden=False)
    qtbot.waitUntil(lambda: desktop.window is not None, timeout=START_MS)
    assert desktop.window is not None
    wait_up(qtbot, desktop)
    desktop.window.close()
    assert not desktop.window.isVisible()
    assert desktop.bridge.snapshot.state in UP


def test_closing_without_a_tray_asks_once_and_then_stays_minimised(
    start: Start, panel: FakePanel, qtbot: QtBot
) -> None:
    panel.host.is_there = False
    desktop = start(is_hidden=False)
    qtbot.waitUntil(lambda: desktop.window is not None, timeout=START_MS)
    assert desktop.window is not None
    desktop.window.close()
    box = desktop.window.findChild(QMessageBox)
    assert isinstance(box, QMessageBox)
    assert box.isVisible()
    assert desktop.window.isVisible()
    press(box, "Keep sharing")
    assert desktop.window.isMinimized()
    desktop.window.close()
    assert not box.isVisible()
    assert desktop.window.isMinimized()
    assert not desktop.quitting.is_quitting


@pytest.mark.parametrize(("button", "quits"), [("Quit", True), ("Cancel", False)])
def test_the_other_answers(start: Start, panel: FakePanel, qtbot: QtBot, button: str, quits: bool) -> None:
    panel.host.is_there = False
    desktop = start(is_hidden=False)
    qtbot.waitUntil(lambda: desktop.window is not None, timeout=START_MS)
    assert desktop.window is not None
    desktop.window.close()
    box = desktop.window.findChild(QMessageBox)
    assert isinstance(box, QMessageBox)
    press(box, button)
    assert desktop.quitting.is_quitting is quits
    assert desktop.window.isVisible()


def test_a_tray_that_vanishes_under_a_hidden_program_brings_a_minimised_window(
    start: Start, panel: FakePanel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "NO_TRAY_GRACE_MS", 10)
    desktop = start()
    wait_up(qtbot, desktop)
    panel.host.go()
    qtbot.waitUntil(lambda: desktop.window is not None and desktop.window.isMinimized(), timeout=START_MS)


def test_a_tray_that_is_back_in_time_leaves_the_program_hidden(start: Start, panel: FakePanel, qtbot: QtBot) -> None:
    desktop = start()
    panel.host.go()
    panel.host.come()
    wait_up(qtbot, desktop)
    assert desktop.window is None


# Commands


@pytest.mark.parametrize(
    ("ask", "end", "is_on", "until_field"),
    [
        ("pause_requested", "resume_requested", "can_resume", "pause_until"),
        ("share_requested", "follow_rules_requested", "is_sharing", "share_until"),
    ],
)
def test_a_time_from_the_menu_reaches_the_agent_and_ends_at_a_click(
    start: Start, panel: FakePanel, qtbot: QtBot, ask: str, end: str, is_on: str, until_field: str
) -> None:
    desktop = start()
    wait_up(qtbot, desktop)
    until = time.time() + 900
    getattr(panel.tray, ask).emit(until)
    qtbot.waitUntil(lambda: getattr(panel.tray.view, is_on), timeout=START_MS)
    assert getattr(desktop.bridge.snapshot, until_field) == pytest.approx(until)
    getattr(panel.tray, end).emit()
    qtbot.waitUntil(lambda: not getattr(panel.tray.view, is_on), timeout=START_MS)
    assert getattr(desktop.bridge.snapshot, until_field) is None


def test_a_pause_without_a_time_has_no_end(start: Start, panel: FakePanel, qtbot: QtBot) -> None:
    desktop = start()
    wait_up(qtbot, desktop)
    panel.tray.pause_requested.emit(None)
    qtbot.waitUntil(lambda: panel.tray.view.can_resume, timeout=START_MS)
    assert desktop.bridge.snapshot.pause_until is None


def test_a_click_while_the_agent_starts_is_done_once_it_is_up(start: Start, panel: FakePanel, qtbot: QtBot) -> None:
    desktop = start()
    clicked: list[AgentState] = []

    def click(snapshot: AgentSnapshot) -> None:  # as a signal: who polls may never see the state, so short is it
        if snapshot.state is AgentState.STARTING and not clicked:
            clicked.append(snapshot.state)
            panel.tray.pause_requested.emit(None)

    desktop.bridge.snapshot_changed.connect(click)
    qtbot.waitUntil(lambda: panel.tray.view.can_resume, timeout=START_MS)
    assert clicked


def test_what_taking_back_did_is_told_where_no_window_is(start: Start, panel: FakePanel, qtbot: QtBot) -> None:
    desktop = start()
    wait_up(qtbot, desktop)
    panel.tray.take_back_requested.emit()
    qtbot.waitUntil(lambda: bool(panel.icon.messages), timeout=START_MS)
    assert panel.icon.messages[-1][1] == "Paused until you resume, no model was loaded."


def test_a_pause_that_the_disk_does_not_keep_is_told_where_no_window_is(
    start: Start, panel: FakePanel, qtbot: QtBot
) -> None:
    desktop = start()
    wait_up(qtbot, desktop)
    file = desktop.loaded.paths.state_dir / "pause.json"
    file.mkdir()  # no file can take its place
    panel.tray.pause_requested.emit(None)
    qtbot.waitUntil(lambda: bool(panel.icon.messages), timeout=START_MS)
    assert "A restart would forget it" in panel.icon.messages[-1][1]
    assert panel.tray.view.can_resume
    said = "not kept over a restart"
    qtbot.waitUntil(lambda: any(said in notice for notice in desktop.bridge.snapshot.notices), timeout=START_MS)


def test_an_answer_in_a_minimised_window_is_told_beside_it(start: Start, panel: FakePanel, qtbot: QtBot) -> None:
    desktop = start(is_hidden=False)
    wait_up(qtbot, desktop)
    assert desktop.window is not None
    desktop.window.showMinimized()
    panel.tray.take_back_requested.emit()
    qtbot.waitUntil(lambda: bool(panel.icon.messages), timeout=START_MS)


def test_a_pause_that_is_kept_needs_no_message(start: Start, panel: FakePanel, qtbot: QtBot) -> None:
    desktop = start()
    wait_up(qtbot, desktop)
    with qtbot.waitSignal(desktop.bridge.command_finished, timeout=START_MS):
        panel.tray.pause_requested.emit(None)
    assert panel.icon.messages == []


def test_a_command_without_an_agent_is_answered_too(start: Start, panel: FakePanel, qtbot: QtBot) -> None:
    start()
    panel.tray.take_back_requested.emit()
    assert panel.icon.messages[-1] == ("Agent error", "The agent is not running. Start it first.")


# The end


def test_titan_shutdown_ends_the_program(start: Start, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TITAN_HOME", os.environ["HOME"])
    desktop = start()
    wait_up(qtbot, desktop)
    with qtbot.waitSignal(desktop.quitting.finished, timeout=START_MS) as ended:
        ask(qtbot, desktop, "shutdown")
    assert ended.args == [EXIT_ORDERED]


def test_quitting_during_a_restart_does_not_start_again(start: Start, qtbot: QtBot) -> None:
    desktop = start()
    wait_up(qtbot, desktop)
    desktop.bridge.restart(desktop.loaded)
    with qtbot.waitSignal(desktop.quitting.finished, timeout=START_MS):
        desktop.quit()
    assert not desktop.bridge.is_running


def test_at_logout_the_program_has_ended_when_the_system_is_answered(start: Start, qtbot: QtBot) -> None:
    desktop = start()
    wait_up(qtbot, desktop)
    began = time.monotonic()
    desktop.end_with_session()
    assert desktop.quitting.has_finished
    assert not desktop.bridge.is_running
    assert time.monotonic() - began < 3
    desktop.end_with_session()  # asked again: nothing to wait for


def test_the_menu_says_finishing_while_it_ends(start: Start, panel: FakePanel, qtbot: QtBot) -> None:
    desktop = start()
    wait_up(qtbot, desktop)
    desktop.quit()
    assert panel.tray.view.status == "Finishing …"
    assert panel.tray.view.is_quitting


def test_the_windows_place_is_kept(start: Start, qtbot: QtBot, tmp_path: Path) -> None:
    desktop = start(is_hidden=False)
    qtbot.waitUntil(lambda: desktop.window is not None, timeout=START_MS)
    assert desktop.window is not None
    desktop.window.resize(700, 500)
    with qtbot.waitSignal(desktop.quitting.finished, timeout=START_MS):
        desktop.quit()
    assert desktop.leave(timeout_s=5)
    from PySide6.QtCore import QSettings

    from titan_gui.main_window import MainWindow

    file = desktop.loaded.paths.state_dir / app_module.MEMORY_NAME
    again = MainWindow(QSettings(str(file), QSettings.Format.IniFormat))
    qtbot.addWidget(again)
    assert (again.width(), again.height()) == (700, 500)
