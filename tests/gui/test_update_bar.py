"""The line about a newer version."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from core.updates.release_index import Release
from titan_gui.widgets.update_bar import UpdateBar

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
    assert bar.sentence == "TitanCompute 0.2.0 can be had. Quieter fans."
    with qtbot.waitSignal(bar.page_requested) as opened:
        qtbot.mouseClick(bar.open_button, Qt.MouseButton.LeftButton)
    assert opened.args == ["https://titan.example/0.2.0"]


def test_a_version_can_be_skipped(bar: UpdateBar, qtbot: QtBot) -> None:
    bar.show_release(RELEASE)
    with qtbot.waitSignal(bar.skip_requested) as skipped:
        qtbot.mouseClick(bar.skip_button, Qt.MouseButton.LeftButton)
    assert skipped.args == ["0.2.0"]


def test_without_a_release_there_is_no_line(bar: UpdateBar) -> None:
    bar.show_release(RELEASE)
    bar.show_release(None)
    assert bar.isHidden()


def test_a_release_without_a_page_has_no_button_for_it(bar: UpdateBar) -> None:
    bar.show_release(Release(version="0.2.0"))
    assert bar.open_button.isHidden()
    assert not bar.skip_button.isHidden()
