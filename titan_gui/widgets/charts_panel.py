"""All charts of the history, and the switch between ten minutes and a day. Draws nothing while hidden.

pyqtgraph takes a quarter of a second to import: a worker thread does that, and the charts are then built one per turn
of Qt's loop, so that the window is there at once and never stands still.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QButtonGroup, QGridLayout, QHBoxLayout, QLabel, QRadioButton, QVBoxLayout, QWidget

from core.errors import AgentError
from titan_gui.background import Background
from titan_gui.charts import ChartSpec, chart_data, specs_of
from titan_gui.history import History, Span
from titan_gui.qt_imports import make_types
from titan_gui.turns import next_turn
from titan_gui.widgets.choices import RadioButton
from titan_gui.widgets.history_chart import CHARTS_QT, HistoryChart, chart_height, import_charts

COLUMNS = 2
DAY_REFRESH_S = 20.0  # a day's chart has a point per minute


class ChartsPanel(QWidget):
    """`refresh` draws what is new; `ready` is emitted once every chart stands."""

    ready = Signal()

    def __init__(self, history: History, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._history = history
        self._clock = clock
        self._span = Span.MINUTES
        self._specs: tuple[ChartSpec, ...] = ()
        self._charts: dict[str, HistoryChart] = {}
        self._rooms: dict[str, QWidget] = {}  # kept for charts that are still to be built: nothing below them jumps
        self._drawn_at, self._drawn_version = 0.0, -1
        self._background = Background(self)
        self._is_loading = False
        self._is_loaded = False
        self._note = QLabel()
        self._note.setTextFormat(Qt.TextFormat.PlainText)
        self._note.setWordWrap(True)
        self._note.hide()
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(24)
        self._grid.setVerticalSpacing(16)
        for column in range(COLUMNS):
            self._grid.setColumnStretch(column, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(self._make_switch())
        layout.addLayout(self._grid)
        layout.addWidget(self._note)
        self._keep_rooms()

    @property
    def charts(self) -> dict[str, HistoryChart]:
        """Built charts by their spec's name."""
        return dict(self._charts)

    @property
    def span(self) -> Span:
        return self._span

    @property
    def note(self) -> str:
        """What is said below the charts."""
        return self._note.text()

    def set_span(self, span: Span) -> None:
        self._buttons[span].setChecked(True)
        if span is not self._span:
            self._span = span
            self._draw()

    def refresh(self, gpu_problem: str) -> None:
        """Draw a new sample. `gpu_problem` is said where no card can be read."""
        if not self.isVisible():
            return
        if not self._is_loading or self._is_loaded:  # else: what went wrong with the import stays
            is_told = gpu_problem and not self._history.cards
            self._say(gpu_problem if is_told else "")
        is_due = self._clock() - self._drawn_at >= DAY_REFRESH_S if self._span is Span.DAY else True
        if not self._is_loaded:
            self._load()
        elif specs_of(self._history) != self._specs:
            self._build()
        elif self._history.version != self._drawn_version and is_due:
            self._draw()

    # Qt overrides

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._is_loaded:
            self._draw()
        else:
            self._load()

    def _keep_rooms(self) -> None:
        for number, spec in enumerate(specs_of(self._history)):
            self._rooms[spec.name] = room = QWidget()
            room.setFixedHeight(chart_height(self.font()))
            self._grid.addWidget(room, number // COLUMNS, number % COLUMNS)

    def _make_switch(self) -> QHBoxLayout:
        row = QHBoxLayout()
        title = QLabel(self.tr("This machine"))
        font = title.font()
        font.setBold(True)
        title.setFont(font)
        row.addWidget(title)
        row.addStretch(1)
        group = QButtonGroup(self)
        self._buttons: dict[Span, QRadioButton] = {}
        for span, text in ((Span.MINUTES, self.tr("10 minutes")), (Span.DAY, self.tr("24 hours"))):
            button = RadioButton(text)
            button.setChecked(span is self._span)
            button.clicked.connect(lambda _=False, chosen=span: self.set_span(chosen))
            group.addButton(button)
            row.addWidget(button)
            self._buttons[span] = button
        return row

    def _load(self) -> None:
        if not self._is_loading:
            self._is_loading = True
            self._prepare(make_types(CHARTS_QT))

    def _prepare(self, steps: Iterator[None]) -> None:
        """What pyqtgraph imports of PySide6, on this thread; then the rest on the worker."""
        for _ in steps:
            next_turn(self, partial(self._prepare, steps))
            return
        self._background.run(import_charts, lambda _: self._on_charts_imported(), self._on_import_failed)

    def _on_charts_imported(self) -> None:
        self._is_loaded = True
        next_turn(self, self._build)

    def _on_import_failed(self, _: AgentError) -> None:
        for name in list(self._rooms):
            self._drop_room(name)
        self._say(self.tr("The charts cannot be shown: the log says why."))

    def _build(self) -> None:
        """Make the charts that are missing, one per turn of the loop; drop those whose card is gone."""
        self._specs = specs_of(self._history)
        names = [spec.name for spec in self._specs]
        for name in self._charts.keys() - set(names):
            self._charts.pop(name).deleteLater()
        for name in self._rooms.keys() - set(names):
            self._drop_room(name)
        missing = next((spec for spec in self._specs if spec.name not in self._charts), None)
        if missing is not None:
            self._charts[missing.name] = chart = HistoryChart(missing.title)
            chart.exposed.connect(partial(self._draw_named, missing.name))
            if missing.name in self._rooms:
                self._drop_room(missing.name)
            for number, name in enumerate(names):
                part = self._charts.get(name) or self._rooms.get(name)
                if part is not None:
                    self._grid.addWidget(part, number // COLUMNS, number % COLUMNS)
            self._draw_one(missing)
            next_turn(self, self._build)
            return
        self._draw()
        self.ready.emit()

    def _drop_room(self, name: str) -> None:
        room = self._rooms.pop(name)
        self._grid.removeWidget(room)
        room.deleteLater()

    def _draw(self) -> None:
        if not self.isVisible():
            return
        self._drawn_at, self._drawn_version = self._clock(), self._history.version
        for spec in self._specs:
            chart = self._charts.get(spec.name)
            if chart is not None and chart.visibleRegion().isEmpty():
                chart.is_stale = True  # scrolled out of sight
            else:
                self._draw_one(spec)

    def _draw_named(self, name: str) -> None:
        for spec in self._specs:
            if spec.name == name:
                self._draw_one(spec)

    def _draw_one(self, spec: ChartSpec) -> None:
        chart = self._charts.get(spec.name)
        if chart is not None:
            chart.show_data(chart_data(self._history, spec, self._span, self._clock()))

    def _say(self, text: str) -> None:
        if self._note.text() != text:
            self._note.setText(text)
            self._note.setVisible(bool(text))
