"""Colours that can be read, in both themes, and digits that stand still."""

from __future__ import annotations

import pytest
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QPalette
from pytestqt.qtbot import QtBot

from titan_gui.theme import DARK, LIGHT, Colours, colours_of, contrast, dimmed, is_dark, tabular
from titan_gui.view_model import Mood

GROUNDS = {
    "light": ("#ffffff", "#efefef"),
    "dark": ("#1e1e1e", "#323232"),
}  # base and window, as Qt's schemes have them


def palette(theme: str) -> QPalette:
    base, window = map(QColor, GROUNDS[theme])
    made = QPalette(window)
    made.setColor(QPalette.ColorRole.Base, base)
    made.setColor(QPalette.ColorRole.WindowText, QColor("#000000" if theme == "light" else "#ffffff"))
    return made


@pytest.mark.parametrize(("theme", "colours"), [("light", LIGHT), ("dark", DARK)])
@pytest.mark.parametrize("mood", Mood)
def test_state_colours_can_be_read_on_both_grounds(theme: str, colours: Colours, mood: Mood) -> None:
    for ground in GROUNDS[theme]:
        assert contrast(QColor(colours.moods[mood]), QColor(ground)) >= 4.5


@pytest.mark.parametrize(("theme", "colours"), [("light", LIGHT), ("dark", DARK)])
def test_lines_stand_out_from_the_charts_ground(theme: str, colours: Colours) -> None:
    for colour in (colours.ours, colours.others, colours.whole, *colours.cards):
        assert contrast(QColor(colour), QColor(GROUNDS[theme][0])) >= 3.0  # WCAG 2: graphics


@pytest.mark.parametrize("theme", GROUNDS)
def test_what_is_said_second_can_still_be_read(theme: str, qtbot: QtBot) -> None:
    made = palette(theme)

    assert contrast(dimmed(made), made.window().color()) >= 4.5
    assert contrast(dimmed(made), made.base().color()) >= 4.5


def test_the_variant_follows_the_palette_and_not_its_name(qtbot: QtBot) -> None:
    assert colours_of(palette("dark")) is DARK
    assert colours_of(palette("light")) is LIGHT
    assert is_dark(palette("dark"))


def test_digits_have_one_width(qtbot: QtBot) -> None:
    metrics = QFontMetricsF(tabular(QFont(), scale=1.3, bold=True))

    assert len({metrics.horizontalAdvance(digit * 8) for digit in "0123456789"}) == 1


def test_a_font_in_pixels_is_scaled_too(qtbot: QtBot) -> None:
    font = QFont()
    font.setPixelSize(20)

    assert tabular(font, scale=1.5).pixelSize() == 30
