"""The owner's switch: pause (for how long?), resume, finish, share now, take the memory back; and start, where nothing
runs."""

from __future__ import annotations

import time
from collections.abc import Callable

from PySide6.QtCore import Qt, Signal, SignalInstance
from PySide6.QtWidgets import QHBoxLayout, QMenu, QPushButton, QSizePolicy, QToolButton, QWidget

from core.snapshot import AgentSnapshot
from titan_gui.time_menu import add_times
from titan_gui.tray_view import PAUSES_S, SHARES_S, TrayView, tray_view_of


class PauseSwitch(QWidget):
    """One obvious button, and the strong one beside it. What can't be done now is not offered."""

    pause_requested = Signal(object)  # seconds since the epoch at which it ends; None: until resumed
    resume_requested = Signal()
    finish_requested = Signal()
    share_requested = Signal(object)  # now, whatever some rules say, until then: seconds since the epoch
    follow_rules_requested = Signal()
    take_back_requested = Signal()
    start_requested = Signal()

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._clock = clock
        self._view: TrayView | None = None
        self.pause_button = self._make_pause_button()
        self.resume_button = self._make_button(self.tr("Resume"), self.resume_requested)
        self.share_button = self._make_share_button()
        self.follow_button = self._make_button(self.tr("Follow my rules again"), self.follow_rules_requested)
        self.start_button = self._make_button(self.tr("Start"), self.start_requested)
        self.take_back_button = self._make_button("", self.take_back_requested)
        self.take_back_button.setToolTip(self.tr("Stop the running sessions, pause, and free the memory at once"))
        self.pause_button.setMinimumHeight(self.resume_button.sizeHint().height())
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for button in (
            *(self.pause_button, self.resume_button, self.share_button, self.follow_button),
            *(self.start_button, self.take_back_button),
        ):
            layout.addWidget(button)
        layout.addStretch(1)
        for button in (self.share_button, self.follow_button):  # rare, and the row is as wide as what it shows
            button.hide()

    def show_snapshot(self, snapshot: AgentSnapshot) -> None:
        view = tray_view_of(snapshot)
        if view == self._view:
            return
        self._view = view
        self.resume_button.setVisible(view.can_resume)
        self.share_button.setVisible(view.is_held_by_comfort)
        self.follow_button.setVisible(view.is_sharing)
        self.start_button.setVisible(view.can_start)
        self.pause_button.setVisible(not view.can_start)
        self.pause_button.setEnabled(view.can_pause)
        self._show_pause_button(view)
        self.finish_action.setEnabled(view.can_finish)
        self.take_back_button.setText(self.tr(view.take_back))
        self.take_back_button.setVisible(not view.can_start)
        self.take_back_button.setEnabled(view.can_take_back)

    def _make_button(self, text: str, intent: SignalInstance) -> QPushButton:
        button = QPushButton(text)
        button.clicked.connect(lambda _=False: intent.emit())
        return button

    def _make_pause_button(self) -> QToolButton:
        """Split: its face pauses at one click, its arrow has the times."""
        button = QToolButton()
        button.setText(self.tr("Pause"))
        button.setToolTip(self.tr("Pause until you resume; the arrow has other times"))
        button.setPopupMode(QToolButton.ToolButtonPopupMode.MenuButtonPopup)
        button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)  # as push buttons have it: Tab and click
        button.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
        button.setMenu(self._make_menu())
        button.clicked.connect(self._on_pause_clicked)
        return button

    def _make_share_button(self) -> QPushButton:
        menu = QMenu(self)
        add_times(menu, SHARES_S, self._clock, self.share_requested.emit)
        button = QPushButton(self.tr("Share now"))
        button.setToolTip(
            self.tr("The rules wait that are there for you alone; heat, memory and a low battery still count")
        )
        button.setMenu(menu)
        return button

    def _show_pause_button(self, view: TrayView) -> None:
        """While a pause holds, the face has nothing to add: it opens the times, as the arrow does."""
        self.pause_button.setText(self.tr("Pause for …") if view.can_resume else self.tr("Pause"))
        self.pause_button.setToolTip(
            "" if view.can_resume else self.tr("Pause until you resume; the arrow has other times")
        )

    def _on_pause_clicked(self) -> None:
        if self._view is not None and self._view.can_resume:
            self.pause_button.showMenu()
        elif self._view is not None:
            self.pause_requested.emit(None)

    def _make_menu(self) -> QMenu:
        menu = QMenu(self)
        add_times(menu, PAUSES_S, self._clock, self.pause_requested.emit)
        menu.addAction(self.tr("Until I resume")).triggered.connect(lambda: self.pause_requested.emit(None))
        menu.addSeparator()
        self.finish_action = menu.addAction(self.tr("Finish running sessions, then pause"))
        self.finish_action.triggered.connect(lambda: self.finish_requested.emit())
        return menu
