"""From a stretch of the day, or a reason's setting, to the rule behind it: through the window as it is put together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from core.config_load import load_settings
from tests.fakes.fake_bridge import FakeBridge
from titan_gui.app import Desktop
from titan_gui.history import History
from titan_gui.main_window import MainWindow
from titan_gui.pages.dashboard import DashboardPage
from titan_gui.pages.rules import RulesPage
from titan_gui.remedies import Action, Does
from titan_gui.window_pages import add_pages

pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")


class FakeDesktop:
    """What add_pages asks of the program."""

    def __init__(self) -> None:
        self.loaded = load_settings({})
        self.bridge = FakeBridge()
        self.history = History()

    def __getattr__(self, name: str) -> object:
        """Everything else that a page may ask for: nothing happens."""
        return lambda *_: None


@pytest.fixture
def window(qtbot: QtBot, tmp_path: Path) -> Iterator[MainWindow]:
    made = MainWindow(QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat))
    qtbot.addWidget(made)
    add_pages(made, cast(Desktop, FakeDesktop()))
    with qtbot.waitSignal(made.all_built, timeout=20_000):
        made.show()
    yield made
    made.close_for_good()


def rules_of(window: MainWindow) -> RulesPage:
    return cast(RulesPage, window.page("rules"))


def dashboard_of(window: MainWindow) -> DashboardPage:
    return cast(DashboardPage, window.page("dashboard"))


def test_a_stretch_of_the_day_leads_to_its_rule(window: MainWindow) -> None:
    dashboard_of(window).day.reason_requested.emit("full_screen")

    assert window.current_page == "rules"
    assert QApplication.focusWidget() is rules_of(window).rows["full_screen"].switch


def test_a_stretch_that_is_no_rule_leads_to_its_card(window: MainWindow) -> None:
    dashboard_of(window).day.reason_requested.emit("coordinator_away")

    card = rules_of(window).cards["coordinator_away"]
    assert QApplication.focusWidget() in card.buttons


def test_a_code_that_nobody_knows_leads_to_the_page(window: MainWindow) -> None:
    dashboard_of(window).day.reason_requested.emit("of another version")

    assert window.current_page == "rules"


def test_a_reasons_setting_stands_with_its_rule_and_is_open(window: MainWindow) -> None:
    dashboard_of(window).action_requested.emit(Action(Does.SETTING, "idle_minutes"))

    row = rules_of(window).rows["in_use"]
    assert window.current_page == "rules"
    assert row.more.isChecked()
    assert QApplication.focusWidget() is row.fields["idle_minutes"].focus_targets()[0]


def test_any_other_setting_stands_on_its_page(window: MainWindow) -> None:
    dashboard_of(window).action_requested.emit(Action(Does.SETTING, "coordinator_endpoint"))

    assert window.current_page == "settings"
