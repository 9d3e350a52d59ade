"""Start at login: a switch that the system keeps, not our settings file. It shows what the system says."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QVBoxLayout, QWidget

from titan_gui.widgets.choices import CheckBox
from titan_gui.widgets.notes import dim_note, problem_note

SEARCHED_AS = "start at login autostart automatically boot log in sign in the window"


class LoginSwitch(QWidget):
    """Asks for the real state whenever it is shown: the desktop's own settings may have flipped it meanwhile."""

    state_requested = Signal()
    change_requested = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self.box = CheckBox(self.tr("Start at login"))
        self.box.setEnabled(False)  # until the state is known
        self.box.clicked.connect(self._on_box_clicked)
        self._problem = problem_note()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 4)
        layout.addWidget(self.box)
        help_text = self.tr("Starts hidden, in the tray, when you log in. Counts at once; kept by the system.")
        layout.addWidget(dim_note(help_text))
        layout.addWidget(self._problem)
        self.box.setAccessibleDescription(help_text)

    def show_state(self, is_on: bool) -> None:
        self.box.setChecked(is_on)
        self.box.setEnabled(True)
        self._problem.say("")

    def show_problem(self, sentence: str, *, is_on: bool | None) -> None:
        """What went wrong, and the state that holds; None where it can't be known, so nothing can be changed."""
        self.box.setChecked(bool(is_on))
        self.box.setEnabled(is_on is not None)
        self._problem.say(sentence)

    def matches(self, words: str) -> bool:
        """Whether it has to do with what somebody looks for."""
        return all(word in SEARCHED_AS for word in words.lower().split())

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.state_requested.emit()

    def _on_box_clicked(self, is_wanted: bool) -> None:
        self.box.setEnabled(False)  # until the answer is there
        self.change_requested.emit(is_wanted)
