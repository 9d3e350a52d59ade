"""One setting on the settings page: its name, its control, what may stand in it, and what is wrong with what does."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QComboBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QToolButton,
    QWidget,
)

from core.config_load import Origin
from core.config_values import Declaration, Kind, Value
from core.gpu import GpuSample
from titan_gui.settings_text import (
    choice_text,
    facts_text,
    is_locked,
    lock_text,
    problem_of,
    range_text,
    shown_text,
    title_of,
)
from titan_gui.widgets.cards_control import CardsControl
from titan_gui.widgets.choices import CheckBox
from titan_gui.widgets.notes import dim_note, problem_note

TITLE_WIDTH = 170
NUMBER_WIDTH = 130


class SettingEditor(QWidget):
    """Shows one declared setting and collects a change to it. It never writes: the page does."""

    edited = Signal()  # by the owner

    def __init__(self, declaration: Declaration, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.declaration = declaration
        self.setObjectName(f"setting-{declaration.name}")
        self._is_reset = False
        self._is_default = True
        self._is_locked = False
        self._control: Control = _control_for(declaration)
        self._saved_text = self._control.text()
        self._reset = QToolButton()
        self._reset.setText(self.tr("Reset"))
        self._reset.setToolTip(self.tr("Go back to the default"))
        self._reset.setAccessibleName(self.tr("Reset {0} to its default").format(title_of(declaration.name)))
        self._lock = dim_note()
        self._facts = dim_note()
        self._problem = problem_note()
        self._lay_out()
        self._control.edited.connect(self._on_control_edited)
        self._reset.clicked.connect(self._on_reset_clicked)

    @property
    def name(self) -> str:
        return self.declaration.name

    @property
    def control(self) -> QWidget:
        """The widget that takes the keyboard."""
        return self._control.focus_target()

    @property
    def problem(self) -> str:
        """Why what stands in the field can't be saved, "" when it can."""
        return "" if self._is_locked else problem_of(self.declaration, self._control.text())

    @property
    def problem_shown(self) -> str:
        return self._problem.text()

    @property
    def is_locked(self) -> bool:
        return self._is_locked

    @property
    def is_changed(self) -> bool:
        return not self._is_locked and (self._is_reset or self._control.text() != self._saved_text)

    @property
    def change(self) -> str | None:
        """What to write: text, or None for "back to the default"."""
        return None if self._is_reset else self._control.text()

    def show_value(self, value: Value, origin: Origin) -> None:
        """Show what is in force. Text that the owner is typing stays, unless another layer has taken the field over."""
        was_changed = self.is_changed
        self._saved_text = shown_text(self.declaration, value)
        self._is_default = origin.layer.value == "default"
        self._is_locked = is_locked(self.declaration, origin)
        self._control.focus_target().setEnabled(not self._is_locked)
        self._control.setEnabled(not self._is_locked)
        self._lock.say(lock_text(self.declaration, origin))
        self._facts.say(facts_text(self.declaration, origin))
        if not was_changed or self._is_locked:
            self.undo()
        self._update()

    def show_cards(self, cards: Sequence[GpuSample]) -> None:
        """The machine's graphics cards, where this setting is about them."""
        if isinstance(self._control, CardsControl):
            self._control.show_cards(cards)

    def undo(self) -> None:
        """Drop what was typed."""
        self._is_reset = False
        self._control.show_text(self._saved_text)
        self._problem.say("")
        self._update()

    def take_saved(self) -> None:
        """What was typed has been written."""
        self._is_reset = False
        self._saved_text = self._control.text()
        self._update()

    def show_problem(self, sentence: str) -> None:
        """A problem that only the whole of the settings shows; it goes when the field is edited."""
        self._problem.say(sentence)

    def matches(self, words: str) -> bool:
        """Whether the setting has to do with what somebody looks for."""
        declaration = self.declaration
        hay = " ".join((title_of(self.name), self.name, declaration.help, declaration.group, declaration.seed_name))
        return all(word in hay.lower() for word in words.lower().split())

    def _lay_out(self) -> None:
        declaration = self.declaration
        title = QLabel(title_of(declaration.name))
        title.setFixedWidth(TITLE_WIDTH)
        title.setWordWrap(True)
        title.setBuddy(self.control)
        self.control.setAccessibleName(title_of(declaration.name))
        self.control.setAccessibleDescription(f"{declaration.help} {range_text(declaration)}".strip())
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self._control, 0 if declaration.kind in (Kind.INT, Kind.FLOAT, Kind.CHOICE) else 1)
        if declaration.unit:
            row.addWidget(QLabel(declaration.unit))
        if declaration.kind in (Kind.INT, Kind.FLOAT, Kind.CHOICE):
            row.addStretch(1)
        row.addWidget(self._reset)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 4, 0, 10)
        grid.setVerticalSpacing(3)
        grid.addWidget(title, 0, 0, Qt.AlignmentFlag.AlignVCenter)
        grid.addLayout(row, 0, 1)
        grid.addWidget(self._problem, 1, 1)
        grid.addWidget(self._lock, 2, 1)
        grid.addWidget(dim_note(declaration.help), 3, 1)
        grid.addWidget(self._facts, 4, 1)
        grid.setColumnStretch(1, 1)

    def _update(self) -> None:
        can_reset = not self._is_locked and not self._is_reset and (not self._is_default or self.is_changed)
        self._reset.setEnabled(can_reset)

    def _on_control_edited(self) -> None:
        self._is_reset = False
        self._problem.say(self.problem)
        self._update()
        self.edited.emit()

    def _on_reset_clicked(self) -> None:
        self._control.show_text(shown_text(self.declaration, self.declaration.default))
        self._is_reset = not self._is_default
        if self._is_default:
            self._control.show_text(self._saved_text)
        self._problem.say("")
        self._update()
        self.edited.emit()


