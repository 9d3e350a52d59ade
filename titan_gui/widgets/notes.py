"""Lines that come and go: hidden while they say nothing, plain text only, in a colour that follows the theme."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QWidget

from titan_gui.theme import colours_of, dimmed
from titan_gui.view_model import Mood
from titan_gui.widgets.tinted_label import Colour, TintedLabel


class Note(TintedLabel):
    """Plain text, wrapped; see TintedLabel for `colour`."""

    def __init__(self, text: str = "", colour: Colour | None = None, parent: QWidget | None = None) -> None:
        super().__init__("", colour, parent)
        self._is_silent = False
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setWordWrap(True)
        self.say(text)

    def say(self, text: str) -> None:
        """Show the text, or nothing at all."""
        if text != self.text():
            self.setText(text)
        if self._is_silent == bool(text):  # never shown without need: a label without a parent would be a window
            self._is_silent = not text
            self.setVisible(bool(text))


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
