"""Radio buttons and check boxes that can be seen on dark ground: Fusion's own outlines are darker than that."""

from __future__ import annotations

from PySide6.QtCore import QRectF
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QAbstractButton, QCheckBox, QRadioButton, QStyle, QStyleOptionButton

from titan_gui.theme import dimmed, is_dark

_RADIO = QStyle.SubElement.SE_RadioButtonIndicator
_CHECK = QStyle.SubElement.SE_CheckBoxIndicator


class RadioButton(QRadioButton):
    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        option = QStyleOptionButton()
        self.initStyleOption(option)
        _outline(self, option, _RADIO)


class CheckBox(QCheckBox):
    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        option = QStyleOptionButton()
        self.initStyleOption(option)
        _outline(self, option, _CHECK)


def _outline(button: QAbstractButton, option: QStyleOptionButton, part: QStyle.SubElement) -> None:
    """On dark ground and in Fusion only: other styles draw their own indicators well."""
    palette = button.palette()
    if not is_dark(palette) or button.style().objectName().lower() != "fusion":
        return
    colour = dimmed(palette)
    colour.setAlpha(255 if button.isEnabled() else 90)
    edge = QRectF(button.style().subElementRect(part, option, button)).adjusted(0.5, 0.5, -0.5, -0.5)
    painter = QPainter(button)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(colour)
    if part is _RADIO:
        painter.drawEllipse(edge)
    else:
        painter.drawRect(edge)
