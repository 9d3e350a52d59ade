"""The first questions, one after the other. Nothing is shared before the last click."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QCloseEvent, QKeySequence, QShortcut, QShowEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QStackedWidget, QVBoxLayout, QWidget

from core.config_load import Origin
from core.errors import AgentError
from core.snapshot import AgentSnapshot
from titan_gui.plain_text import plain
from titan_gui.remedies import error_text
from titan_gui.settings_text import as_sentence
from titan_gui.setup_draft import SetupDraft, Step, problem_of
from titan_gui.tray_icon import app_icon
from titan_gui.widgets.notes import dim_note, heading, problem_note
from titan_gui.widgets.page_area import PageArea
from titan_gui.widgets.setup_model import ModelStep
from titan_gui.widgets.setup_place import AddressStep, CoordinatorStep
from titan_gui.widgets.setup_share import ShareStep, WhenStep
from titan_gui.widgets.setup_step import SetupStep
from titan_gui.widgets.setup_try import TryStep

SIZE = QSize(640, 520)
FRAME = QSize(16, 48)  # about what a title bar and borders take


class SetupWindow(QWidget):
    """Holds the draft. Every look-up and the writing are others' work: signals out, `show_...` in."""

    draft_changed = Signal(object)  # SetupDraft: keep it
    step_shown = Signal(int)
    finish_requested = Signal(object)  # SetupDraft: write the settings and start
    previous_requested = Signal()  # put the settings of before the damage in their place
    closed = Signal()

    def __init__(self, draft: SetupDraft, origins: Mapping[str, Origin], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("setup")
        self.setWindowTitle(self.tr("Set up TitanCompute"))
        self.setWindowIcon(app_icon())
        self._draft = draft
        self._snapshot: AgentSnapshot | None = None
        self._is_finishing = False
        self.coordinator, self.address = CoordinatorStep(origins), AddressStep(origins)
        self.share, self.model = ShareStep(origins), ModelStep(origins)
        self.when, self.test = WhenStep(origins), TryStep(origins)
        self._steps: tuple[SetupStep, ...] = (
            self.coordinator,
            self.address,
            self.share,
            self.model,
            self.when,
            self.test,
        )
        self._notices = problem_note()  # a damaged settings file set aside, and the like
        self._previous = QPushButton(self.tr("Use the previous settings"))
        self._previous.clicked.connect(self.previous_requested)
        self._previous.hide()
        self._count, self._title = dim_note(), heading("", scale=1.4)
        self._stack = QStackedWidget()
        for step in self._steps:
            self._stack.addWidget(step)
            step.show_draft(draft)
            step.edited.connect(self._on_step_edited)
        self._area = self._scrolled(self._stack)
        self._problem = problem_note()
        self._later = QPushButton(self.tr("Finish later"))
        self._back, self._next = QPushButton(self.tr("Back")), QPushButton(self.tr("Next"))
        self._next.setDefault(True)
        for key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            QShortcut(QKeySequence(key), self).activated.connect(self._on_enter_pressed)
        self._later.clicked.connect(self.close)
        self._back.clicked.connect(self._on_back_clicked)
        self._next.clicked.connect(self._on_next_clicked)
        self._lay_out()
        self._show_step(Step(draft.step))

    @property
    def draft(self) -> SetupDraft:
        return self._draft

    @property
    def step(self) -> Step:
        return Step(self._stack.currentIndex())

    @property
    def problem_shown(self) -> str:
        return self._problem.text()

    def render(self, snapshot: AgentSnapshot) -> None:  # type: ignore[override]
        self._snapshot = snapshot
        if self.isVisible():
            self._show_snapshot(snapshot)

    def bring_up(self) -> None:
        """Show it in front."""
        self.show()
        self.raise_()
        self.activateWindow()

    def show_addresses(self, hosts: list[str]) -> None:
        self.address.show_addresses(hosts, self._draft)
        self._take_answers()

    def show_error(self, error: AgentError) -> None:
        """The settings could not be written, or the agent could not start; what was typed stays."""
        self._is_finishing = False
        self._problem.say(error_text(error))
        self._update()

    def offer_previous(self, is_offered: bool) -> None:
        """The settings file was damaged, and an older copy is there."""
        self._previous.setVisible(is_offered)

    def use_draft(self, draft: SetupDraft) -> None:
        """Other answers, from the first step on."""
        self._draft = draft
        for step in self._steps:
            step.show_draft(draft)
        self._show_step(Step.COORDINATOR)

    def go_back_to(self, step: Step) -> None:
        """The last click was one too early: this step's answer won't do."""
        self._is_finishing = False
        self._show_step(step)
        self._problem.say(self._problem_of(step))

    # Qt overrides

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.step_shown.emit(int(self.step))
        if self._snapshot is not None:
            self._show_snapshot(self._snapshot)

    def closeEvent(self, event: QCloseEvent) -> None:
        super().closeEvent(event)
        self.closed.emit()

    def _show_snapshot(self, snapshot: AgentSnapshot) -> None:
        self._notices.say("\n".join(as_sentence(plain(notice)) for notice in snapshot.notices))
        for step in self._steps:
            step.show_snapshot(snapshot)

    def _lay_out(self) -> None:
        line = QFrame()
        line.setFrameShape(QFrame.Shape.HLine)
        line.setFrameShadow(QFrame.Shadow.Sunken)
        buttons = QHBoxLayout()
        buttons.addWidget(self._later)
        buttons.addStretch(1)
        buttons.addWidget(self._back)
        buttons.addWidget(self._next)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(24, 20, 24, 16)
        layout.setSpacing(12)
        layout.addWidget(self._notices)
        layout.addWidget(self._previous, 0, Qt.AlignmentFlag.AlignLeft)
        layout.addWidget(self._count)
        layout.addWidget(self._title)
        layout.addWidget(self._area, 1)
        layout.addWidget(self._problem)
        layout.addWidget(line)
        layout.addLayout(buttons)
        self.resize(SIZE.boundedTo(self.screen().availableSize() - FRAME))  # a laptop at 200 % has 960 × 540

    def _scrolled(self, steps: QWidget) -> PageArea:
        """On a small screen or with large letters a step scrolls, rather than being squeezed until words are cut."""
        area = PageArea(self.tr("Questions"), steps)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # it follows the keyboard through what stands in it
        return area

    def _show_step(self, step: Step) -> None:
        self._steps[step].show_draft(self._draft)
        self._stack.setCurrentIndex(step)
        self._area.verticalScrollBar().setValue(0)
        self._count.say(self.tr("Step {0} of {1}").format(step + 1, len(self._steps)))
        self._title.say(self.tr(self._steps[step].title))
        self._problem.say("")
        if self._snapshot is not None and self.isVisible():
            self._steps[step].show_snapshot(self._snapshot)
        self._take_answers(int(step))
        self._update()
        if self.isVisible():
            self.step_shown.emit(int(step))

    def _take_answers(self, step_number: int | None = None) -> None:
        draft = self._draft
        current = self._steps[self._stack.currentIndex()]
        for step in (current, self.model):  # a download that ends chooses its model, whatever is shown
            draft = step.answered(draft)
        if step_number is not None:
            draft = replace(draft, step=step_number)
        if draft != self._draft:
            self._draft = draft
            self.test.show_draft(draft)
            self.draft_changed.emit(draft)

    def _update(self) -> None:
        is_last = self.step is Step.TEST
        self._back.setEnabled(self.step > 0 and not self._is_finishing)
        if not is_last:
            words = self.tr("Next")
        elif self._is_finishing:
            words = self.tr("Starting …")
        else:
            words = self.tr("Start sharing") if self.test.is_proven else self.tr("Start sharing untested")
        self._next.setText(words)
        self._next.setEnabled(not self._is_finishing and not self.test.is_running)

    def _on_step_edited(self) -> None:
        self._problem.say("")
        self._take_answers()
        self._update()

    def _on_back_clicked(self) -> None:
        self._take_answers()
        self._show_step(Step(self.step - 1))

    def _on_enter_pressed(self) -> None:
        """Enter presses the button that has the keyboard, else it goes on; but to share is a press of that button."""
        focused = self.focusWidget()
        if isinstance(focused, QPushButton):
            focused.click()
        elif self.step is not Step.TEST:
            self._next.click()

    def _on_next_clicked(self) -> None:
        self._take_answers()
        problem = self._problem_of(self.step)
        if problem:
            self._problem.say(problem)
        elif self.step is not Step.TEST:
            self._show_step(Step(self.step + 1))
        else:
            self._finish()

    def _problem_of(self, step: Step) -> str:
        """What the answers say of themselves, and what the machine said of them."""
        if step is Step.ADDRESS and self.address.port_problem:  # the step itself says what was found
            return problem_of(self._draft, step) or self.tr("Type another port, or use a free one.")
        return problem_of(self._draft, step)

    def _finish(self) -> None:
        for step in Step:  # a kept draft may hold an answer that the machine doesn't allow any more
            if self._problem_of(step):
                self.go_back_to(step)
                return
        self._is_finishing = True
        self._update()
        self.finish_requested.emit(self._draft)
