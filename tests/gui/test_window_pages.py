"""The window with its real pages: all of them come, in short steps, and show the settings that are in force."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from typing import cast

import pytest
from PySide6.QtCore import QSettings, QTimer
from pytestqt.qtbot import QtBot

from core.config import DECLARATIONS
from core.config_edit import change_settings
from core.config_load import LoadedSettings, load_settings
from tests.fakes.agent_process import ROOT
from tests.fakes.fake_bridge import FakeBridge
from tests.fakes.snapshots import busy_snapshot
from titan_gui.app import Desktop
from titan_gui.history import History
from titan_gui.main_window import MainWindow
from titan_gui.pages.settings import EDITORS_A_STEP, SettingsPage
from titan_gui.rule_forms import FORMS
from titan_gui.step_builder import StepBuilder
from titan_gui.window_pages import add_pages

pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")  # what the offscreen display can't do


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


def test_every_page_comes_in_many_steps_and_no_turn_has_two_of_them(
    qtbot: QtBot, window: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not timed: it counts. Whole pages in one step, or two steps in one turn, hold Qt's thread up."""
    turns: list[list[str]] = [[]]  # whose steps were made between two looks at the timers
    between = QTimer(interval=0)
    between.timeout.connect(lambda: turns.append([]))
    build = StepBuilder._step

    def noted(self: StepBuilder, name: str) -> None:
        turns[-1].append(name)
        build(self, name)

    monkeypatch.setattr(StepBuilder, "_step", noted)
    between.start()
    with qtbot.waitSignal(window.all_built, timeout=20_000):
        window.show()
    between.stop()
    steps = Counter(name for turn in turns for name in turn)
    assert window.page_names == ("dashboard", "activity", "models", "rules", "settings", "log")
    assert max(map(len, turns)) == 1
    assert steps["dashboard"] >= 6
    assert steps["rules"] >= len(FORMS)  # a rule each
    assert steps["settings"] >= len(DECLARATIONS) // EDITORS_A_STEP
    assert min(steps[name] for name in window.page_names) >= 2  # its modules, then it


def test_what_pages_and_charts_need_is_never_imported_on_qts_thread() -> None:
    environ = {**os.environ, "TITAN_HOME": os.environ["HOME"], "QT_QPA_PLATFORM": "offscreen"}
    command = [sys.executable, str(ROOT / "tests" / "fakes" / "opened_window.py")]
    ended = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    imported = json.loads(ended.stdout)
    assert {"numpy", "pyqtgraph", "titan_gui.pages.log", "titan_gui.rules_wiring"} <= set(imported["elsewhere"])
    ours = [
        name for name in imported["on_qts_thread"] if name.split(".")[0] in ("core", "numpy", "pyqtgraph", "titan_gui")
    ]
    assert ours == []
    assert imported["sources_kept"] < 20  # PySide6 would have read 390, and Python kept them


def test_a_start_with_other_settings_shows_them(qtbot: QtBot, window: MainWindow, program: Program) -> None:
    page = window.page("settings")
    assert isinstance(page, SettingsPage)
    change_settings({"max_concurrent_jobs": "7"}, os.environ, profile=program.loaded.settings.profile)
    program.bridge.agent_started.emit()
    qtbot.waitUntil(lambda: bool(program.used), timeout=5000)
    assert program.loaded.settings.max_concurrent_jobs == 7
    assert page.editor("max_concurrent_jobs").control.property("text") == "7"


def test_a_page_that_is_turned_to_at_once_comes(qtbot: QtBot, window: MainWindow) -> None:
    window.show()
    window.show_page("settings")
    with qtbot.waitSignal(window.all_built, timeout=20_000):
        pass
    assert isinstance(window.page("settings"), SettingsPage)
    assert window.page("settings").isVisible()
