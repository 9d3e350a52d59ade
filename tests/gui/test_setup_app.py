"""The first start of the whole program: the setup first, nothing shared, then the window."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtWidgets import QApplication, QPushButton
from pytestqt.qtbot import QtBot

from core.config_load import load_settings
from core.instance_lock import InstanceLock
from core.state import AgentState
from tests.fakes.tray import FakePanel
from titan_gui import window_pages
from titan_gui.app import Desktop
from titan_gui.setup_draft import DRAFT_NAME, Step
from titan_gui.setup_wiring import SetupWiring
from titan_gui.view_model import Mood

pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")  # what the offscreen display can't do

START_MS = 20_000
UP = (AgentState.READY, AgentState.PAUSED, AgentState.CONNECTING)


@pytest.fixture
def is_hidden() -> bool:
    return False


@pytest.fixture
def panel() -> FakePanel:
    return FakePanel()


@pytest.fixture
def desktop(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, is_hidden: bool, panel: FakePanel) -> Iterator[Desktop]:
    monkeypatch.setattr(window_pages, "add_pages", lambda window, desktop: None)  # pages have tests of their own
    monkeypatch.setattr("PySide6.QtWidgets.QApplication.exit", lambda code=0: None)
    for name, text in (("TITAN_ENGINE", "embedded"), ("AGENT_PORT", "0"), ("COORDINATOR_ENDPOINT", "127.0.0.1:1")):
        monkeypatch.setenv(name, text)
    loaded = load_settings()
    with InstanceLock(loaded.paths.lock_file, loaded.settings.profile) as lock:
        desktop = Desktop(loaded, lock, is_hidden=is_hidden, tray=panel.tray)
        desktop.start()
        qtbot.waitUntil(lambda: desktop.bridge.snapshot.state in UP, timeout=START_MS)
        yield desktop
        if not desktop.quitting.has_finished:
            with qtbot.waitSignal(desktop.quitting.finished, timeout=START_MS):
                desktop.quit()
        assert desktop.leave(timeout_s=5)


def setup_of(desktop: Desktop) -> SetupWiring:
    assert desktop._setup is not None
    return desktop._setup


def reasons(desktop: Desktop) -> list[str]:
    return [reason.code for reason in desktop.bridge.snapshot.reasons]


def press(desktop: Desktop, text: str) -> None:
    QApplication.processEvents()
    found = [button for button in setup_of(desktop).window.findChildren(QPushButton) if button.text() == text]
    assert len(found) == 1
    found[0].click()


def test_the_first_start_asks_and_shares_nothing(desktop: Desktop, qtbot: QtBot) -> None:
    assert setup_of(desktop).window.isVisible()
    assert desktop.window is None
    assert reasons(desktop)[0] == "setup_not_done"
    desktop.bridge.command("resume")
    with qtbot.waitSignal(desktop.bridge.command_finished, timeout=START_MS):
        pass
    assert reasons(desktop)[0] == "setup_not_done"


def test_the_last_click_starts_the_agent_anew_and_opens_the_window(desktop: Desktop, qtbot: QtBot) -> None:
    while setup_of(desktop).window.step < Step.TEST:
        press(desktop, "Next")
    press(desktop, "Start sharing untested")
    qtbot.waitUntil(lambda: desktop.window is not None and desktop.window.isVisible(), timeout=START_MS)
    qtbot.waitUntil(lambda: desktop._setup is None, timeout=START_MS)
    qtbot.waitUntil(
        lambda: desktop.bridge.snapshot.state in UP and "setup_not_done" not in reasons(desktop), timeout=START_MS
    )
    assert desktop.loaded.settings.setup_done


def test_finish_later_keeps_the_program_and_asking_for_the_window_asks_again(desktop: Desktop, qtbot: QtBot) -> None:
    if not desktop.tray.is_shown:
        pytest.skip("needs the fake panel's icon")
    press(desktop, "Next")
    press(desktop, "Finish later")
    qtbot.waitUntil(lambda: desktop._setup is None, timeout=START_MS)
    assert (desktop.loaded.paths.config_dir / DRAFT_NAME).exists()
    assert not desktop.loaded.paths.config_file.exists()
    assert not desktop.quitting.is_quitting
    desktop.open_window()
    assert setup_of(desktop).window.isVisible()
    assert setup_of(desktop).window.step is Step.ADDRESS


def test_without_an_icon_finish_later_ends_the_program(
    desktop: Desktop, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(desktop.tray), "is_shown", property(lambda tray: False))
    with qtbot.waitSignal(desktop.quitting.finished, timeout=START_MS):
        press(desktop, "Finish later")


@pytest.mark.parametrize("is_hidden", [True])
def test_a_hidden_start_before_the_setup_shows_an_icon_that_wants_attention_and_no_window(
    desktop: Desktop, panel: FakePanel, qtbot: QtBot
) -> None:
    assert desktop._setup is None
    assert desktop.window is None
    qtbot.waitUntil(lambda: desktop.tray.view.mood is Mood.ATTENTION, timeout=START_MS)
    assert desktop.tray.view.status == "Needs attention: Not set up yet: nothing is shared."
    assert reasons(desktop)[0] == "setup_not_done"
    desktop.tray.window_requested.emit()  # a click on the icon
    assert setup_of(desktop).window.isVisible()


@pytest.mark.parametrize("is_hidden", [True])
def test_a_hidden_start_before_the_setup_without_a_tray_asks_in_the_window(
    desktop: Desktop, panel: FakePanel, qtbot: QtBot
) -> None:
    panel.host.go()
    assert desktop._no_tray.isActive()
    desktop._no_tray.start(0)  # the panel has had its time
    qtbot.waitUntil(lambda: desktop._setup is not None, timeout=START_MS)
    assert setup_of(desktop).window.isVisible()
    assert desktop.window is None
