"""A label whose colour is worked out from the theme, and again on a new one; where nobody sees it, when it is shown."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEvent
from PySide6.QtGui import QColor, QPalette, QShowEvent
from PySide6.QtWidgets import QWidget

from titan_gui.theme import tint
from titan_gui.widgets.measured_label import MeasuredLabel

Colour = Callable[[QPalette], QColor]

FOLLOWED = (QEvent.Type.ApplicationPaletteChange, QEvent.Type.PaletteChange, QEvent.Type.ThemeChange)


class TintedLabel(MeasuredLabel):
    """`colour` works it out from the application's palette, not from the label's own, which has been tinted already.

    None leaves the text's own colour.
    """

    def __init__(self, text: str = "", colour: Colour | None = None, parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self._colour = colour
        self._is_stale = False  # the theme has changed since the colour was taken
        self.refresh_colour()

    def refresh_colour(self) -> None:
        """What the colour depends on has changed."""
        self._is_stale = False
        if self._colour is not None:
            tint(self, self._colour(QPalette()))

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() not in FOLLOWED:
            return
        if self.isVisible():  # few are, of the hundreds that are told of a new theme
            self.refresh_colour()
        else:
            self._is_stale = True

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._is_stale:
            self.refresh_colour()