class BoolControl(CheckBox):
    """On or off."""

    edited = Signal()

    def __init__(self, declaration: Declaration) -> None:
        super().__init__()
        self._on, self._off = self.tr("On"), self.tr("Off")
        self.setText(self._off)
        self.toggled.connect(self._on_toggled)

    def text(self) -> str:
        return "true" if self.isChecked() else "false"

    def show_text(self, text: str) -> None:
        self.blockSignals(True)
        self.setChecked(text == "true")
        self.blockSignals(False)
        self._show_word()

    def focus_target(self) -> QWidget:
        return self

    def _on_toggled(self) -> None:
        self._show_word()
        self.edited.emit()

    def _show_word(self) -> None:
        self.setText(self._on if self.isChecked() else self._off)


class ChoiceControl(QComboBox):
    """One of a few."""

    edited = Signal()

    def __init__(self, declaration: Declaration) -> None:
        super().__init__()
        for choice in declaration.choices:
            self.addItem(choice_text(declaration.name, choice), choice)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.activated.connect(lambda _: self.edited.emit())

    def text(self) -> str:
        return str(self.currentData())

    def show_text(self, text: str) -> None:
        self.setCurrentIndex(max(0, self.findData(text)))

    def focus_target(self) -> QWidget:
        return self


class LineControl(QWidget):
    """Text on one line; a path has a button to look for it."""

    edited = Signal()

    def __init__(self, declaration: Declaration) -> None:
        super().__init__()
        self._declaration = declaration
        self._line = QLineEdit()
        self._line.setPlaceholderText(declaration.default_text)
        self._line.textEdited.connect(lambda _: self.edited.emit())
        if declaration.kind in (Kind.INT, Kind.FLOAT):
            self._line.setFixedWidth(NUMBER_WIDTH)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._line, 1)
        if declaration.kind is Kind.PATH:
            browse = QPushButton(self.tr("Browse…"))
            browse.setAccessibleName(self.tr("Look for {0}").format(title_of(declaration.name)))
            browse.clicked.connect(self._on_browse_clicked)
            layout.addWidget(browse)
        self.setFocusProxy(self._line)

    def text(self) -> str:
        return self._line.text()

    def show_text(self, text: str) -> None:
        self._line.setText(text)
        self._line.setCursorPosition(0)

    def focus_target(self) -> QWidget:
        return self._line

    def _on_browse_clicked(self) -> None:
        title = title_of(self._declaration.name)
        if self._declaration.name.endswith("_dir"):
            path = QFileDialog.getExistingDirectory(self, title, self.text())
        else:
            path = QFileDialog.getOpenFileName(self, title, self.text())[0]
        if path:
            self.show_text(path)
            self.edited.emit()


Control = BoolControl | ChoiceControl | LineControl | CardsControl


def _control_for(declaration: Declaration) -> Control:
    if declaration.name == "gpus":
        return CardsControl(declaration)
    match declaration.kind:
        case Kind.BOOL:
            return BoolControl(declaration)
        case Kind.CHOICE:
            return ChoiceControl(declaration)
    return LineControl(declaration)
