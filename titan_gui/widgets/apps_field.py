"""The owner's list of programs to make way for: add a running program, a file or a folder, and remove."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from core.config_values import Declaration, Value
from titan_gui.rule_forms import added_apps
from titan_gui.widgets.notes import dim_note
from titan_gui.widgets.rule_fields import RuleField

ROWS = 5


class AppsField(RuleField):
    """A list and its buttons. `running_requested` asks for the programs that run; `show_running` brings them."""

    running_requested = Signal()

    def __init__(self, declaration: Declaration) -> None:
        super().__init__(declaration)
        self.list = QListWidget()
        self.list.setAccessibleName(self.tr("Programs to make way for"))
        self.list.setSelectionMode(QListWidget.SelectionMode.ExtendedSelection)
        self.list.setFixedHeight(self.list.fontMetrics().lineSpacing() * ROWS + 16)
        self.list.itemSelectionChanged.connect(self._update)
        self.add = QPushButton(self.tr("Add…"))
        self.menu = QMenu(self)
        self.menu.addAction(self.tr("A program that runs now…"), self._on_running_chosen)
        self.menu.addAction(self.tr("A program's file…"), self._on_file_chosen)
        self.menu.addAction(self.tr("A folder of programs…"), self._on_folder_chosen)
        self.add.setMenu(self.menu)
        self.remove = QPushButton(self.tr("Remove"))
        self.remove.clicked.connect(self._on_remove_clicked)
        QShortcut(
            QKeySequence(Qt.Key.Key_Delete), self.list, context=Qt.ShortcutContext.WidgetShortcut
        ).activated.connect(self._on_remove_clicked)
        self.picker: ProgramPicker | None = None  # while it is open
        buttons = QVBoxLayout()
        buttons.addWidget(self.add)
        buttons.addWidget(self.remove)
        buttons.addStretch(1)
        row = QHBoxLayout()
        row.addWidget(self.list, 1)
        row.addLayout(buttons)
        self.lines.addLayout(row)
        self._add_notes()
        self._update()

    @property
    def apps(self) -> tuple[str, ...]:
        return tuple(self.list.item(row).text() for row in range(self.list.count()))

    @property
    def change(self) -> str | None:
        """An empty list is a change too."""
        text = self._text()
        return None if self.is_locked or text == self._saved else text

    def focus_targets(self) -> tuple[QWidget, ...]:
        return (self.list, self.add, self.remove)

    def add_apps(self, names: Sequence[str]) -> None:
        """Put them on the list and say so; what can't stand there is answered."""
        apps, problem = self.apps, ""
        for name in names:
            apps, wrong = added_apps(apps, name)
            problem = problem or wrong
        if apps != self.apps:
            self._show_apps(apps)
            self.committed.emit()
        self.show_problem(problem)

    def show_running(self, names: Sequence[str]) -> None:
        if self.picker is not None:
            self.picker.show_names([name for name in names if name not in self.apps])

    def _text(self) -> str:
        return ",".join(self.apps)

    def _problem_of(self) -> str:
        return ""

    def _show_value(self, value: Value) -> None:
        self._show_apps(value if isinstance(value, tuple) else ())

    def _show_apps(self, apps: tuple[str, ...]) -> None:
        if apps != self.apps:
            self.list.clear()
            self.list.addItems(list(apps))
        self._update()

    def _update(self) -> None:
        self.remove.setEnabled(not self.is_locked and bool(self.list.selectedItems()))

    def _on_remove_clicked(self) -> None:
        gone = {item.text() for item in self.list.selectedItems()}
        if gone and not self.is_locked:
            self._show_apps(tuple(app for app in self.apps if app not in gone))
            self.committed.emit()

    def _on_running_chosen(self) -> None:
        self.picker = picker = ProgramPicker(self)
        picker.chosen.connect(self.add_apps)
        picker.finished.connect(self._on_picker_finished)
        picker.open()
        self.running_requested.emit()

    def _on_picker_finished(self) -> None:
        if self.picker is not None:
            self.picker.deleteLater()
            self.picker = None

    def _on_file_chosen(self) -> None:
        path = QFileDialog.getOpenFileName(self, self.tr("A program to make way for"))[0]
        self.add_apps([path])

    def _on_folder_chosen(self) -> None:
        self.add_apps([QFileDialog.getExistingDirectory(self, self.tr("A folder of programs, such as a game library"))])


class ProgramPicker(QDialog):
    """Programs that run now, with a field to find one."""

    chosen = Signal(object)  # list of names

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("Programs that run now"))
        self.search = QLineEdit()
        self.search.setPlaceholderText(self.tr("Find a program"))
        self.search.setAccessibleName(self.tr("Find a program"))
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(self._on_find_text_changed)
        self.list = QListWidget()
        self.list.setAccessibleName(self.windowTitle())
        self.list.setSelectionMode(QListWidget.SelectionMode.ExtendedSelection)
        self.list.itemSelectionChanged.connect(self._update)
        self.list.itemDoubleClicked.connect(lambda _: self.accept())
        self._note = dim_note(self.tr("Looking…"))
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.add = self.buttons.addButton(self.tr("Add"), QDialogButtonBox.ButtonRole.AcceptRole)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(self.search)
        layout.addWidget(self.list, 1)
        layout.addWidget(self._note)
        layout.addWidget(self.buttons)
        self.resize(420, 420)
        self._update()

    def show_names(self, names: Sequence[str]) -> None:
        self.list.clear()
        self.list.addItems(list(names))
        self._note.say("" if names else self.tr("No other program is seen."))
        self._on_find_text_changed(self.search.text())

    def accept(self) -> None:
        names = [item.text() for item in self.list.selectedItems() if not item.isHidden()]
        if names:
            self.chosen.emit(names)
            super().accept()

    def _update(self) -> None:
        self.add.setEnabled(bool(self.list.selectedItems()))

    def _on_find_text_changed(self, text: str) -> None:
        words = text.strip().lower()
        for row in range(self.list.count()):
            item = self.list.item(row)
            item.setHidden(words not in item.text().lower())
            if item.isHidden():
                item.setSelected(False)
