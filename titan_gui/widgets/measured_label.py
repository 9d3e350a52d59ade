"""A label that remembers how high its text is at a width.

Layouts ask for that again and again, and Qt lays the text out anew each time: 1,238 times for 141 widths when the rules
page was first shown, 40 of its 52 ms.
"""

from __future__ import annotations

from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QLabel

_NEW_MEASURE = (QEvent.Type.FontChange, QEvent.Type.StyleChange)


class MeasuredLabel(QLabel):
    """A QLabel whose text is set by `setText` and whose margins stay as they are."""

    _heights: dict[int, int] | None = None  # by width; set before the first use: Qt asks while the label is being made

    def setText(self, text: str) -> None:
        self._heights = None
        super().setText(text)

    def heightForWidth(self, width: int) -> int:
        if self._heights is None:
            self._heights = {}
        height = self._heights.get(width)
        if height is None:
            self._heights[width] = height = super().heightForWidth(width)
        return height

    def changeEvent(self, event: QEvent) -> None:
        if event.type() in _NEW_MEASURE:
            self._heights = None
        super().changeEvent(event)
