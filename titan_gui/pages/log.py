"""The end of the agent's log: filtered, followed or held, copied; and the way to save diagnostics."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QColor, QFontDatabase, QPalette, QShowEvent, QSyntaxHighlighter, QTextCharFormat
from PySide6.QtWidgets import (
    QApplication,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from titan_gui.log_lines import LEVELS, LogLine, matching
from titan_gui.theme import colours_of
from titan_gui.turns import next_turn
from titan_gui.view_model import Mood
from titan_gui.widgets.choices import CheckBox
from titan_gui.widgets.text_labels import TextLabel, WrappedLabel

MAX_LINES = 2000
LINES_A_TURN = 250  # 5 ms
POLL_MS = 1000
FILTER_PAUSE_MS = 200  # typing settles before the whole list is filtered again


class LogPage(QWidget):
    """Asks for lines while it is shown; `show_lines` adds those that came."""

    lines_requested = Signal()
    diagnostics_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[LogLine] = deque(maxlen=MAX_LINES)
        self._held: deque[LogLine] = deque(maxlen=MAX_LINES)
        self._coming: deque[LogLine] = deque(maxlen=MAX_LINES)  # chosen, and still to be shown
        self._is_coming = False  # their next turn is due
        self._is_asking = False
        self._is_unreadable = False  # that it can't be read is said until it can
        self.level = QComboBox()
        self.words = QLineEdit()
        self.follow = CheckBox(self.tr("Follow"))
        self.copy_button = QPushButton(self.tr("Copy"))
        self.save_button = QPushButton(self.tr("Save diagnostics …"))
        self.text = QPlainTextEdit()
        self._count = TextLabel(is_quiet=True)
        self._problem = WrappedLabel()
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MS)
        self._filter_timer = QTimer(self)
        self._filter_timer.setSingleShot(True)
        self._filter_timer.setInterval(FILTER_PAUSE_MS)
        self._set_up()
        self._lay_out()

    @property
    def problem(self) -> str:
        """What is said above the log: a problem, or where something was saved."""
        return self._problem.text()

    def show_lines(self, lines: Sequence[LogLine]) -> None:
        """Lines that came since the last call, oldest first; only the last MAX_LINES are kept."""
        self._is_asking = False
        if self._is_unreadable:
            self._is_unreadable = False
            self._say("")
        if not lines:
            return
        if self.follow.isChecked():
            self._add(lines)
        else:
            self._held.extend(lines)
        self._show_count()

    def show_problem(self, sentence: str) -> None:
        """The log can't be read, or diagnostics weren't saved."""
        self._is_asking, self._is_unreadable = False, self._is_asking
        self._say(sentence)

    def show_saved(self, path: str) -> None:
        self._say(self.tr("Saved: {0}").format(path))

    # Qt overrides

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._ask()
        self._timer.start()

    def _set_up(self) -> None:
        for level, title in zip(
            LEVELS,
            (self.tr("Everything"), self.tr("Info and worse"), self.tr("Warnings and errors"), self.tr("Errors")),
            strict=True,
        ):
            self.level.addItem(title, level)
        self.level.setAccessibleName(self.tr("Least level"))
        self.words.setPlaceholderText(self.tr("Find"))
        self.words.setAccessibleName(self.tr("Words to find in the log"))
        self.words.setClearButtonEnabled(True)
        self.follow.setChecked(True)
        self.text.setReadOnly(True)
        self.text.setAccessibleName(self.tr("Log"))
        self.text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.text.setMaximumBlockCount(MAX_LINES)
        self.text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.text.setPlaceholderText(self.tr("Nothing has been logged yet."))
        self._highlighter = LevelHighlighter(self.text)
        self._problem.hide()
        self._timer.timeout.connect(self._on_timer_timeout)
        self._filter_timer.timeout.connect(self._show_all)
        self.level.currentIndexChanged.connect(self._show_all)
        self.words.textChanged.connect(self._filter_timer.start)
        self.follow.toggled.connect(self._on_follow_toggled)
        self.copy_button.clicked.connect(self._on_copy_button_clicked)
        self.save_button.clicked.connect(self.diagnostics_requested)

    def _add(self, lines: Sequence[LogLine]) -> None:
        self._lines.extend(lines)
        self._coming.extend(self._chosen(list(lines)[-MAX_LINES:]))
        if not self._is_coming:
            self._append_some()

    def _show_all(self) -> None:
        """Filter again: the newest lines are in view afterwards."""
        self.text.clear()
        self._coming = deque(self._chosen(self._lines), maxlen=MAX_LINES)
        if not self._is_coming:
            self._append_some()
        self._show_count()

    def _append_some(self) -> None:
        """All 2,000 lines in one go would hold Qt's thread up for 50 ms and more."""
        some = [self._coming.popleft() for _ in range(min(len(self._coming), LINES_A_TURN))]
        if some:
            self.text.appendPlainText("\n".join(line.text for line in some))
        self._is_coming = bool(self._coming)
        if self._is_coming:
            next_turn(self, self._append_some)

    def _chosen(self, lines: Sequence[LogLine] | deque[LogLine]) -> list[LogLine]:
        return matching(lines, str(self.level.currentData()), self.words.text())

    def _show_count(self) -> None:
        text = self.tr("held: {0} new").format(len(self._held)) if self._held else ""
        self._count.show_text(text)

    def _ask(self) -> None:
        if not self._is_asking:
            self._is_asking = True
            self.lines_requested.emit()

    def _say(self, sentence: str) -> None:
        self._problem.show_text(sentence)
        self._problem.setVisible(bool(sentence))

    def _on_timer_timeout(self) -> None:
        if self.isVisible():
            self._ask()
        else:
            self._timer.stop()

    def _on_follow_toggled(self, is_followed: bool) -> None:
        if is_followed:
            self._add(list(self._held))
            self._held.clear()
            self._show_count()

    def _on_copy_button_clicked(self) -> None:
        """What is chosen, or all that is shown."""
        chosen = self.text.textCursor().selection().toPlainText()
        QApplication.clipboard().setText(chosen or self.text.toPlainText())

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        label = QLabel(self.tr("Show"))
        label.setBuddy(self.level)
        for widget, stretch in (
            (label, 0),
            (self.level, 0),
            (self.words, 1),
            (self.follow, 0),
            (self._count, 0),
            (self.copy_button, 0),
            (self.save_button, 0),
        ):
            top.addWidget(widget, stretch)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addLayout(top)
        layout.addWidget(self._problem)
        layout.addWidget(self.text, 1)


class LevelHighlighter(QSyntaxHighlighter):
    """Warnings and errors in their colours; the level's word stands in the line too."""

    def __init__(self, editor: QPlainTextEdit) -> None:
        super().__init__(editor.document())
        self._editor = editor

    def highlightBlock(self, text: str) -> None:
        word = text[20:29].strip()  # "2026-11-25 09:19:12 warning  event": as core/log_format.py writes it
        moods = {"warning": Mood.DRAINING, "error": Mood.ATTENTION, "critical": Mood.ATTENTION}
        if word in moods:
            style = QTextCharFormat()
            palette: QPalette = self._editor.palette()
            style.setForeground(QColor(colours_of(palette).moods[moods[word]]))
            self.setFormat(20, len(word), style)
