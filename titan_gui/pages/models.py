"""The engine's models: which fit, which are offered, and how another one comes or goes."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from core.errors import AgentError
from core.fit import FitRule, judge
from core.snapshot import AgentSnapshot
from titan_gui.models_view import (
    can_pull,
    engine_text,
    missing_rows,
    model_rows,
    name_example,
    pull_rows,
    summary_text,
)
from titan_gui.remedies import error_text
from titan_gui.turns import next_turn
from titan_gui.widgets.add_model import AddModel
from titan_gui.widgets.measure_panel import MeasurePanel
from titan_gui.widgets.model_rows import MissingRowWidget, ModelRowWidget, PullRowWidget
from titan_gui.widgets.notes import Note, dim_note, good_note, problem_note
from titan_gui.widgets.page_area import PageArea
from titan_gui.widgets.pull_question import PullQuestion
from titan_gui.widgets.what_if import WhatIfPanel

ROWS_A_TURN = 6  # 10 ms


class ModelsPage(QWidget):
    """Renders snapshots; every wish is a signal. Nothing is downloaded or deleted without the owner's click."""

    look_requested = Signal(str)
    pull_requested = Signal(str, str)  # what to download, the offered name that it is for or ""
    cancel_requested = Signal(str)
    delete_requested = Signal(str)
    offer_requested = Signal(str)
    withdraw_requested = Signal(str)

    def __init__(self, rule: FitRule = judge, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rule = rule
        self._snapshot: AgentSnapshot | None = None
        self._models: dict[str, ModelRowWidget] = {}
        self._is_more_due = False
        self._pulls: dict[str, PullRowWidget] = {}
        self._missing: dict[str, MissingRowWidget] = {}
        self.question = PullQuestion(self)
        self.question.look_requested.connect(self.look_requested)
        self.question.pull_requested.connect(self.pull_requested)
        self._engine, self._summary = Note(), dim_note()
        self.add = AddModel(self.tr("To offer it, tick “Offered”."))
        self.what_if, self.speed = WhatIfPanel(), MeasurePanel()
        self._done, self._problem = good_note(), problem_note()
        self._wanted = QLineEdit()
        self._wanted.setAccessibleName(self.tr("Model to download"))
        self._wanted.textChanged.connect(self._on_wanted_text_changed)
        self._wanted.returnPressed.connect(self._on_download_clicked)
        self._download = QPushButton(self.tr("Download…"))
        self._download.setEnabled(False)
        self._download.clicked.connect(self._on_download_clicked)
        self._lay_out()

    def row(self, name: str) -> ModelRowWidget:
        return self._models[name]

    def pull_row(self, name: str) -> PullRowWidget:
        return self._pulls[name]

    def missing_row(self, name: str) -> MissingRowWidget:
        return self._missing[name]

    def focus_missing(self, _: str = "") -> None:
        """Turn to the first model that is wanted and not here, its name filled in where it can be had under that."""
        if self._snapshot is not None:
            self._show_missing(self._snapshot)
        row = next(iter(self._missing.values()), None)
        if row is None:
            return
        if row.row.pull_name and not self._wanted.text():
            self._wanted.setText(row.row.pull_name)
        (row.get if row.row.can_get else row).setFocus()
        self._area.ensureWidgetVisible(row)

    def render(self, snapshot: AgentSnapshot) -> None:  # type: ignore[override]
        self._snapshot = snapshot
        if self.isVisible():
            self._show_snapshot(snapshot)

    def show_done(self, message: str) -> None:
        self._answered()
        self._problem.say("")
        self._done.say(message)

    def show_error(self, error: AgentError) -> None:
        self._answered()
        self._done.say("")
        self._problem.say(error_text(error))

    # Qt overrides

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._snapshot is not None:
            self._show_snapshot(self._snapshot)

    def _show_snapshot(self, snapshot: AgentSnapshot) -> None:
        rows = model_rows(snapshot, self._rule)
        self._engine.say(engine_text(snapshot))
        self._summary.say(summary_text(rows))
        self.add.show_engine(snapshot.engine.name)
        self._pull_bar.setVisible(can_pull(snapshot.engine.name))
        self._wanted.setPlaceholderText(self.tr(name_example(snapshot.engine.name)))
        if [row.name for row in rows] != list(self._models):
            self._rebuild_models([row.name for row in rows])
        made = 0
        for row in rows:
            if row.name in self._models:
                self._models[row.name].show_row(row)
                continue
            if made == ROWS_A_TURN:
                self._show_more_later()
                break
            made += 1
            self._models[row.name] = widget = ModelRowWidget(row)
            widget.offer_toggled.connect(self._on_row_offer_toggled)
            widget.delete_clicked.connect(self._on_row_delete_clicked)
            self._model_lines.addWidget(widget)
        self._show_pulls(snapshot)
        self._show_missing(snapshot)
        self._set_tab_order()
        self.what_if.show_snapshot(snapshot)
        self.speed.show_snapshot(snapshot)

    def _show_more_later(self) -> None:
        """The rows that are still to be made: a hundred at once would hold Qt's thread up for 0.15 s."""
        if not self._is_more_due:
            self._is_more_due = True
            next_turn(self, self._show_more)

    def _show_more(self) -> None:
        self._is_more_due = False
        if self._snapshot is not None and self.isVisible():
            self._show_snapshot(self._snapshot)

    def _rebuild_models(self, names: list[str]) -> None:
        """Another set or order of models: the rows that stay are kept, and all are put in order again."""
        for name in list(self._models):
            if name not in names:
                _drop(self._models.pop(name))
        known = {name: self._models[name] for name in names if name in self._models}
        if list(known) != names[: len(known)]:  # a new one comes in between: those after it are made anew
            keep = next(i for i, name in enumerate(names) if name not in known)
            for name in names[keep:]:
                if name in known:
                    _drop(known.pop(name))
        self._models = known

    def _show_pulls(self, snapshot: AgentSnapshot) -> None:
        rows = {row.name: row for row in pull_rows(snapshot)}
        for name in list(self._pulls):
            if name not in rows:
                _drop(self._pulls.pop(name))
        for name, row in rows.items():
            if name in self._pulls:
                self._pulls[name].show_row(row)
            else:
                self._pulls[name] = widget = PullRowWidget(row)
                widget.cancel_clicked.connect(self.cancel_requested)
                widget.go_on_clicked.connect(self.pull_requested)
                self._pull_lines.addWidget(widget)

    def _show_missing(self, snapshot: AgentSnapshot) -> None:
        rows = {row.name: row for row in missing_rows(snapshot)}
        for name in list(self._missing):
            if name not in rows:
                _drop(self._missing.pop(name))
        for name, row in rows.items():
            if name in self._missing:
                self._missing[name].show_row(row)
            else:
                self._missing[name] = widget = MissingRowWidget(row)
                widget.get_clicked.connect(self._on_get_clicked)
                widget.withdraw_clicked.connect(self.withdraw_requested)
                self._missing_lines.addWidget(widget)

    def _set_tab_order(self) -> None:
        """By keyboard from top to bottom too: what is made last would come last."""
        before: QWidget = self._area
        for stop in (
            *(stop for pull in self._pulls.values() for stop in pull.stops),
            *(stop for missing in self._missing.values() for stop in missing.stops),
            *(stop for model in self._models.values() for stop in model.stops),
        ):
            if before.nextInFocusChain() is not stop:
                self.setTabOrder(before, stop)
            before = stop

    def _lay_out(self) -> None:
        font = self._engine.font()
        font.setBold(True)
        self._engine.setFont(font)
        self._pull_bar = QWidget()
        bar = QHBoxLayout(self._pull_bar)
        bar.setContentsMargins(0, 0, 0, 0)
        bar.addWidget(self._wanted, 1)
        bar.addWidget(self._download)
        inner = QWidget()
        lines = QVBoxLayout(inner)
        lines.setContentsMargins(0, 0, 12, 0)
        self._pull_lines, self._missing_lines, self._model_lines = QVBoxLayout(), QVBoxLayout(), QVBoxLayout()
        lines.addLayout(self._pull_lines)
        lines.addLayout(self._missing_lines)
        lines.addLayout(self._model_lines)
        lines.addStretch(1)
        self._area = PageArea(self.tr("Models"), inner)
        layout = QVBoxLayout(self)
        layout.addWidget(self._engine)
        layout.addWidget(self._summary)
        layout.addWidget(self._area, 1)
        layout.addWidget(self.what_if)
        layout.addWidget(self.speed)
        layout.addWidget(self._problem)
        layout.addWidget(self._done)
        layout.addWidget(self._pull_bar)
        layout.addWidget(self.add)

    def _answered(self) -> None:
        for row in self._models.values():
            row.show_answered()
        self.speed.show_answered()

    def _on_wanted_text_changed(self, text: str) -> None:
        self._download.setEnabled(bool(text.strip()))

    def _on_download_clicked(self) -> None:
        name = self._wanted.text().strip()
        if name:
            self._wanted.clear()
            self.question.ask(name, example=self._wanted.placeholderText())

    def _on_get_clicked(self, pull_name: str, name: str) -> None:
        self.question.ask(pull_name, serve_as=name, example=self._wanted.placeholderText())

    def _on_row_offer_toggled(self, name: str, is_wanted: bool) -> None:
        (self.offer_requested if is_wanted else self.withdraw_requested).emit(name)

    def _on_row_delete_clicked(self, name: str) -> None:
        box = QMessageBox(self)
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        box.setIcon(QMessageBox.Icon.Question)
        box.setTextFormat(Qt.TextFormat.PlainText)
        box.setWindowTitle(self.tr("Delete a model"))
        box.setText(self.tr("Delete {0} from this computer?").format(name))
        box.setInformativeText(self.tr("It can be downloaded again."))
        delete = box.addButton(self.tr("Delete"), QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(box.addButton(self.tr("Keep it"), QMessageBox.ButtonRole.RejectRole))
        delete.clicked.connect(lambda: self.delete_requested.emit(name))
        box.open()


def _drop(widget: QWidget) -> None:
    widget.hide()
    widget.setParent(None)
    widget.deleteLater()
