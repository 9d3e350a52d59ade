"""Dark when the desktop says so, also in a window that is open already."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication, QLabel, QWidget
from pytestqt.qtbot import QtBot

from titan_gui.system_theme import SystemTheme
from titan_gui.theme import contrast, is_dark
from titan_gui.tiles import Tile
from titan_gui.widgets.notes import dim_note, good_note, problem_note
from titan_gui.widgets.stat_tile import StatTile
from titan_gui.widgets.text_labels import TextLabel

Scheme = Qt.ColorScheme


class FakeStyle:
    """Fusion's part in this: its palette is that of the desktop's scheme."""

    def __init__(self) -> None:
        self.scheme = Scheme.Light

    def standardPalette(self) -> QPalette:
        """Every role is fixed, as in a style's own: what copies it whole stays as it is for ever."""
        palette = QPalette(QColor("#323232" if self.scheme is Scheme.Dark else "#efefef"))
        for role in QPalette.ColorRole:
            if role is not QPalette.ColorRole.NColorRoles:
                palette.setColor(role, palette.color(role))
        return palette


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


@pytest.mark.parametrize(
    "make",
    [
        lambda: TextLabel("said second", is_quiet=True),
        lambda: dim_note("said second"),
        lambda: problem_note("wrong"),
        lambda: good_note("right"),
    ],
)
def test_words_can_be_read_after_every_change(
    make: Callable[[], QLabel], qtbot: QtBot, qapp: QApplication, style: FakeStyle
) -> None:
    theme = SystemTheme(qapp)
    label = make()
    qtbot.addWidget(label)
    label.show()

    for scheme in (Scheme.Dark, Scheme.Light, Scheme.Dark):
        turn(theme, style, scheme)
        qapp.processEvents()
        palette = label.palette()
        assert is_dark(palette) == (scheme is Scheme.Dark)
        assert contrast(palette.windowText().color(), palette.window().color()) >= 4.5


def test_a_tiles_figure_follows_too(qtbot: QtBot, qapp: QApplication, style: FakeStyle) -> None:
    theme = SystemTheme(qapp)
    tile = StatTile(Tile(name="sessions", title="Sessions", value="2 / 4"))
    window = QWidget()
    tile.setParent(window)
    qtbot.addWidget(window)
    window.show()

    for scheme in (Scheme.Dark, Scheme.Light):
        turn(theme, style, scheme)
        qapp.processEvents()
        for child in tile.findChildren(QWidget):
            assert is_dark(child.palette()) == (scheme is Scheme.Dark)
