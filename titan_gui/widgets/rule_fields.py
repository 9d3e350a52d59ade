"""The editors in a row of the rules page: a figure, what a rule does, the hours of the week.

Each shows what is in force, holds what the owner is changing, and answers what can't be. It writes nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from core.config_load import LoadedSettings, Origin
from core.config_values import Declaration, Value
from core.rules import MemoryThen, SessionsThen
from core.rules.schedule import ALWAYS, Grid, format_schedule, parse_schedule
from titan_gui.rule_forms import MEMORY_WORDS, SESSIONS_WORDS, effect_of, effect_text, grid_of, seconds_text
from titan_gui.settings_text import is_locked, lock_text, problem_of, range_text, shown_text, title_of
from titan_gui.widgets.notes import dim_note, problem_note
from titan_gui.widgets.schedule_grid import ScheduleGrid
from titan_gui.widgets.text_labels import ElidedLabel

NUMBER_WIDTH = 90
GAP = 6  # between a field and its unit: a row would else take the narrow one between two lines
NIGHTS = "daily 22-06"


class RuleField(QWidget):
    """What all of them share: one setting, a lock where the environment decides, and a line for what is wrong."""

    committed = Signal()  # the owner has changed it: `change` says to what

    def __init__(self, declaration: Declaration) -> None:
        super().__init__()
        self.declaration = declaration
        self._saved = ""  # or asked to be
        self._in_force = ""
        self._is_filled = False  # once settings were shown
        self._is_locked = False
        self._lock = dim_note()
        self._problem = problem_note()
        self.lines = QVBoxLayout(self)
        self.lines.setContentsMargins(0, 0, 0, 0)
        self.lines.setSpacing(2)

    @property
    def name(self) -> str:
        return self.declaration.name

    @property
    def is_locked(self) -> bool:
        return self._is_locked

    @property
    def problem_shown(self) -> str:
        return self._problem.text()

    @property
    def change(self) -> str | None:
        """The text to write; None where nothing has changed, or where it can't be written."""
        text = "" if self._is_locked or self._problem_of() else self._text()
        return text if text and text != self._saved else None

    def show_settings(self, loaded: LoadedSettings) -> None:
        """Show what is in force. What is being typed stays, unless another layer has taken the field over."""
        value, origin = getattr(loaded.settings, self.name), loaded.origins[self.name]
        was_changed = self._is_filled and self._text() != self._saved
        self._is_filled = True
        self._saved = self._in_force = shown_text(self.declaration, value)
        self._lock_by(origin)
        if not was_changed or self._is_locked:
            self._show_value(value)
            self._saved = self._in_force = self._text() or self._saved  # another text for the same is no change
            self._problem.say("")

    def take_asked(self) -> None:
        """What it says is being written: no change any more."""
        self._saved = self._text()

    def take_refused(self) -> None:
        """It could not be written: what was typed stays, as a change."""
        self._saved = self._in_force

    def show_problem(self, sentence: str) -> None:
        self._problem.say(sentence)

    def focus_targets(self) -> tuple[QWidget, ...]:
        """What takes the keyboard, in order."""
        raise NotImplementedError

    def _text(self) -> str:
        """What it says now, as the setting's text; "" where that is none."""
        raise NotImplementedError

    def _show_value(self, value: Value) -> None:
        raise NotImplementedError

    def _problem_of(self) -> str:
        return problem_of(self.declaration, self._text())

    def _add_notes(self) -> None:
        self.lines.addWidget(self._problem)
        self.lines.addWidget(self._lock)

    def _lock_by(self, origin: Origin) -> None:
        self._is_locked = is_locked(self.declaration, origin)
        for target in self.focus_targets():
            target.setEnabled(not self._is_locked)
        self._lock.say(lock_text(self.declaration, origin))

    def _commit(self) -> None:
        problem = self._problem_of()
        self._problem.say(problem)
        if not problem and self.change is not None:
            self.committed.emit()


class NumberField(RuleField):
    """A figure with its unit. Enter, or leaving the field, is its commitment."""

    def __init__(self, declaration: Declaration) -> None:
        super().__init__(declaration)
        self.line = QLineEdit()
        self.line.setFixedWidth(NUMBER_WIDTH)
        self.line.setAccessibleName(title_of(declaration.name))
        self.line.setAccessibleDescription(f"{declaration.help} {range_text(declaration)}")
        self.line.setToolTip(f"{declaration.help}\n{range_text(declaration)}")
        self.line.editingFinished.connect(self._commit)
        row = QHBoxLayout()
        row.setSpacing(GAP)
        row.addWidget(self.line)
        row.addWidget(QLabel(declaration.unit))
        if declaration.default_text[:1].isdigit():  # what 0 means
            row.addWidget(dim_note(declaration.default_text), 1)  # it wraps: it is given what is left
        else:
            row.addStretch(1)
        self.lines.addLayout(row)
        self._add_notes()

    def focus_targets(self) -> tuple[QWidget, ...]:
        return (self.line,)

    def _text(self) -> str:
        return self.line.text().strip()

    def _show_value(self, value: Value) -> None:
        self.line.setText(shown_text(self.declaration, value))


