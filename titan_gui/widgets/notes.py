"""Lines that come and go: hidden while they say nothing, plain text only, in a colour that follows the theme."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QColor, QPalette, QShowEvent
from PySide6.QtWidgets import QWidget

from titan_gui.theme import colours_of, dimmed, tint
from titan_gui.view_model import Mood
from titan_gui.widgets.measured_label import MeasuredLabel

Colour = Callable[[QPalette], QColor]

FOLLOWED = (QEvent.Type.ApplicationPaletteChange, QEvent.Type.PaletteChange, QEvent.Type.ThemeChange)


class Note(MeasuredLabel):
    """Plain text, wrapped. `colour` works it out from the application's palette; None is the text colour itself."""

    def __init__(self, text: str = "", colour: Colour | None = None, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._colour = colour
        self._is_silent = False
        self._is_stale = False  # the theme has changed since the colour was taken
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setWordWrap(True)
        self.say(text)
        self._take_colour()

    def say(self, text: str) -> None:
        """Show the text, or nothing at all."""
        if text != self.text():
            self.setText(text)
        if self._is_silent == bool(text):  # never shown without need: a label without a parent would be a window
            self._is_silent = not text
            self.setVisible(bool(text))

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in FOLLOWED:
            if (
                self.isVisible()
            ):  # few are, of the hundreds that are told of a new theme; the others when they are shown
                self._take_colour()
            else:
                self._is_stale = True

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._is_stale:
            self._take_colour()

    def refresh_colour(self) -> None:
        """What the colour depends on has changed."""
        self._take_colour()

    def _take_colour(self) -> None:
        self._is_stale = False
        if self._colour is not None:
            tint(self, self._colour(QPalette()))


def dim_note(text: str = "") -> Note:
    """For what is said second."""
    return Note(text, dimmed)


def problem_note(text: str = "") -> Note:
    """For what is wrong."""
    return Note(text, lambda palette: QColor(colours_of(palette).moods[Mood.ATTENTION]))


def good_note(text: str = "") -> Note:
    """For what has gone well."""
    return Note(text, lambda palette: QColor(colours_of(palette).moods[Mood.SERVING]))


def heading(text: str, *, scale: float = 1.15) -> Note:
    """A title above a group."""
    note = Note(text)
    font = note.font()
    if font.pointSizeF() > 0:
        font.setPointSizeF(font.pointSizeF() * scale)
    font.setBold(True)
    note.setFont(font)
    return note
