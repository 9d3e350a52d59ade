"""A secret on the settings page: set, replaced or removed, never shown."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QLineEdit, QPushButton, QWidget

from core.config import SECRET_ENVIRONMENT
from titan_gui.settings_text import title_of
from titan_gui.widgets.notes import dim_note, problem_note
from titan_gui.widgets.setting_editor import TITLE_WIDTH


class SecretEditor(QWidget):
    """Knows where the secret comes from, and never what it is."""

    set_requested = Signal(str, str)  # name, the new value
    removal_requested = Signal(str)  # name

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.name = name
        self.setObjectName(f"secret-{name}")
        self._line = QLineEdit()
        self._line.setEchoMode(QLineEdit.EchoMode.Password)
        self._line.setAccessibleName(title_of(name))
        self._line.textChanged.connect(lambda _: self._update())
        self._line.returnPressed.connect(self._on_keep_clicked)
        self._keep = QPushButton(self.tr("Keep"))
        self._keep.setAccessibleName(self.tr("Keep the new {0}").format(title_of(name)))
        self._keep.clicked.connect(self._on_keep_clicked)
        self._remove = QPushButton(self.tr("Remove"))
        self._remove.setAccessibleName(self.tr("Remove {0}").format(title_of(name)))
        self._remove.clicked.connect(lambda: self.removal_requested.emit(self.name))
        self._state = dim_note()
        self._problem = problem_note()
        self._source = ""
        self._lay_out()
        self.show_source("")

    @property
    def problem_shown(self) -> str:
        return self._problem.text()

    @property
    def state_shown(self) -> str:
        return self._state.text()

    def show_source(self, source: str) -> None:
        """Where the secret comes from, "" when it isn't set. What was typed is forgotten."""
        self._source = source
        self._line.clear()
        self._problem.say("")
        is_from_environment = source.startswith("environment ")
        self._line.setEnabled(not is_from_environment)
        self._line.setPlaceholderText(self.tr("Set; type to replace it") if source else self.tr("Not set"))
        if is_from_environment:
            self._state.say(self.tr("Set by {0}; change it there.").format(source))
        elif source:
            self._state.say(self.tr("Kept in: {0}. It is never shown.").format(source))
        else:
            self._state.say(self.tr("Not set. It is kept in the system's keyring where there is one."))
        self._update()

    def show_problem(self, sentence: str) -> None:
        self._problem.say(sentence)
        self._update()

    def _lay_out(self) -> None:
        title = QLabel(title_of(self.name))
        title.setFixedWidth(TITLE_WIDTH)
        title.setWordWrap(True)
        title.setBuddy(self._line)
        row = QHBoxLayout()
        row.addWidget(self._line, 1)
        row.addWidget(self._keep)
        row.addWidget(self._remove)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 4, 0, 10)
        grid.setVerticalSpacing(3)
        grid.addWidget(title, 0, 0, Qt.AlignmentFlag.AlignVCenter)
        grid.addLayout(row, 0, 1)
        grid.addWidget(self._problem, 1, 1)
        grid.addWidget(self._state, 2, 1)
        variable = SECRET_ENVIRONMENT[self.name]
        grid.addWidget(dim_note(self.tr("Without a window: the environment variable {0}.").format(variable)), 3, 1)
        grid.setColumnStretch(1, 1)

    def _update(self) -> None:
        self._keep.setEnabled(bool(self._line.text().strip()))
        self._remove.setEnabled(bool(self._source) and not self._source.startswith("environment "))

    def _on_keep_clicked(self) -> None:
        if self._line.text().strip():
            self._keep.setEnabled(False)
            self.set_requested.emit(self.name, self._line.text())
