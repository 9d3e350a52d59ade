"""What opens under "How fast does a model answer here?": the model, the button, how far it is, and the results."""

from __future__ import annotations

import time
from collections.abc import Callable

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from core.snapshot import AgentSnapshot
from titan_gui.measure_view import measure_view
from titan_gui.theme import tabular
from titan_gui.widgets.notes import Note, dim_note

STEPS = 1000
TICK_MS = 250  # while it runs


class MeasureBody(QWidget):
    """Asks to measure, and to stop; shows what is."""

    measure_requested = Signal(str)
    stop_requested = Signal()

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._now = now
        self._snapshot: AgentSnapshot | None = None
        self._is_asked = False  # for a start or a stop that isn't answered yet
        self.models = QComboBox()
        self.models.setAccessibleName(self.tr("Model to measure"))
        self.models.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.models.setMinimumContentsLength(20)
        self.models.currentTextChanged.connect(lambda _: self._show())
        self.measure = QPushButton(self.tr("Measure for 20 seconds"))
        self.measure.clicked.connect(self._on_measure_clicked)
        self.stop = QPushButton(self.tr("Stop"))
        self.stop.setAccessibleName(self.tr("Stop measuring"))
        self.stop.clicked.connect(self._on_stop_clicked)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName(self.tr("Measuring"))
        self._text, self._problem, self._results = Note(), dim_note(), Note()
        for note in (self._text, self._results):
            note.setFont(tabular(note.font()))
        self._timer = QTimer(self, interval=TICK_MS)
        self._timer.timeout.connect(self._show)
        line = QHBoxLayout()
        line.addWidget(self.models, 1)
        line.addWidget(self.measure)
        line.addWidget(self.stop)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(line)
        for widget in (self.bar, self._text, self._problem, self._results):
            layout.addWidget(widget)

    def show_snapshot(self, snapshot: AgentSnapshot) -> None:
        if self._snapshot is not None and (snapshot.measuring is None) is not (self._snapshot.measuring is None):
            self._is_asked = False
        self._snapshot = snapshot
        names = list(snapshot.offered_models)
        if names != [self.models.itemText(row) for row in range(self.models.count())]:
            before = self.models.currentText()
            self.models.blockSignals(True)
            self.models.clear()
            self.models.addItems(names)
            self.models.setCurrentIndex(names.index(before) if before in names else 0)
            self.models.blockSignals(False)
        self._show()

    def show_answered(self) -> None:
        """The command is over, well or not."""
        self._is_asked = False
        self._show()

    def _show(self) -> None:
        if self._snapshot is None:
            return
        view = measure_view(self._snapshot, self.models.currentText(), self._now())
        is_running = bool(view.running)
        if is_running and not self._timer.isActive():
            self._timer.start()
        elif not is_running:
            self._timer.stop()
        self.models.setEnabled(bool(view.models) and not is_running)
        self.measure.setVisible(not is_running)
        self.measure.setEnabled(not self._is_asked and not view.problem)
        self.stop.setVisible(is_running)
        self.stop.setEnabled(not self._is_asked)
        self.bar.setVisible(is_running)
        self.bar.setRange(0, 0 if view.share is None else STEPS)
        if view.share is not None:
            self.bar.setValue(round(view.share * STEPS))
        self._text.say(f"{view.running}: {view.text}" if is_running else "")
        self._problem.say(view.problem)
        self._results.say("\n".join(view.results))

    def _on_measure_clicked(self) -> None:
        self._is_asked = True
        self._show()
        self.measure_requested.emit(self.models.currentText())

    def _on_stop_clicked(self) -> None:
        self._is_asked = True
        self._show()
        self.stop_requested.emit()
