"""Dark when the desktop says so, also in a window that is open already."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from titan_gui.system_theme import SystemTheme
from titan_gui.theme import contrast, is_dark
from titan_gui.widgets.text_labels import TextLabel

Scheme = Qt.ColorScheme


class FakeStyle:
    """Fusion's part in this: its palette is that of the desktop's scheme."""

    def __init__(self) -> None:
        self.scheme = Scheme.Light

    def standardPalette(self) -> QPalette:
        return QPalette(QColor("#323232" if self.scheme is Scheme.Dark else "#efefef"))


@pytest.fixture
def style(qapp: QApplication, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeStyle]:
    fake = FakeStyle()
    monkeypatch.setattr(qapp, "style", lambda: fake, raising=False)
    yield fake
    qapp.setPalette(QPalette())


def turn(theme: SystemTheme, style: FakeStyle, scheme: Qt.ColorScheme) -> None:
    style.scheme = scheme
    theme.follow(scheme)


def test_palette_follows_the_scheme_to_dark_and_back(qapp: QApplication, style: FakeStyle) -> None:
    theme = SystemTheme(qapp)

    turn(theme, style, Scheme.Dark)
    assert is_dark(qapp.palette())

    turn(theme, style, Scheme.Light)
    assert not is_dark(qapp.palette())


def test_an_unknown_scheme_leaves_the_desktops_own_palette(qapp: QApplication, style: FakeStyle) -> None:
    before = qapp.palette().window().color()
    theme = SystemTheme(qapp)

    style.scheme = Scheme.Dark
    theme.follow(Scheme.Unknown)

    assert qapp.palette().window().color() == before


def test_quiet_words_can_be_read_after_the_change(qtbot: QtBot, qapp: QApplication, style: FakeStyle) -> None:
    theme = SystemTheme(qapp)
    label = TextLabel("said second", is_quiet=True)
    qtbot.addWidget(label)
    label.show()

    for scheme in (Scheme.Dark, Scheme.Light):
        turn(theme, style, scheme)
        qapp.processEvents()
        palette = label.palette()
        assert contrast(palette.windowText().color(), palette.window().color()) >= 4.5
