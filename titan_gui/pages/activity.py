"""Who is served now, with a stop button each, and who was: figures only, never a word of a prompt or an answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from PySide6.QtCore import QDir, Qt, QTimer, Signal
from PySide6.QtGui import QKeySequence, QShortcut, QShowEvent
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QPushButton, QSplitter, QVBoxLayout, QWidget

from core.snapshot import AgentSnapshot
from titan_gui.activity_view import LIVE_TITLES, NUMBER_TITLES, PAST_TITLES, live_rows, past_rows
from titan_gui.plain_text import plain
from titan_gui.widgets.row_table import ButtonColumn, RowTable
from titan_gui.widgets.text_labels import TextLabel, WrappedLabel

REFRESH_MS = 1000
PAST_REFRESH_S = 30.0


class ActivityPage(QWidget):
    """`render(snapshot)` and `show_contribution(result)`."""

    stop_requested = Signal(str)  # session id
    contribution_requested = Signal()  # ask the command "contribution"
    export_requested = Signal(str, str)  # absolute path, "csv" or "json"

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._clock = clock
        self._snapshot = AgentSnapshot()
        self._processed = -1
        self._asked_at = 0.0
        self.live = RowTable((*LIVE_TITLES, ""), NUMBER_TITLES, (30, 9, 8, 8, 8, 10, 8), 0)
        self.live.setAccessibleName(self.tr("Sessions now"))
        self._buttons = ButtonColumn(self.live, self._make_stop_button)
        self.past = RowTable(PAST_TITLES, NUMBER_TITLES, (16, 30, 9, 8, 10, 28), 1)
        self.past.setAccessibleName(self.tr("Past sessions"))
        self.export_button = QPushButton(self.tr("Export…"))
        self.export_button.setToolTip(self.tr("Write every past session into a CSV or JSON file: figures, never text."))
        self.export_button.clicked.connect(self._on_export_clicked)
        self._live_title = TextLabel(bold=True)
        self._nothing = WrappedLabel(self.tr("No session now."), is_quiet=True)
        self._notice = WrappedLabel(is_quiet=True)
        self._timer = QTimer(self)
        self._timer.setInterval(REFRESH_MS)
        self._timer.timeout.connect(self._on_timer_timeout)
        delete = QShortcut(QKeySequence(QKeySequence.StandardKey.Delete), self.live)
        delete.setContext(Qt.ShortcutContext.WidgetShortcut)
        delete.activated.connect(self._on_delete_activated)
        self._lay_out()

    def render(self, snapshot: AgentSnapshot) -> None:  # type: ignore[override]  # our pages' name, not Qt's
        before, self._snapshot = self._snapshot, snapshot
        if self.isVisible() and {one.session_id for one in before.sessions} != {
            one.session_id for one in snapshot.sessions
        }:
            self._show()  # who came and went at once; figures once a second

    def show_contribution(self, result: Mapping[str, object]) -> None:
        """The result of the command "contribution"."""
        self.past.show_rows(past_rows(result))
        notice = plain(str(result.get("notice") or ""))
        self._notice.show_text(notice or self.tr("No session has ended yet."))
        self._notice.setVisible(bool(notice) or not self.past.rows.keys)

    # Qt overrides

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._asked_at = 0.0
        self._show()
        self._timer.start()

    def _show(self) -> None:
        snapshot, now = self._snapshot, self._clock()
        self.live.show_rows(live_rows(snapshot, now))
        self._live_title.show_text(self.tr("Sessions now: {0}").format(len(snapshot.sessions)))
        self._nothing.setVisible(not snapshot.sessions)
        has_ended = snapshot.totals.requests_processed != self._processed
        if now - self._asked_at >= (1.0 if has_ended else PAST_REFRESH_S):
            self._asked_at, self._processed = now, snapshot.totals.requests_processed
            self.contribution_requested.emit()

    def _on_timer_timeout(self) -> None:
        if self.isVisible():
            self._show()
        else:
            self._timer.stop()

    def _on_delete_activated(self) -> None:
        for key in self.live.selected_keys():
            self.stop_requested.emit(key)

    def _on_export_clicked(self) -> None:
        """Ask where to; nothing waits for the answer."""
        dialog = QFileDialog(self, self.tr("Export past sessions"), QDir.homePath())
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setNameFilters([self.tr("Table (*.csv)"), self.tr("JSON (*.json)")])
        dialog.selectFile("titancompute-sessions.csv")
        dialog.setDefaultSuffix("csv")
        dialog.filterSelected.connect(lambda chosen: dialog.setDefaultSuffix("json" if "json" in chosen else "csv"))
        dialog.fileSelected.connect(self._on_export_file_selected)
        dialog.open()

    def _on_export_file_selected(self, path: str) -> None:
        self.export_requested.emit(path, "json" if path.lower().endswith(".json") else "csv")

    def _make_stop_button(self, session_id: str) -> QPushButton:
        button = QPushButton(self.tr("Stop"))
        button.setAccessibleName(self.tr("Stop session {0}").format(session_id))
        button.clicked.connect(lambda _=False: self.stop_requested.emit(session_id))
        return button

    def _lay_out(self) -> None:
        now, before, head = QWidget(), QWidget(), QWidget()
        row = QHBoxLayout(head)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(TextLabel(self.tr("Past sessions"), bold=True))
        row.addStretch(1)
        row.addWidget(self.export_button)
        for part, widgets in (
            (now, (self._live_title, self.live, self._nothing)),
            (before, (head, self.past, self._notice)),
        ):
            column = QVBoxLayout(part)
            column.setContentsMargins(4, 4, 4, 4)
            for widget in widgets:
                column.addWidget(widget)
        splitter = QSplitter(Qt.Orientation.Vertical)
        splitter.setChildrenCollapsible(False)
        splitter.addWidget(now)
        splitter.addWidget(before)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(splitter)
        self.show_contribution({})
        self._nothing.setVisible(True)
