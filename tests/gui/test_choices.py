"""On dark ground a radio button and a check box can be seen while they are not chosen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PySide6.QtGui import QColor, QImage, QPalette
from PySide6.QtWidgets import QAbstractButton, QApplication, QStyleFactory
from pytestqt.qtbot import QtBot

from titan_gui.theme import contrast
from titan_gui.widgets.choices import CheckBox, RadioButton

pytestmark = pytest.mark.qt_log_ignore("propagateSizeHints")
LEAST = 3.0  # WCAG 2.1, 1.4.11: what is needed to know a control


def dark() -> QPalette:
    palette = QPalette(QColor("#323232"))
    palette.setColor(QPalette.ColorRole.Base, QColor("#242424"))
    for role in (QPalette.ColorRole.WindowText, QPalette.ColorRole.Text, QPalette.ColorRole.ButtonText):
        palette.setColor(role, QColor("#ffffff"))
    return palette


@pytest.mark.parametrize("make", [RadioButton, CheckBox], ids=["radio", "check"])
def test_its_outline_stands_out_from_the_ground(qtbot: QtBot, make: Callable[[str], QAbstractButton]) -> None:
    button = make("")  # without a text, all that is painted is the indicator
    qtbot.addWidget(button)
    button.setStyle(QStyleFactory.create("Fusion"))
    button.setPalette(dark())
    with qtbot.waitExposed(button):
        button.show()
    QApplication.processEvents()

    image = button.grab().toImage().convertToFormat(QImage.Format.Format_RGB32)

    colours = {image.pixelColor(x, y).name() for x in range(image.width()) for y in range(image.height())}
    assert max(contrast(QColor(colour), QColor("#323232")) for colour in colours) >= LEAST
