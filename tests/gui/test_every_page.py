"""Every page and dialog, full and small, in both themes and long words: nothing cut, pale, nameless, out of reach."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import cast

import pytest
from PySide6.QtCore import QSettings, Qt
from PySide6.QtGui import QColor, QPalette
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QListWidget, QPushButton, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from core.commands import CommandOutcome
from core.config_load import load_settings
from tests.fakes import look_over
from tests.fakes.crowded import LongWords, contribution, crowded_snapshot, full_day
from tests.fakes.fake_bridge import FakeBridge
from tests.gui.test_theme import GROUNDS
from tests.gui.test_window_pages import Program
from titan_gui.app import Desktop
from titan_gui.bridge import AgentBridge
from titan_gui.main_window import DEFAULT_SIZE, MainWindow
from titan_gui.no_tray import NoTrayQuestion
from titan_gui.pages.rules import RulesPage
from titan_gui.pages.settings import SettingsPage
from titan_gui.setup_draft import Step
from titan_gui.setup_wiring import SetupWiring
from titan_gui.widgets.diagnostics_dialog import DiagnosticsDialog
from titan_gui.window_pages import add_pages

pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")  # what the offscreen display can't do

SMALL = (800, 600)
PAGES = ("dashboard", "activity", "models", "rules", "settings", "log")
CHECKS: tuple[Callable[[QWidget], list[str]], ...] = (
    look_over.cut_texts,
    look_over.overlaps,
    look_over.too_wide,
    look_over.weak_contrasts,
    look_over.nameless,
)


def settle() -> None:
    """A scroll bar that comes narrows the content, which may want another height: a few rounds."""
    for _ in range(10):
        QApplication.processEvents()


def complaints(top: QWidget) -> list[str]:
    settle()
    return sorted({sentence for check in CHECKS for sentence in check(top)})


@pytest.fixture(params=GROUNDS)
def theme(request: pytest.FixtureRequest, qapp: QApplication) -> Iterator[None]:
    base, window = map(QColor, GROUNDS[request.param])
    before, palette = qapp.palette(), QPalette(window)
    palette.setColor(QPalette.ColorRole.Base, base)
    qapp.setPalette(palette)
    yield
    qapp.setPalette(before)


@pytest.fixture(params=["English", "long words"])
def language(request: pytest.FixtureRequest, qapp: QApplication) -> Iterator[None]:
    words = LongWords()
    if request.param == "long words":
        qapp.installTranslator(words)
    yield
    qapp.removeTranslator(words)


@pytest.fixture
def window(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> MainWindow:
    """All pages, as small as most screens and as full as it gets."""
    monkeypatch.setenv("TITAN_HOME", os.environ["HOME"])
    program = Program(load_settings(os.environ))
    made = MainWindow(QSettings(f"{os.environ['HOME']}/window.ini", QSettings.Format.IniFormat))
    qtbot.addWidget(made, before_close_func=lambda widget: widget.close_for_good())
    add_pages(made, cast(Desktop, program))
    made.render_snapshot(crowded_snapshot())
    made.resize(*SMALL)
    with qtbot.waitSignal(made.all_built, timeout=20_000):
        made.show()
    program.bridge.command_finished.emit("contribution", CommandOutcome("", dict(contribution())))
    program.bridge.command_finished.emit("time_use", CommandOutcome("", dict(full_day())))
    return made


def turn_to(window: MainWindow, name: str) -> QWidget:
    """The page, with what opens in it open and what only a change enables enabled."""
    window.show_page(name)
    page = window.page(name)
    if isinstance(page, RulesPage):
        for row in page.rows.values():
            row.more.setChecked(True)
    elif isinstance(page, SettingsPage):
        QTest.keyClicks(page.editor("max_concurrent_jobs").control, "1")
    settle()
    return page


@pytest.mark.usefixtures("theme", "language")
def test_nothing_is_cut_or_pale_or_nameless(window: MainWindow, qapp: QApplication) -> None:
    is_long = qapp.translate("MainWindow", "Rules") != "Rules"
    room = DEFAULT_SIZE.width() if is_long else SMALL[0]
    found = {name: complaints(turn_to(window, name)) for name in PAGES}
    assert {name: sentences for name, sentences in found.items() if sentences} == {}
    assert window.height() == SMALL[1]
    assert window.width() <= room  # it fits: the window has not had to grow more


@pytest.mark.parametrize("name", PAGES)
def test_the_tab_key_reaches_everything_from_top_to_bottom(window: MainWindow, name: str) -> None:
    page = turn_to(window, name)
    pages = window.findChild(QListWidget, "pages")
    assert isinstance(pages, QListWidget)
    assert look_over.backwards(page, pages) == []
    assert look_over.out_of_reach(page) == []


@pytest.mark.usefixtures("theme", "language")
def test_the_first_questions_are_as_good(qtbot: QtBot) -> None:
    bridge = FakeBridge()
    bridge.snapshot = crowded_snapshot()
    loaded = load_settings({})
    loaded.paths.ensure()
    setup = SetupWiring(loaded, cast(AgentBridge, bridge), environ={})
    qtbot.addWidget(setup.window)
    setup.window.bring_up()
    found = {}
    for step in Step:
        setup.window._show_step(step)
        found[step.name] = complaints(setup.window) + look_over.out_of_reach(setup.window)
    assert {name: sentences for name, sentences in found.items() if sentences} == {}
    assert setup.wait()


@pytest.mark.usefixtures("theme", "language")
def test_dialogs_are_as_good(qtbot: QtBot) -> None:
    owner = QWidget()
    qtbot.addWidget(owner)
    report = DiagnosticsDialog("state = ready\n" * 100)
    qtbot.addWidget(report)
    report.show()
    assert complaints(report) + look_over.out_of_reach(report) == []
    question = NoTrayQuestion().ask(owner)
    assert complaints(question) == []
    question.close()


def test_what_is_wrong_is_found(qtbot: QtBot) -> None:
    """The checks themselves: a test that can't fail is none."""
    page = QWidget()
    qtbot.addWidget(page)
    column = QVBoxLayout(page)
    cut, pale, nameless, skipped = QLabel("A long sentence"), QLabel("Pale"), QPushButton(), QPushButton("Skipped")
    cut.setFixedWidth(20)
    palette = QPalette()
    palette.setColor(QPalette.ColorRole.WindowText, QColor("#d0d0d0"))
    pale.setPalette(palette)
    skipped.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    for widget in (cut, pale, nameless, skipped, QPushButton("Reached")):
        column.addWidget(widget)
    over = QLabel("Over it", page)
    page.resize(300, 200)
    page.show()
    over.setGeometry(skipped.geometry())
    page.activateWindow()
    nameless.setFocus()
    settle()
    assert len(look_over.cut_texts(page)) == 1
    assert len(look_over.weak_contrasts(page)) == 1
    assert len(look_over.nameless(page)) == 1
    assert len(look_over.overlaps(page)) == 1
    assert ["Skipped" in sentence for sentence in look_over.out_of_reach(page)] == [True]