class EffectField(RuleField):
    """What a rule does to the running sessions and to the model's memory."""

    def __init__(self, declaration: Declaration, default: str) -> None:
        """`default` is shown while the rule is off."""
        super().__init__(declaration)
        self._default = default
        self._is_off = False
        self.sessions, self.memory = _Combo(), _Combo()
        for sessions, words in SESSIONS_WORDS.items():
            self.sessions.addItem(self.tr(words), sessions.value)
        for memory, words in MEMORY_WORDS.items():
            self.memory.addItem(self.tr(words), memory.value)
        self.seconds = QLineEdit()
        self.seconds.setFixedWidth(NUMBER_WIDTH)
        self._unit = QLabel(self.tr("seconds"))
        self.sessions.setAccessibleName(self.tr("What happens to running sessions"))
        self.seconds.setAccessibleName(self.tr("Seconds that they have"))
        self.memory.setAccessibleName(self.tr("What happens to the model's memory"))
        row = QHBoxLayout()
        row.setSpacing(GAP)
        for part in (self.sessions, self.seconds, self._unit):
            row.addWidget(part)
        row.addStretch(1)
        second = QHBoxLayout()
        second.addWidget(self.memory)
        second.addStretch(1)
        self.lines.addLayout(row)
        self.lines.addLayout(second)
        self._add_notes()
        self.sessions.activated.connect(self._on_activated)
        self.memory.activated.connect(self._on_activated)
        self.seconds.editingFinished.connect(self._commit)

    def focus_targets(self) -> tuple[QWidget, ...]:
        return (self.sessions, self.seconds, self.memory)

    @property
    def change(self) -> str | None:
        """Nothing while the rule is off: its switch decides that."""
        return None if self._is_off else super().change

    def _chosen(self) -> SessionsThen:
        return SessionsThen(self.sessions.currentData())

    def _text(self) -> str:
        if self._is_off:
            return "off"
        return effect_text(self._chosen(), self.seconds.text(), MemoryThen(self.memory.currentData()))[0]

    def _problem_of(self) -> str:
        return effect_text(self._chosen(), self.seconds.text(), MemoryThen(self.memory.currentData()))[1]

    def _show_value(self, value: Value) -> None:
        self._is_off = value == "off"
        effect = effect_of(self._default if self._is_off else str(value))
        self.sessions.setCurrentIndex(self.sessions.findData(effect.sessions.value))
        self.memory.setCurrentIndex(self.memory.findData(effect.memory.value))
        self.seconds.setText(seconds_text(effect))
        self._show_parts()
        for target in self.focus_targets():
            target.setEnabled(not self._is_off and not self.is_locked)

    def _show_parts(self) -> None:
        """Who is only told has no limit to set; no limit is said where the field is empty."""
        sessions = self._chosen()
        for part in (self.seconds, self._unit, self.memory):
            part.setVisible(sessions is not SessionsThen.SERVE)
        is_stop = sessions is SessionsThen.STOP
        self.seconds.setPlaceholderText(self.tr("at once") if is_stop else self.tr("no limit"))

    def _on_activated(self, _: int) -> None:
        self._show_parts()
        self._commit()


class ScheduleField(RuleField):
    """The grid of the week, with the usual weeks as buttons."""

    def __init__(self, declaration: Declaration) -> None:
        super().__init__(declaration)
        self.grid = ScheduleGrid()
        self._pointed = ElidedLabel(scale=0.9, is_quiet=True)
        self.always, self.nights, self.weekends = (
            QPushButton(self.tr("Always")),
            QPushButton(self.tr("Nights, 22 to 6")),
            QPushButton(self.tr("Nights and weekends")),
        )
        row = QHBoxLayout()
        for button, grid in (
            (self.always, ALWAYS),
            (self.nights, parse_schedule(NIGHTS)),
            (self.weekends, parse_schedule(f"{NIGHTS}, weekends all")),
        ):
            button.clicked.connect(self._putting(grid))
            row.addWidget(button)
        row.addWidget(self._pointed, 1)
        self.lines.addWidget(self.grid)
        self.lines.addLayout(row)
        self._add_notes()
        self.grid.edited.connect(lambda _: self._commit())
        self.grid.pointed.connect(self._pointed.show_text)

    def focus_targets(self) -> tuple[QWidget, ...]:
        return (self.grid, self.always, self.nights, self.weekends)

    def _text(self) -> str:
        return format_schedule(self.grid.grid)

    def _show_value(self, value: Value) -> None:
        self.grid.show_grid(grid_of(str(value)))

    def _putting(self, grid: Grid) -> Callable[[], None]:
        def put() -> None:
            self.grid.show_grid(grid)
            self._commit()

        return put


class _Combo(QComboBox):
    """The wheel scrolls the page, not the choice under the pointer."""

    def __init__(self) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()
