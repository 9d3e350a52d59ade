"""Start at login: the switch on the settings page, and the file that makes the system do it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLineEdit
from pytestqt.qtbot import QtBot

from core.config_load import load_settings
from core.errors import AgentError
from core.instance_lock import InstanceLock
from tests.fakes.page_words import words
from tests.fakes.tray import FakePanel
from titan_gui.app import Desktop
from titan_gui.autostart import Autostart, autostart_of
from titan_gui.autostart_wiring import AutostartWiring
from titan_gui.pages.settings import SettingsPage
from titan_gui.widgets.login_switch import LoginSwitch

pytestmark = pytest.mark.qt_log_ignore("propagateSizeHints")  # the offscreen display says this of every shown window

COMMAND = ("/opt/titan/titan-desktop",)


@pytest.fixture
def system(tmp_path: Path) -> Autostart:
    return autostart_of("default", COMMAND, {"XDG_CONFIG_HOME": str(tmp_path)}, platform="linux")


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    return tmp_path / "autostart" / "titancompute.desktop"


@pytest.fixture
def page(qtbot: QtBot) -> SettingsPage:
    widget = SettingsPage()
    qtbot.addWidget(widget)
    widget.show_settings(load_settings({}))
    return widget


def is_known(switch: LoginSwitch) -> bool:
    """Whether the system has answered."""
    return switch.box.isEnabled()


def click(qtbot: QtBot, switch: LoginSwitch) -> None:
    switch.box.click()
    qtbot.waitUntil(lambda: is_known(switch))


def test_the_switch_makes_and_removes_the_entry(
    page: SettingsPage, system: Autostart, entry: Path, qtbot: QtBot
) -> None:
    AutostartWiring(page.login_switch, lambda: system)
    assert not is_known(page.login_switch)
    page.show()
    qtbot.waitUntil(lambda: is_known(page.login_switch))
    assert not page.login_switch.box.isChecked()
    click(qtbot, page.login_switch)
    assert page.login_switch.box.isChecked()
    assert "--hidden" in entry.read_text()
    click(qtbot, page.login_switch)
    assert not page.login_switch.box.isChecked()
    assert not entry.exists()


def test_what_was_flipped_elsewhere_is_seen_when_the_page_is_shown_again(
    page: SettingsPage, system: Autostart, entry: Path, qtbot: QtBot
) -> None:
    AutostartWiring(page.login_switch, lambda: system)
    system.enable()
    page.show()
    qtbot.waitUntil(page.login_switch.box.isChecked)
    page.hide()
    entry.write_text(entry.read_text() + "Hidden=true\n")
    page.show()
    qtbot.waitUntil(lambda: not page.login_switch.box.isChecked())


def test_a_change_that_fails_turns_the_switch_back_and_says_why(
    page: SettingsPage, system: Autostart, entry: Path, qtbot: QtBot
) -> None:
    entry.parent.write_text("in the way")
    AutostartWiring(page.login_switch, lambda: system)
    page.show()
    qtbot.waitUntil(lambda: is_known(page.login_switch))
    click(qtbot, page.login_switch)
    assert not page.login_switch.box.isChecked()
    assert str(entry.parent) in words(page.login_switch)


def test_an_installation_that_cannot_start_at_login_says_so(page: SettingsPage, qtbot: QtBot) -> None:
    def nothing() -> Autostart:
        raise AgentError("there is no program to start", hint="Install it.")

    AutostartWiring(page.login_switch, nothing)
    page.show()
    qtbot.waitUntil(lambda: "no program to start" in words(page.login_switch))
    assert not is_known(page.login_switch)


@pytest.mark.parametrize("text", ["login", "Start", "autostart"])
def test_it_is_found_by_what_people_look_for(page: SettingsPage, text: str) -> None:
    search = next(line for line in page.findChildren(QLineEdit) if line.accessibleName() == "Find a setting")
    search.setText(text)
    assert not page.login_switch.isHidden()
    assert "No setting has to do with that" not in words(page)
    search.setText("coordinator")
    assert page.login_switch.isHidden()


def test_the_keyboard_reaches_it(page: SettingsPage) -> None:
    assert page.login_switch.box.focusPolicy() & Qt.FocusPolicy.TabFocus
    assert page.login_switch.box.accessibleDescription()


@pytest.mark.qt_log_ignore("This plugin does not support")  # what the offscreen display can't do
def test_in_the_whole_window_it_is_this_program_that_starts_at_login(
    qtbot: QtBot, tmp_path: Path, entry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("APPIMAGE", raising=False)
    monkeypatch.setattr("core.engines.worker_launch.desktop_command", lambda argv, environ: list(COMMAND))
    loaded = load_settings({"TITAN_HOME": str(tmp_path / "home"), "TITAN_SETUP_DONE": "true"})
    with InstanceLock(loaded.paths.lock_file, loaded.settings.profile) as lock:
        desktop = Desktop(loaded, lock, tray=FakePanel().tray)
        desktop.open_window("settings")
        qtbot.waitUntil(lambda: desktop.window is not None)
        assert desktop.window is not None
        window = desktop.window
        qtbot.waitUntil(lambda: bool(window.findChildren(LoginSwitch)))  # the page is built in steps
        (switch,) = window.findChildren(LoginSwitch)
        qtbot.waitUntil(lambda: is_known(switch))
        click(qtbot, switch)
        assert f"Exec={COMMAND[0]} --hidden" in entry.read_text()
        click(qtbot, switch)
        assert not entry.exists()
        assert desktop.leave(timeout_s=5)
