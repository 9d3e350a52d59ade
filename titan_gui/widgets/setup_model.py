"""Which model is offered, and how to get one."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from core.engines.names import same_model
from core.errors import AgentError
from core.fit import Fit
from core.snapshot import AgentSnapshot
from titan_gui.models_view import ModelRow, can_pull, engine_text, model_rows, name_example, pull_rows
from titan_gui.pull_view import FIT_WORDS
from titan_gui.remedies import error_text
from titan_gui.setup_draft import SetupDraft
from titan_gui.widgets.add_model import AddModel
from titan_gui.widgets.model_rows import PullRowWidget
from titan_gui.widgets.notes import Note, dim_note, problem_note
from titan_gui.widgets.pull_question import PullQuestion
from titan_gui.widgets.setup_step import Origins, SetupStep

NAME_ROLE = Qt.ItemDataRole.UserRole


class ModelStep(SetupStep):
    title = "Which model do you offer?"
    intro = "People's questions are answered by a model on this computer. Only what you choose here is offered."
    look_requested = Signal(str)
    pull_requested = Signal(str)
    cancel_requested = Signal(str)

    def __init__(self, origins: Origins) -> None:
        super().__init__(origins)
        self.models = QListWidget()
        self.models.setAccessibleName(self.tr("Models of this computer"))
        self.models.setWordWrap(True)
        self.models.setSpacing(3)
        self.models.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.models.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self._engine, self._none, self._bad = dim_note(), Note(), problem_note()
        self.add = AddModel()
        self.wanted = QLineEdit()
        self.wanted.setAccessibleName(self.tr("Model to download"))
        self._download = QPushButton(self.tr("Download…"))
        self.question = PullQuestion(self)
        self.question.look_requested.connect(self.look_requested)
        self.question.pull_requested.connect(self._on_pull_requested)
        self._pull_bar = QWidget()
        bar = QHBoxLayout(self._pull_bar)
        bar.setContentsMargins(0, 0, 0, 0)
        bar.addWidget(self.wanted, 1)
        bar.addWidget(self._download)
        self._pulls: dict[str, PullRowWidget] = {}
        self._pull_lines = QVBoxLayout()
        self._rows: tuple[ModelRow, ...] = ()
        self._model = ""
        self._is_without = False  # "nothing for now" was clicked
        self._awaited = ""  # downloaded from here: chosen as soon as it is there
        for line in (self._engine, self._none, self._bad):
            self.lines.addWidget(line)
        self.lines.addWidget(self.models, 1)
        self.lines.addLayout(self._pull_lines)
        self.lines.addWidget(self._pull_bar)
        self.lines.addWidget(self.add)
        self.lines.addStretch(0)  # keeps the lines together while there is no list to fill the room
        self.lock("supported_models", self.models)
        self.models.currentItemChanged.connect(self._on_current_item_changed)
        self.wanted.returnPressed.connect(self._on_download_clicked)
        self._download.clicked.connect(self._on_download_clicked)

    def show_draft(self, draft: SetupDraft) -> None:
        self._model, self._is_without = draft.model, draft.is_without_model
        self._select()

    def answered(self, draft: SetupDraft) -> SetupDraft:
        return replace(draft, model=self._model, is_without_model=self._is_without)

    def show_snapshot(self, snapshot: AgentSnapshot) -> None:
        rows = tuple(row for row in model_rows(snapshot) if not row.is_selftest)
        self._engine.say(engine_text(snapshot))
        self.add.show_engine(snapshot.engine.name)
        self._pull_bar.setVisible(can_pull(snapshot.engine.name))
        self.wanted.setPlaceholderText(self.tr(name_example(snapshot.engine.name)))
        self._none.say(
            ""
            if rows
            else self.tr(
                "There is no model on this computer yet. You can go on: nothing is offered until you add one, "
                "here or later on the Models page."
            )
        )
        self.models.setVisible(bool(rows))
        if rows != self._rows:
            self._rows = rows
            self._fill()
        else:
            self._select()  # the step may have come into view
        self._show_pulls(snapshot)

    def showEvent(self, event: QShowEvent) -> None:
        """Before the list can have the keyboard: it would choose its first model by itself, fit or not."""
        super().showEvent(event)
        self._select()

    def show_error(self, error: AgentError) -> None:
        self._bad.say(error_text(error))

    def _fill(self) -> None:
        self.models.blockSignals(True)
        self.models.clear()
        for row in self._rows:
            item = QListWidgetItem(f"{row.name}\n{row.facts}\n{FIT_WORDS[row.verdict.fit]}. {row.verdict.sentence}")
            item.setData(NAME_ROLE, row.name)
            self.models.addItem(item)
        if self._rows:
            nothing = QListWidgetItem(self.tr("Nothing for now\nNo model is offered until you switch one on."))
            nothing.setData(NAME_ROLE, "")
            self.models.addItem(nothing)
        self.models.blockSignals(False)
        self._select()

    def _select(self) -> None:
        """The draft's model, or one that was downloaded from here; else the first that fits is put forward.

        Only to somebody who sees it: a model that comes while another step is shown would be offered unasked.
        """
        names = [row.name for row in self._rows]
        before = self._model, self._is_without
        arrived = next((name for name in names if same_model(name, self._awaited)), "")
        if arrived:
            self._awaited, self._model, self._is_without = "", arrived, False
        elif not self._model and not self._is_without and names and self.isVisible() and self.models.isEnabled():
            self._model = next((row.name for row in self._rows if row.verdict.fit is Fit.FITS), names[0])
        row = next((index for index, name in enumerate(names) if same_model(name, self._model)), -1)
        self.models.blockSignals(True)
        self.models.setCurrentRow(len(names) if names and self._is_without else row)
        self.models.blockSignals(False)
        if (self._model, self._is_without) != before:
            self.edited.emit()

    def _show_pulls(self, snapshot: AgentSnapshot) -> None:
        rows = {row.name: row for row in pull_rows(snapshot)}
        came = next((pull.here_as for pull in snapshot.pulls if same_model(pull.model, self._awaited)), "")
        if came and came != self._awaited:  # what the hub has under one name, the engine has under another
            self._awaited = came
            self._select()
        for name in list(self._pulls):
            if name not in rows:
                widget = self._pulls.pop(name)
                widget.hide()
                widget.deleteLater()
        for name, row in rows.items():
            if name in self._pulls:
                self._pulls[name].show_row(row)
            else:
                self._pulls[name] = widget = PullRowWidget(row)
                widget.cancel_clicked.connect(self.cancel_requested)
                widget.go_on_clicked.connect(self._on_pull_requested)
                self._pull_lines.addWidget(widget)

    def _on_current_item_changed(self, item: QListWidgetItem | None) -> None:
        if item is not None:
            self._model, self._awaited = str(item.data(NAME_ROLE)), ""
            self._is_without = not self._model
            self.edited.emit()

    def _on_download_clicked(self) -> None:
        name = self.wanted.text().strip()
        if name:
            self.wanted.clear()
            self._bad.say("")
            self.question.ask(name, example=self.wanted.placeholderText())

    def _on_pull_requested(self, name: str, _: str) -> None:
        self._awaited = name
        self.pull_requested.emit(name)
