"""The tray's icon and menu: a view of the snapshot that says what was asked for, and follows the panel as it comes and
goes."""

from __future__ import annotations

import time
from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu, QSystemTrayIcon

from core.snapshot import AgentSnapshot
from core.state import AgentState
from titan_gui.notifications import Message
from titan_gui.time_menu import add_times
from titan_gui.tray_host import TrayHost
from titan_gui.tray_icon import mood_icon
from titan_gui.tray_view import PAUSES_S, SHARES_S, TrayView, tray_view_of

TOOLTIP_INTERVAL_MS = 1000  # token counts change 4 times a second, and each new tooltip is a message on the bus


class Tray(QObject):
    """One tray icon, made anew whenever a panel appears: an icon that was there before its panel never shows up.

    `is_shown` is what the system says, not what Qt's icon object believes (that one is always "visible").
    """

    pause_requested = Signal(object)  # seconds since the epoch at which it ends; None: until resumed
    resume_requested = Signal()
    finish_requested = Signal()
    share_requested = Signal(object)  # now, whatever some rules say, until then: seconds since the epoch
    follow_rules_requested = Signal()
    take_back_requested = Signal()
    start_requested = Signal()
    window_requested = Signal()
    settings_requested = Signal()
    quit_requested = Signal()
    message_clicked = Signal()
    appeared = Signal()
    vanished = Signal()

    def __init__(
        self,
        host: TrayHost,
        *,
        make_icon: Callable[[], QSystemTrayIcon] = QSystemTrayIcon,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._make_icon = make_icon
        self._clock = clock
        self._icon: QSystemTrayIcon | None = None
        self.view = tray_view_of(AgentSnapshot(state=AgentState.STARTING))
        self._shown_tooltip = ""
        self._tooltip_timer = QTimer(self, singleShot=True, interval=TOOLTIP_INTERVAL_MS)
        self._tooltip_timer.timeout.connect(self._show_tooltip)
        self.menu = self._make_menu()
        self._fill_menu(None)
        self._host = host
        host.setParent(self)
        host.appeared.connect(self._on_host_appeared)
        host.vanished.connect(self._on_host_vanished)

    @property
    def is_shown(self) -> bool:
        """Whether a panel shows the icon, so that a hidden window can be found again."""
        return self._icon is not None

    def start(self) -> None:
        """Show the icon if there is a panel, and watch for panels that come and go."""
        self._host.start()

    def render(self, snapshot: AgentSnapshot, *, is_quitting: bool = False) -> None:
        """Follow the snapshot. Costs nothing where it changes nothing that the tray shows."""
        view = tray_view_of(snapshot, is_quitting=is_quitting)
        if view == self.view:
            return
        before, self.view = self.view, view
        if self._icon is not None and view.mood is not before.mood:
            self._icon.setIcon(mood_icon(view.mood))
            self._show_tooltip()
        elif not self._tooltip_timer.isActive():
            self._tooltip_timer.start()
        self._fill_menu(before)

    def show_message(self, message: Message) -> None:
        """A balloon of Qt's own, where there is an icon; the window says the same things, so nothing is lost without.

        Not on a panel with a StatusNotifierItem: Qt sends that kind of message to the same notification server that
        has not taken it, and keeps the icon and the tooltip of this moment for ten seconds.
        """
        if self._icon is not None and not self._host.has_items:
            self._icon.showMessage(message.title, message.text, mood_icon(self.view.mood))

    def remove(self) -> None:
        """Take the icon away before the program ends; some panels keep a dead one until the mouse comes by."""
        self._tooltip_timer.stop()
        if self._icon is not None:
            self._icon.hide()
            self._icon = None

    def _make_menu(self) -> QMenu:
        menu = QMenu()
        self._status = menu.addAction(self.view.status)
        self._status.setEnabled(False)
        menu.addSeparator()
        self._start = menu.addAction(self.tr("Start again"), self.start_requested.emit)
        self._pause_menu = menu.addMenu(self.tr("Pause"))
        add_times(self._pause_menu, PAUSES_S, self._clock, self.pause_requested.emit)
        self._pause_menu.addAction(self.tr("Until I resume"), lambda: self.pause_requested.emit(None))
        self._resume = menu.addAction(self.tr("Resume"), self.resume_requested.emit)
        self._finish = menu.addAction(self.tr("Finish, then pause"), self.finish_requested.emit)
        self._share_menu = menu.addMenu(self.tr("Share now although I am here"))
        add_times(self._share_menu, SHARES_S, self._clock, self.share_requested.emit)
        self._follow = menu.addAction(self.tr("Follow my rules again"), self.follow_rules_requested.emit)
        self._take_back = menu.addAction(self.tr(self.view.take_back), self.take_back_requested.emit)
        menu.addSeparator()
        self._open: QAction = menu.addAction(self.tr("Open"), self.window_requested.emit)
        menu.addAction(self.tr("Settings"), self.settings_requested.emit)
        menu.addSeparator()
        self._quit = menu.addAction(self.tr("Quit"), self.quit_requested.emit)
        menu.setDefaultAction(self._open)
        return menu

    def _fill_menu(self, before: TrayView | None) -> None:
        """Touch only what differs from the view `before`: each call may wait for the interpreter's lock."""
        view = self.view
        if before is None or before.status != view.status:
            self._status.setText(view.status.replace("&", "&&"))
        if before is None or before.take_back != view.take_back:
            self._take_back.setText(self.tr(view.take_back))
        for action, is_shown, was_shown in (
            (self._start, view.can_start, before and before.can_start),
            (self._share_menu.menuAction(), view.can_share, before and before.can_share),
            (self._follow, view.is_sharing, before and before.is_sharing),
        ):
            if is_shown is not was_shown:
                action.setVisible(is_shown)
        for action, is_on, was_on in (
            (self._pause_menu.menuAction(), view.can_pause, before and before.can_pause),
            (self._resume, view.can_resume, before and before.can_resume),
            (self._finish, view.can_finish, before and before.can_finish),
            (self._take_back, view.can_take_back, before and before.can_take_back),
        ):
            if is_on is not was_on:
                action.setEnabled(is_on)
        if before is None or before.is_quitting is not view.is_quitting:
            self._quit.setText(self.tr("Quit now") if view.is_quitting else self.tr("Quit"))

    def _show_tooltip(self) -> None:
        if self._icon is not None and self._shown_tooltip != self.view.tooltip:
            self._shown_tooltip = self.view.tooltip
            self._icon.setToolTip(self.view.tooltip)

    def _on_host_appeared(self) -> None:
        self.remove()
        icon = self._make_icon()
        icon.setIcon(mood_icon(self.view.mood))
        icon.setContextMenu(self.menu)
        icon.activated.connect(self._on_icon_activated)
        icon.messageClicked.connect(self.message_clicked)
        self._icon = icon
        self._shown_tooltip = ""
        self._show_tooltip()
        icon.show()
        self.appeared.emit()

    def _on_host_vanished(self) -> None:
        self.remove()
        self.vanished.emit()

    def _on_icon_activated(self, reason: QSystemTrayIcon.ActivationReason) -> None:
        if reason in (QSystemTrayIcon.ActivationReason.Trigger, QSystemTrayIcon.ActivationReason.DoubleClick):
            self.window_requested.emit()
        elif reason is QSystemTrayIcon.ActivationReason.MiddleClick:
            self._switch_pause()

    def _switch_pause(self) -> None:
        """The quick way: pause until resumed, or resume."""
        if self.view.can_resume:
            self.resume_requested.emit()
        elif self.view.can_pause:
            self.pause_requested.emit(None)
