"""What is shared, how much stays the owner's, and when."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QFormLayout,
    QSlider,
    QSpinBox,
)

from core.snapshot import AgentSnapshot
from titan_gui.setup_draft import SetupDraft, Shareable, reserve_of, shareable
from titan_gui.theme import tabular
from titan_gui.view_model import memory_text
from titan_gui.widgets.choices import RadioButton
from titan_gui.widgets.notes import Note, dim_note, problem_note
from titan_gui.widgets.setup_step import Origins, SetupStep

RESERVE_STEP_MB = 256
LEAST_LENT_MB = 512


class ShareStep(SetupStep):
    title = "What do you share?"
    intro = "You decide how much stays yours, whatever others ask for. You can take everything back with one click."

    def __init__(self, origins: Origins) -> None:
        super().__init__(origins)
        self._what, self._card = Note(), Note()
        self.reserve = QSlider(Qt.Orientation.Horizontal)
        self.reserve.setAccessibleName(self.tr("Memory that I keep for myself"))
        self.reserve.setPageStep(4)
        self._words = Note()
        self._words.setFont(tabular(self._words.font()))
        self.sessions = QSpinBox()
        self.sessions.setRange(1, 256)
        self.sessions.setFixedWidth(110)
        self.sessions.setAccessibleName(self.tr("Sessions at once"))
        self._shareable = Shareable(kind="ram", total_mb=None, sentence="")
        self._draft = SetupDraft()
        form = QFormLayout()
        form.addRow(self.tr("I keep for myself"), self.reserve)
        form.addRow("", self._words)
        form.addRow(self.tr("Sessions at once"), self.sessions)
        self.lines.addWidget(self._what)
        self.lines.addWidget(self._card)
        self.lines.addLayout(form)
        gentle = self.tr("A session is one question and its answer. One at a time is the gentlest start.")
        self.lines.addWidget(dim_note(gentle))
        self.lock("max_concurrent_jobs", self.sessions)
        self.lock("ram_reserve_mb", self.reserve)
        self.lines.addStretch(1)
        self.reserve.valueChanged.connect(self._on_reserve_changed)
        self.sessions.valueChanged.connect(lambda _: self.edited.emit())

    @property
    def said(self) -> str:
        return "\n".join((self._what.text(), self._card.text(), self._words.text())).strip()

    def show_draft(self, draft: SetupDraft) -> None:
        self._draft = draft
        self.sessions.blockSignals(True)
        self.sessions.setValue(draft.max_concurrent_jobs)
        self.sessions.blockSignals(False)
        self._show_reserve()

    def answered(self, draft: SetupDraft) -> SetupDraft:
        return replace(
            draft,
            memory_kind=self._draft.memory_kind,
            reserve_mb=self._draft.reserve_mb,
            max_concurrent_jobs=self.sessions.value(),
        )

    def show_snapshot(self, snapshot: AgentSnapshot) -> None:
        what = shareable(snapshot)
        self._what.say(what.sentence)
        self._card.say(what.card_hint)
        if what != self._shareable:
            self._shareable = what
            self._show_reserve()

    def _show_reserve(self) -> None:
        total_mb, reserve_mb = self._shareable.total_mb, reserve_of(self._draft, self._shareable)
        self.reserve.setVisible(total_mb is not None)
        if total_mb is None or reserve_mb is None:
            self._words.say(self.tr("The memory has not been measured yet; a tenth of it stays yours."))
            return
        self.reserve.blockSignals(True)
        top = max(1, (total_mb - LEAST_LENT_MB) // RESERVE_STEP_MB)
        self.reserve.setRange(min(4, top), top)  # 1 GB at least
        self.reserve.setValue(round(reserve_mb / RESERVE_STEP_MB))
        self.reserve.blockSignals(False)
        self._words.say(
            self.tr("{0} of {1} stay yours; up to {2} are lent.").format(
                memory_text(reserve_mb), memory_text(total_mb), memory_text(max(0, total_mb - reserve_mb))
            )
        )

    def _on_reserve_changed(self, steps: int) -> None:
        self._draft = replace(self._draft, memory_kind=self._shareable.kind, reserve_mb=steps * RESERVE_STEP_MB)
        self._show_reserve()
        self.edited.emit()


class WhenStep(SetupStep):
    title = "When do you share?"
    intro = "You can pause at any time, with one click in the window or from the icon's menu."

    def __init__(self, origins: Origins) -> None:
        super().__init__(origins)
        self._is_open = False  # nobody has answered yet: what is found out may choose
        self._is_told = False  # this machine tells when nobody uses it, as far as is known
        self.away = RadioButton(self.tr("When I'm away from the computer"))
        self.always = RadioButton(self.tr("Always, while this program runs"))
        self.by_hand = RadioButton(self.tr("Only when I say so: each start begins paused"))
        self._meaning, self._problem = dim_note(), problem_note()
        for choice in (self.away, self.always, self.by_hand):
            self.lines.addWidget(choice)
            choice.clicked.connect(self._on_choice_clicked)
            if choice is self.away:
                self.lines.addWidget(_indented(self._meaning))
                self.lines.addWidget(_indented(self._problem))
        self.lock("share", self.away, self.always, self.by_hand)
        self.lock("pause_while_in_use", self.away)
        self._can_choose_away = self.away.isEnabled()
        self.lines.addStretch(1)

    @property
    def said(self) -> str:
        return "\n".join((self._meaning.text(), self._problem.text())).strip()

    def show_draft(self, draft: SetupDraft) -> None:
        self._meaning.say(
            self.tr(
                "It begins when mouse and keyboard have rested for {0}, and makes way when you come back."
                " Running sessions are given a moment to end."
            ).format(_minutes_text(draft.idle_minutes))
        )
        self._is_open = self._is_open or not draft.share
        share = draft.share or ("away" if self._is_told and self._can_choose_away else "always")
        {"away": self.away, "by_hand": self.by_hand}.get(share, self.always).setChecked(True)

    def show_idle(self, problem: str) -> None:
        """Whether this machine tells when nobody uses it: "" when it does, else why not.

        Where it does, and the owner hasn't chosen yet, this is the choice that suits most.
        """
        self._is_told = not problem
        self._problem.say(
            self.tr("This can't be told here, so with this choice nothing would be shared: {0}").format(problem)
            if problem
            else ""
        )
        self.away.setEnabled(self._can_choose_away and (self._is_told or self.away.isChecked()))
        if self._is_open and self.away.isEnabled() and not self.away.isChecked():
            self.away.setChecked(True)
            self.edited.emit()

    def answered(self, draft: SetupDraft) -> SetupDraft:
        share = "away" if self.away.isChecked() else "by_hand" if self.by_hand.isChecked() else "always"
        return replace(draft, share=share)

    def _on_choice_clicked(self) -> None:
        self._is_open = False
        self.edited.emit()


def _minutes_text(minutes: float) -> str:
    return "1 minute" if minutes == 1 else f"{minutes:g} minutes"


def _indented(note: Note) -> Note:
    note.setContentsMargins(24, 0, 0, 0)
    return note
