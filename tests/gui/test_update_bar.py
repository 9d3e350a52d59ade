"""The line about a newer version."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest
from PySide6.QtCore import QUrl
from PySide6.QtWidgets import QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from core.snapshot import AgentSnapshot
from core.updates.release_index import Release
from tests.fakes.fake_bridge import FakeBridge
from titan_gui.bridge import AgentBridge
from titan_gui.history import History
from titan_gui.overview_wiring import OverviewWiring
from titan_gui.pages.dashboard import DashboardPage
from titan_gui.widgets.update_bar import UpdateBar

pytestmark = pytest.mark.qt_log_ignore("propagateSizeHints")  # the offscreen display says this of every window

RELEASE = Release(version="0.2.0", date="2026-12-01", summary="Quieter fans", url="https://titan.example/0.2.0")


@pytest.fixture
def bar(qtbot: QtBot) -> Iterator[UpdateBar]:
    page = QWidget()
    qtbot.addWidget(page)
    bar = UpdateBar()
    QVBoxLayout(page).addWidget(bar)
    yield bar
    page.close()


def test_it_says_what_can_be_had_and_where(bar: UpdateBar, qtbot: QtBot) -> None:
    bar.show_release(RELEASE)
    assert not bar.isHidden()
    assert bar.sentence == "TitanCompute 0.2.0 is out. Quieter fans."
    with qtbot.waitSignal(bar.page_requested) as opened:
        bar.open_button.click()
    assert opened.args == ["https://titan.example/0.2.0"]


def test_a_version_can_be_skipped(bar: UpdateBar, qtbot: QtBot) -> None:
    bar.show_release(RELEASE)
    with qtbot.waitSignal(bar.skip_requested) as skipped:
        bar.skip_button.click()
    assert skipped.args == ["0.2.0"]


def test_without_a_release_there_is_no_line(bar: UpdateBar) -> None:
    bar.show_release(RELEASE)
    bar.show_release(None)
    assert bar.isHidden()


def test_a_release_without_a_page_has_no_button_for_it(bar: UpdateBar) -> None:
    bar.show_release(Release(version="0.2.0"))
    assert bar.open_button.isHidden()
    assert not bar.skip_button.isHidden()


def test_the_dashboard_shows_it_and_its_buttons_do_something(qtbot: QtBot) -> None:
    bridge, opened = FakeBridge(), list[str]()

    def open_url(url: QUrl) -> bool:
        opened.append(url.toString())
        return True

    dashboard = DashboardPage(History())
    qtbot.addWidget(dashboard)
    wiring = OverviewWiring(
        cast(AgentBridge, bridge),
        pause=lambda until: None,
        start_agent=lambda: None,
        open_setup=lambda: None,
        show_page=lambda name: None,
        show_setting=lambda name: None,
        open_url=open_url,
    )
    wiring.connect_dashboard(dashboard)
    dashboard.render(AgentSnapshot(update=RELEASE))
    dashboard.show()
    dashboard.update_bar.open_button.click()
    dashboard.update_bar.skip_button.click()
    assert opened == ["https://titan.example/0.2.0"]
    assert ("skip_update", {"version": "0.2.0"}) in bridge.commands
