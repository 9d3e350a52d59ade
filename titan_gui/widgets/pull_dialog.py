"""The question before a download: what there is, whether it fits, and what it takes of the disk."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QColor, QKeyEvent
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from core.errors import AgentError
from core.fit import Fit
from core.pull_offer import PullChoice, PullOffer
from titan_gui.pull_view import choice_text, disk_text, is_too_big, problem_text, verdict_text
from titan_gui.remedies import error_text
from titan_gui.theme import colours_of, tabular
from titan_gui.widgets.model_rows import FIT_MOODS
from titan_gui.widgets.notes import Note, dim_note, heading, problem_note

WIDTH = 560
MOST_LINES = 8  # of the list are seen at once


class PullDialog(QDialog):
    """Asks what a name would bring, shows it, and downloads nothing but at a click."""

    look_requested = Signal(str)
    pull_requested = Signal(str, str)  # what to download, the offered name that it is for or ""

    def __init__(self, parent: QWidget, *, name: str, serve_as: str, example: str) -> None:
        """`serve_as` "": nobody waits for it. `example` shows what a name looks like."""
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("Download a model"))
        self._serve_as, self._asked = serve_as, ""
        self._offer: PullOffer | None = None
        self._title = heading(
            self.tr("Get a model for {0}").format(serve_as) if serve_as else self.tr("Download a model")
        )
        self._why = dim_note(self._why_text(name))
        self.name = QLineEdit(name)
        self.name.setAccessibleName(self.tr("Model to download"))
        self.name.setPlaceholderText(example)
        self._look = QPushButton(self.tr("Look it up"))
        self._look.setAutoDefault(False)
        self._busy = QProgressBar()
        self._busy.setRange(0, 0)
        self._busy.setTextVisible(False)
        self._busy.setAccessibleName(self.tr("Asking what it needs"))
        self.choices = QListWidget()
        self.choices.setAccessibleName(self.tr("What can be downloaded"))
        self.choices.setFont(tabular(self.choices.font()))
        self._verdict = Note("", lambda palette: QColor(colours_of(palette).moods[FIT_MOODS[self._fit()]]))
        self._disk, self._problem = dim_note(), problem_note()
        self._buttons = QDialogButtonBox()
        self._cancel = QPushButton(self.tr("Cancel"))
        self._buttons.addButton(self._cancel, QDialogButtonBox.ButtonRole.RejectRole)
        self.download = QPushButton(self.tr("Download"))
        self._buttons.addButton(self.download, QDialogButtonBox.ButtonRole.AcceptRole)
        self._lay_out()
        self._look.clicked.connect(self.look_up)
        self.name.returnPressed.connect(self._on_name_return_pressed)
        self.name.textChanged.connect(lambda _: self._show())
        self.choices.currentRowChanged.connect(lambda _: self._show())
        self._buttons.accepted.connect(self._on_accepted)
        self._buttons.rejected.connect(self.reject)
        self._show()

    def look_up(self) -> None:
        """Ask what the typed name would bring."""
        name = self.name.text().strip()
        if not name or self._asked:
            return
        self._asked, self._offer = name, None
        self.choices.clear()
        self._problem.say("")
        self._show()
        self.look_requested.emit(name)

    def show_offer(self, offer: PullOffer) -> None:
        """The answer; one to another name is nobody's."""
        if offer.asked != self._asked:
            return
        self._asked, self._offer = "", offer
        self.choices.blockSignals(True)
        self.choices.addItems([choice_text(choice) for choice in offer.choices])
        self.choices.setCurrentRow(offer.best)
        self.choices.blockSignals(False)
        self._size_list()
        self._show()
        self.choices.scrollToItem(self.choices.currentItem())
        is_wise = self.download.isDefault()  # a button that has the keyboard is the one that Return presses
        (self.choices if len(offer.choices) > 1 else self.download if is_wise else self._cancel).setFocus()

    def show_error(self, error: AgentError) -> None:
        """Why it can't be told; the name stays there to be mended."""
        if not self._asked:
            return
        self._asked = ""
        self._show()
        self._problem.say(error_text(error))
        self.name.setFocus()

    @property
    def choice(self) -> PullChoice | None:
        row = self.choices.currentRow()
        is_current = self._offer is not None and self.name.text().strip() == self._offer.asked
        return self._offer.choices[row] if self._offer is not None and is_current and row >= 0 else None

    def _why_text(self, name: str) -> str:
        if not self._serve_as:
            return ""
        if name:
            return self.tr("You offer it, and it is not here. Once it has come it is offered.")
        return self.tr(
            "You offer it, and it is not here. Type the name of the page that has it; what comes from there is then "
            "offered under that name."
        )

    def _show(self) -> None:
        choice, is_busy = self.choice, bool(self._asked)
        self._busy.setVisible(is_busy)
        self._look.setEnabled(not is_busy and bool(self.name.text().strip()))
        self._look.setVisible(choice is None)
        self.name.setEnabled(not is_busy)
        self.choices.setVisible(choice is not None and self.choices.count() > 1)
        problem = problem_text(choice) if choice else ""
        self._verdict.say(verdict_text(choice) if choice else self.tr("Asking what it needs …") if is_busy else "")
        self._verdict.refresh_colour()
        self._disk.say(disk_text(self._offer, choice) if self._offer and choice else "")
        if choice is not None or is_busy:
            self._problem.say(problem)
        self.download.setText(self.tr("Download anyway") if choice and is_too_big(choice) else self.tr("Download"))
        self.download.setEnabled(choice is not None and not problem)
        is_wise = self.download.isEnabled() and not (choice and is_too_big(choice))
        (self.download if is_wise else self._cancel).setDefault(True)  # what Return presses
        self._grow()

    def _fit(self) -> Fit:
        choice = self.choice
        return Fit(choice.fit) if choice else Fit.UNKNOWN

    def _grow(self) -> None:
        """Text that wraps makes a layout higher, which Qt doesn't tell a window."""
        layout = self.layout()
        if layout is not None:
            layout.activate()
            self.resize(self.width(), max(self.height(), layout.totalHeightForWidth(self.width())))

    def _size_list(self) -> None:
        """As high as its lines, up to a few."""
        row_height = self.choices.sizeHintForRow(0)
        lines = min(MOST_LINES, self.choices.count())
        self.choices.setFixedHeight(row_height * lines + 2 * self.choices.frameWidth() + 4)

    def _lay_out(self) -> None:
        line = QHBoxLayout()
        line.addWidget(self.name, 1)
        line.addWidget(self._look)
        layout = QVBoxLayout(self)
        layout.setSpacing(8)
        layout.addWidget(self._title)
        layout.addWidget(self._why)
        layout.addLayout(line)
        for part in (self._busy, self.choices, self._verdict, self._disk, self._problem):
            layout.addWidget(part)
        layout.addStretch(1)
        layout.addWidget(self._buttons)
        self.setMinimumWidth(WIDTH)

    def _on_name_return_pressed(self) -> None:
        """Looked up already: then it is the default button's, and Qt presses that."""
        if self.choice is None:
            self.look_up()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Return in the name asks about it; only then may it press a button."""
        is_return = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        if not (is_return and self.name.hasFocus() and self.choice is None):
            super().keyPressEvent(event)

    def _on_accepted(self) -> None:
        choice = self.choice
        if choice is not None:
            self.pull_requested.emit(choice.pull_name, self._serve_as)
            self.accept()
