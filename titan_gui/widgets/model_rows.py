"""One model, and one download, as a row of the models page."""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from core.fit import Fit
from titan_gui.models_view import SELFTEST_NOTE, MissingRow, ModelRow, PullRow
from titan_gui.pull_view import FIT_WORDS
from titan_gui.theme import colours_of, tabular
from titan_gui.view_model import Mood
from titan_gui.widgets.choices import CheckBox
from titan_gui.widgets.notes import Note, dim_note

FIT_MOODS = {
    Fit.FITS: Mood.SERVING,
    Fit.TIGHT: Mood.DRAINING,
    Fit.PARTLY: Mood.DRAINING,
    Fit.TOO_BIG: Mood.ATTENTION,
    Fit.UNKNOWN: Mood.OFFLINE,
}
PROGRESS_STEPS = 1000


class ModelRowWidget(QWidget):
    """Shows one model; the switch and the button only ask."""

    offer_toggled = Signal(str, bool)  # the model, whether to offer it
    delete_clicked = Signal(str)

    def __init__(self, row: ModelRow, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.row = row
        self._wanted: bool | None = None  # asked for and not answered yet
        self._name = _breakable(Note(row.name))
        font = self._name.font()
        font.setBold(True)
        self._name.setFont(font)
        self._facts = _breakable(dim_note())
        self._facts.setFont(tabular(self._facts.font()))
        self._verdict = _breakable(Note("", lambda palette: QColor(colours_of(palette).moods[self._mood()])))
        self._offer = CheckBox(self.tr("Offered"))
        self._offer.setAccessibleName(self.tr("Offer {0} to the network").format(row.name))
        self._offer.clicked.connect(self._on_offer_clicked)
        self._delete = QPushButton(self.tr("Delete…"))
        self._delete.setAccessibleName(self.tr("Delete {0}").format(row.name))
        self._delete.clicked.connect(lambda: self.delete_clicked.emit(self.row.name))
        self._lay_out()
        self.show_row(row)

    @property
    def stops(self) -> tuple[QWidget, ...]:
        """What takes the keyboard, from left to right."""
        return self._delete, self._offer

    def show_row(self, row: ModelRow) -> None:
        self.row = row
        self._facts.say(row.facts)
        said = SELFTEST_NOTE if row.is_selftest else f"{FIT_WORDS[row.verdict.fit]}. {row.verdict.sentence}"
        self._verdict.say(said)
        self._verdict.refresh_colour()
        self._delete.setVisible(row.can_delete)
        if self._wanted == row.is_offered:
            self._wanted = None
        self._show_offer()

    def show_answered(self) -> None:
        """The command is over, well or not: the switch shows what is."""
        self._wanted = None
        self._show_offer()

    def _show_offer(self) -> None:
        self._offer.setChecked(self.row.is_offered if self._wanted is None else self._wanted)
        self._offer.setEnabled(self.row.can_offer and self._wanted is None)

    def _mood(self) -> Mood:
        return Mood.OFFLINE if self.row.is_selftest else FIT_MOODS[self.row.verdict.fit]

    def _lay_out(self) -> None:
        _lay_out(self, (self._name, self._facts, self._verdict), (self._delete, self._offer))

    def _on_offer_clicked(self, is_wanted: bool) -> None:
        self._wanted = is_wanted
        self._show_offer()
        self.offer_toggled.emit(self.row.name, is_wanted)


class MissingRowWidget(QWidget):
    """Shows one model that is wanted and not here; the buttons only ask."""

    get_clicked = Signal(str, str)  # what to download ("": to be asked for), the offered name
    withdraw_clicked = Signal(str)

    def __init__(self, row: MissingRow, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.row = row
        self._name = _breakable(Note(row.name))
        font = self._name.font()
        font.setBold(True)
        self._name.setFont(font)
        self._facts = _breakable(Note("", _attention))
        self._verdict = _breakable(Note("", lambda palette: QColor(colours_of(palette).moods[self._mood()])))
        self.get = QPushButton(self.tr("Get it…"))
        self.get.setAccessibleName(self.tr("Get {0}").format(row.name))
        self.get.clicked.connect(lambda: self.get_clicked.emit(self.row.pull_name, self.row.name))
        self._withdraw = QPushButton(self.tr("Don't offer"))
        self._withdraw.setAccessibleName(self.tr("Offer {0} no more").format(row.name))
        self._withdraw.clicked.connect(lambda: self.withdraw_clicked.emit(self.row.name))
        _lay_out(self, (self._name, self._facts, self._verdict), (self._withdraw, self.get))
        self.show_row(row)

    @property
    def stops(self) -> tuple[QWidget, ...]:
        """What takes the keyboard, from left to right."""
        return self._withdraw, self.get

    def show_row(self, row: MissingRow) -> None:
        self.row = row
        self._facts.say(row.facts)
        self._verdict.say(f"{FIT_WORDS[row.verdict.fit]}. {row.verdict.sentence}" if row.verdict else "")
        self._verdict.refresh_colour()
        self.get.setVisible(row.can_get)

    def _mood(self) -> Mood:
        return FIT_MOODS[self.row.verdict.fit] if self.row.verdict else Mood.OFFLINE


class PullRowWidget(QWidget):
    """Shows one download."""

    cancel_clicked = Signal(str)
    go_on_clicked = Signal(str, str)  # the download, the offered name that it is for or ""

    def __init__(self, row: PullRow, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.row = row
        self._name = _breakable(Note(row.name))
        self._bar = QProgressBar()
        self._bar.setRange(0, PROGRESS_STEPS)
        self._bar.setTextVisible(False)
        self._bar.setAccessibleName(self.tr("Download of {0}").format(row.name))
        self._text = _breakable(
            Note(
                "",
                lambda palette: QColor(
                    colours_of(palette).moods[Mood.ATTENTION if self.row.is_problem else Mood.OFFLINE]
                ),
            )
        )
        self._text.setFont(tabular(self._text.font()))
        self._cancel = QPushButton(self.tr("Cancel"))
        self._cancel.setAccessibleName(self.tr("Cancel the download of {0}").format(row.name))
        self._cancel.clicked.connect(self._on_cancel_clicked)
        self._go_on = QPushButton(self.tr("Go on"))
        self._go_on.setAccessibleName(self.tr("Go on with the download of {0}").format(row.name))
        self._go_on.clicked.connect(lambda: self.go_on_clicked.emit(self.row.name, self.row.wanted_as))
        _lay_out(self, (self._name, self._bar, self._text), (self._cancel, self._go_on))
        self.show_row(row)

    @property
    def stops(self) -> tuple[QWidget, ...]:
        """What takes the keyboard."""
        return self._cancel, self._go_on

    def show_row(self, row: PullRow) -> None:
        if row.is_running and not self.row.is_running:
            self._cancel.setEnabled(True)  # another try
        self.row = row
        self._text.say(row.text)
        self._text.refresh_colour()
        self._bar.setVisible(row.is_running)
        self._bar.setRange(0, 0 if row.share is None else PROGRESS_STEPS)  # 0 to 0: busy, how far isn't known
        if row.share is not None:
            self._bar.setValue(round(row.share * PROGRESS_STEPS))
        self._cancel.setVisible(row.is_running)
        self._go_on.setVisible(row.can_go_on)
        self._go_on.setText(self.tr("Try again") if row.is_problem else self.tr("Go on"))

    def _on_cancel_clicked(self) -> None:
        self._cancel.setEnabled(False)
        self.cancel_clicked.emit(self.row.name)


def _attention(palette: QPalette) -> QColor:
    return QColor(colours_of(palette).moods[Mood.DRAINING])


def _breakable(note: Note) -> Note:
    """A long name must not make the window wide."""
    policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    policy.setHeightForWidth(True)
    note.setSizePolicy(policy)
    return note


def _lay_out(row: QWidget, words: Iterable[QWidget], buttons: Iterable[QWidget]) -> None:
    """What is said, below each other, and what can be done, beside it."""
    lines = QVBoxLayout()
    lines.setSpacing(2)
    for line in words:
        lines.addWidget(line)
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 6, 0, 6)
    layout.addLayout(lines, 1)
    for button in buttons:
        layout.addWidget(button, 0, Qt.AlignmentFlag.AlignVCenter)
