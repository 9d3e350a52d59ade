"""The window with its real pages: all of them come, in short steps, and show the settings that are in force."""

from __future__ import annotations

import os
import time
from typing import cast

import pytest
from PySide6.QtCore import QSettings
from pytestqt.qtbot import QtBot

from core.config_edit import change_settings
from core.config_load import LoadedSettings, load_settings
from tests.fakes.fake_bridge import FakeBridge
from tests.fakes.snapshots import busy_snapshot
from titan_gui.app import Desktop
from titan_gui.history import History
from titan_gui.main_window import MainWindow
from titan_gui.pages.settings import SettingsPage
from titan_gui.window_pages import add_pages

pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")  # what the offscreen display can't do

# Processor time, so that a busy machine doesn't count. 30 ms at most here; all pages in one go were 300.
LONGEST_STEP_S = 0.15


class Program:
    """What pages ask of titan_gui.app.Desktop."""

    def __init__(self, loaded: LoadedSettings) -> None:
        self.loaded = loaded
        self.bridge = FakeBridge()
        self.history = History()
        self.used: list[LoadedSettings] = []

    @property
    def autostart(self) -> object:
        raise AssertionError("only asked when the page with the switch is shown")

    def use_settings(self, loaded: LoadedSettings) -> None:
        self.loaded = loaded
        self.used.append(loaded)

    def start_agent(self) -> None: ...

    def open_setup(self) -> None: ...

    def pause(self, until: float | None) -> None: ...


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    monkeypatch.setenv("TITAN_HOME", os.environ["HOME"])
    return Program(load_settings(os.environ))


@pytest.fixture
def window(qtbot: QtBot, program: Program) -> MainWindow:
    made = MainWindow(QSettings(f"{os.environ['HOME']}/window.ini", QSettings.Format.IniFormat))
    qtbot.addWidget(made, before_close_func=lambda widget: widget.close_for_good())
    add_pages(made, cast(Desktop, program))
    made.render_snapshot(busy_snapshot())
    return made


def test_every_page_comes_and_no_step_is_long(
    qtbot: QtBot, window: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[float, str]] = []
    build = MainWindow._build_step

    def measured(self: MainWindow, name: str) -> None:
        began = time.thread_time()
        build(self, name)
        steps.append((time.thread_time() - began, name))

    monkeypatch.setattr(MainWindow, "_build_step", measured)
    with qtbot.waitSignal(window.all_built, timeout=20_000):
        window.show()
    assert window.page_names == ("dashboard", "activity", "models", "rules", "settings", "log")
    assert {name for _, name in steps} == set(window.page_names)
    assert max(steps)[0] < LONGEST_STEP_S, max(steps)


def test_a_start_with_other_settings_shows_them(qtbot: QtBot, window: MainWindow, program: Program) -> None:
    page = window.page("settings")
    assert isinstance(page, SettingsPage)
    change_settings({"max_concurrent_jobs": "7"}, os.environ, profile=program.loaded.settings.profile)
    program.bridge.agent_started.emit()
    qtbot.waitUntil(lambda: bool(program.used), timeout=5000)
    assert program.loaded.settings.max_concurrent_jobs == 7
    assert page.editor("max_concurrent_jobs").control.property("text") == "7"


def test_a_link_to_a_setting_builds_its_page(qtbot: QtBot, window: MainWindow) -> None:
    window.show()
    window.show_page("settings")
    assert isinstance(window.page("settings"), SettingsPage)
    assert window.page("settings").isVisible()
