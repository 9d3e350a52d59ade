"""The last step: everything on one page, and a real question to the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QHBoxLayout,
    QPushButton,
)

from core.config import DECLARATIONS
from core.engines.names import same_model
from core.errors import AgentError
from core.snapshot import AgentSnapshot
from titan_gui.remedies import error_text
from titan_gui.settings_text import is_locked
from titan_gui.setup_draft import SetupDraft, Shareable, reserve_of, shareable, suggested_sessions
from titan_gui.view_model import memory_text
from titan_gui.widgets.notes import Note, good_note, problem_note
from titan_gui.widgets.setup_step import Origins, SetupStep


class TryStep(SetupStep):
    title = "Does it work?"
    intro = "The test asks your model a real question, on this computer only. Nothing is shared yet."
    test_requested = Signal(str)

    def __init__(self, origins: Origins) -> None:
        super().__init__(origins)
        self._summary = Note()
        self._run = QPushButton(self.tr("Run the test"))
        self._good, self._bad = good_note(), problem_note()
        row = QHBoxLayout()
        self._more = QPushButton()
        self._more.hide()
        row.addWidget(self._run)
        row.addWidget(self._more)
        row.addStretch(1)
        self.lines.addWidget(self._summary)
        self.lines.addLayout(row)
        for line in (self._good, self._bad):
            self.lines.addWidget(line)
        self.lines.addStretch(1)
        self.is_running = False
        self.is_proven = False
        self._draft = SetupDraft()
        self._selftest = ""
        self._has_model = False
        self._suggested = 1
        self._shareable = Shareable(kind="ram", total_mb=None, sentence="")
        self._run.clicked.connect(self._on_run_clicked)
        self._more.clicked.connect(self._on_more_clicked)

    @property
    def said(self) -> str:
        return "\n".join((self._summary.text(), self._good.text(), self._bad.text())).strip()

    def show_draft(self, draft: SetupDraft) -> None:
        if draft.model != self._draft.model:
            self.is_proven = False
            self._good.say("")
            self._bad.say("")
            self._suggested = 1
        self._draft = draft
        self._show_summary()
        self._show_suggestion()

    def answered(self, draft: SetupDraft) -> SetupDraft:
        return replace(draft, max_concurrent_jobs=self._draft.max_concurrent_jobs)

    def show_snapshot(self, snapshot: AgentSnapshot) -> None:
        self._selftest = next((model.name for model in snapshot.models if model.is_selftest), "")
        self._shareable = shareable(snapshot)
        self._has_model = any(same_model(model.name, self._draft.model) for model in snapshot.models)
        self._show_summary()

    def show_result(self, result: Mapping[str, Any]) -> None:
        self._ended()
        self.is_proven = True
        speed, first = _number(result, "tokens_per_second"), _number(result, "time_to_first_token_ms")
        words = self.tr("It works: {0:.1f} tokens/s, the first one after {1:.1f} s.").format(speed, first / 1000)
        if not self._has_model:
            words += " " + self.tr("That was the built-in test model; a real one is slower.")
        self._good.say(words)
        self._suggested = suggested_sessions(speed) if self._has_model else 1
        self._show_suggestion()
        self.edited.emit()

    def show_error(self, error: AgentError) -> None:
        self._ended()
        self.is_proven = False
        self._bad.say(self.tr("The test failed. {0}").format(error_text(error)))
        self.edited.emit()

    def _show_suggestion(self) -> None:
        """More sessions than the person allows, where the model is fast enough and nothing else decides it."""
        name = "max_concurrent_jobs"
        is_open = not is_locked(DECLARATIONS[name], self.origins[name])
        self._more.setText(self.tr("Allow {0} sessions at once").format(self._suggested))
        self._more.setVisible(is_open and self._suggested > self._draft.max_concurrent_jobs)

    def _on_more_clicked(self) -> None:
        self._draft = replace(self._draft, max_concurrent_jobs=self._suggested)
        self._show_summary()
        self._show_suggestion()
        self._run.setFocus()  # the button that had it is gone
        self.edited.emit()

    def _ended(self) -> None:
        self.is_running = False
        self._run.setEnabled(True)
        self._run.setText(self.tr("Run the test again"))
        self._good.say("")
        self._bad.say("")

    def _show_summary(self) -> None:
        draft = self._draft
        if self._has_model:
            model = draft.model
        elif draft.model:
            model = self.tr("{0}, once it is on this computer").format(draft.model)
        else:
            model = self.tr("none; nothing is offered until you add one")
        words = {"by_hand": self.tr("only when I say so"), "away": self.tr("when I'm away")}
        when = words.get(draft.share, self.tr("always"))
        self._summary.say(
            "\n".join(
                (
                    self.tr("Coordinator: {0}").format(draft.coordinator_endpoint),
                    self.tr("This computer: {0}, port {1}").format(draft.public_host, draft.agent_port),
                    self.tr("Kept for myself: {0}").format(self._kept_text()),
                    self.tr("Sessions at once: {0}").format(draft.max_concurrent_jobs),
                    self.tr("Model: {0}").format(model),
                    self.tr("When: {0}").format(when),
                )
            )
        )

    def _kept_text(self) -> str:
        total_mb, kept_mb = self._shareable.total_mb, reserve_of(self._draft, self._shareable)
        if total_mb is None or kept_mb is None:
            return self.tr("a tenth of the memory")
        words = self.tr("{0} of {1} of graphics memory") if self._shareable.kind == "vram" else self.tr("{0} of {1}")
        return words.format(memory_text(kept_mb), memory_text(total_mb))

    def _on_run_clicked(self) -> None:
        self.is_running = True
        self._run.setEnabled(False)
        self._bad.say("")
        self._suggested = 1
        self._show_suggestion()
        self._good.say(self.tr("Asking … A large model may take a minute to load."))
        self.edited.emit()
        self.test_requested.emit(self._draft.model if self._has_model else self._selftest)


def _number(result: Mapping[str, Any], key: str) -> float:
    try:
        return float(result.get(key, 0.0))
    except (TypeError, ValueError):
        return 0.0
