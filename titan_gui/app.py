"""Composition of the desktop program: tray, agent, window, and who hears of what."""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from PySide6.QtCore import QEventLoop, QObject, QSettings, QTimer
from PySide6.QtWidgets import QApplication

from core.commands import CommandOutcome
from core.config_load import LoadedSettings
from core.errors import AgentError
from core.instance_lock import InstanceLock
from core.logs import get_logger
from core.snapshot import AgentSnapshot
from titan_gui.bridge import AgentBridge
from titan_gui.desktop_notifications import DesktopNotifications
from titan_gui.garbage import keep_what_is_there, put_off_full_collections
from titan_gui.history import History
from titan_gui.notifications import Kind, Message, NotificationRules, Notifier, read_shown, write_shown
from titan_gui.plain_text import plain
from titan_gui.quitting import AT_ONCE, BY_HAND, SESSION_ENDS, Quitting
from titan_gui.remedies import error_text
from titan_gui.step_builder import StepBuilder, Steps
from titan_gui.tray import Tray
from titan_gui.tray_host import TrayHost
from titan_gui.waiting_door import WaitingDoor

if TYPE_CHECKING:
    from titan_gui.autostart import Autostart
    from titan_gui.main_window import MainWindow
    from titan_gui.no_tray import NoTrayQuestion
    from titan_gui.setup_wiring import SetupWiring

log = get_logger(__name__)

ANSWER_MS = 10_000
NO_TRAY_GRACE_MS = 5000  # at login the panel may come after us, and a restarted panel is away for a moment
MEMORY_NAME = "window.ini"  # where the window stood, when which message was shown
WINDOW = "window"
WINDOW_MODULES = (
    "titan_gui.main_window",
    "titan_gui.overview_wiring",
    "titan_gui.settings_files",
    "titan_gui.window_pages",
)
# Their answers stand in the window's status line (or in a balloon); other commands' pages show their own.
TOLD = frozenset(
    {
        *("pause", "resume", "finish", "share_now", "follow_rules", "take_back"),
        *("cancel_session", "export_ledger", "retry_engine"),
    }
)


class Desktop(QObject):
    """The running program. Everything here belongs to the Qt thread and returns at once."""

    def __init__(
        self, loaded: LoadedSettings, lock: InstanceLock, *, is_hidden: bool = False, tray: Tray | None = None
    ) -> None:
        super().__init__()
        self.loaded = loaded
        self.window: MainWindow | None = None  # made when it is first opened
        self._is_hidden = is_hidden
        self._is_start_wanted = False
        self.tray = tray or Tray(TrayHost())
        self.bridge = AgentBridge(lock)
        self.history = History()  # what the charts draw: recorded without a window too
        self._memory = QSettings(str(loaded.paths.state_dir / MEMORY_NAME), QSettings.Format.IniFormat)
        self.notifier = Notifier(NotificationRules(read_shown(self._memory)), save=self._save_shown)
        self.notifier.is_on = loaded.settings.notifications
        self.messages = DesktopNotifications(os.environ)
        self.quitting = Quitting(self.bridge)
        self._door = WaitingDoor(lock)
        self._setup: SetupWiring | None = None  # while the first questions are open
        self._maker = StepBuilder(self)  # of the window
        self._maker.built.connect(self._on_window_built)
        self._maker.start()
        self._use_window: Callable[[MainWindow], object] | None = None  # what is to become of it once it is made
        self._no_tray = QTimer(self, singleShot=True, interval=NO_TRAY_GRACE_MS)
        self._connect()

    def _connect(self) -> None:
        tray, bridge, command = self.tray, self.bridge, self.bridge.command
        tray.pause_requested.connect(self.pause)
        tray.resume_requested.connect(functools.partial(command, "resume"))
        tray.finish_requested.connect(functools.partial(command, "finish"))
        tray.share_requested.connect(lambda until: command("share_now", {"until": str(until)}))
        tray.follow_rules_requested.connect(functools.partial(command, "follow_rules"))
        tray.take_back_requested.connect(functools.partial(command, "take_back"))
        tray.start_requested.connect(self.start_agent)
        tray.window_requested.connect(self.open_window)
        tray.message_clicked.connect(self.open_window)
        tray.settings_requested.connect(functools.partial(self.open_window, "settings"))
        tray.quit_requested.connect(self.quit)
        tray.appeared.connect(self._no_tray.stop)
        tray.vanished.connect(self._no_tray.start)
        self._no_tray.timeout.connect(self._on_no_tray_timeout)
        bridge.snapshot_changed.connect(self._on_snapshot_changed)
        bridge.agent_started.connect(keep_what_is_there)
        bridge.command_finished.connect(self._on_command_finished)
        bridge.command_failed.connect(self._on_command_failed)
        bridge.agent_ended.connect(self._on_agent_ended)
        bridge.window_requested.connect(self.open_window)
        self._door.window_requested.connect(self.open_window)
        self._door.quit_requested.connect(self.quit)
        self._door.closed.connect(self._on_door_closed)
        self.notifier.message_due.connect(self.messages.show)
        self.messages.not_shown.connect(tray.show_message)
        self.messages.clicked.connect(self.open_window)
        self.quitting.began.connect(lambda: self._on_snapshot_changed(bridge.snapshot))
        self.quitting.finished.connect(self._on_quitting_finished)

    def start(self) -> None:
        """The icon first; the agent, and whatever takes time, once Qt's loop runs."""
        self.tray.start()
        QTimer.singleShot(0, self._begin)

    def _begin(self) -> None:
        self.start_agent()  # before the setup is done it is held: the icon says that something is to do
        if not self._is_hidden:
            self.open_window()
        elif not self.tray.is_shown:
            self._no_tray.start()

    # What the tray and the pages ask for

    def start_agent(self) -> None:
        """Start the agent with the settings as they are now; again after an error. Harmless while it runs."""
        if not self.bridge.is_running and not self.quitting.is_quitting:
            self._is_start_wanted = True
            self._door.close()  # its place is the agent's own door's; then _on_door_closed

    def pause(self, until: float | None) -> None:
        """Pause until a time in seconds since the epoch; None: until resumed."""
        self.bridge.command("pause", {} if until is None else {"until": str(until)})

    def quit(self) -> None:
        """The first time in order, the second time at once."""
        self.quitting.begin(AT_ONCE if self.quitting.is_quitting else BY_HAND)

    def take_signal(self, number: int) -> None:
        """Ctrl+C is a Quit; SIGTERM and SIGHUP come when the session ends, and SIGKILL soon after."""
        if number == signal.SIGINT:
            self.quit()
        else:
            self.quitting.begin(SESSION_ENDS)

    def end_with_session(self) -> None:
        """Logout or shutdown: the system waits while this runs, and not long; so here, and only here, we wait."""
        if self.quitting.has_finished:
            return
        waiting = QEventLoop()
        self.quitting.finished.connect(waiting.quit)
        self.quitting.begin(SESSION_ENDS)
        waiting.exec()

    @functools.cached_property
    def _no_tray_question(self) -> NoTrayQuestion:
        from titan_gui.no_tray import NoTrayQuestion

        question = NoTrayQuestion()
        question.go_on_chosen.connect(self._on_window_close_requested)
        question.quit_chosen.connect(self.quit)
        return question

    @functools.cached_property
    def autostart(self) -> Autostart:
        """The switch "start at login". Raises AgentError where this installation has no program to start."""
        from core.engines.worker_launch import desktop_command
        from titan_gui.autostart import autostart_of

        command = desktop_command(sys.argv, os.environ)
        return autostart_of(self.loaded.settings.profile, command, os.environ)

    def use_settings(self, loaded: LoadedSettings) -> None:
        """The settings file has changed: what lives on this side takes it up; the agent does at its next start."""
        self.loaded = loaded
        self.notifier.is_on = loaded.settings.notifications

    def open_setup(self) -> None:
        """The first questions, before the first start or again. Until they are answered the agent is held: the bridge
        starts it so, and nothing is shared."""
        from titan_gui.setup_wiring import SetupWiring

        if self._setup is None:
            self._setup = setup = SetupWiring(self.loaded, self.bridge)
            setup.finished.connect(self._on_setup_finished)
            setup.closed.connect(self._on_setup_closed)
        self.start_agent()
        self._setup.window.bring_up()

    def open_window(self, page: str = "") -> None:
        """Show the window in front, at `page` where one is named; before the first setup, the setup."""
        if not page and not self.loaded.settings.setup_done:
            self.open_setup()
            return

        def show(window: MainWindow) -> None:
            if page:
                window.show_page(page)
            window.bring_up()
            log.info("window shown", page=window.current_page)

        self._with_window(show)

    def leave(self, timeout_s: float) -> bool:
        """After Qt's loop has ended: everything away; False when a thread of ours still runs."""
        self.tray.remove()
        if self._setup is not None:
            self._setup.window.close()
            self._setup.wait()
        if self.window is not None:
            self.window.close_for_good()
        self._door.close()
        self.messages.close()
        return self.bridge.join(timeout_s) and self._door.join(timeout_s) and self.messages.join(timeout_s)

    def _with_window(self, use: Callable[[MainWindow], object]) -> None:
        """Hand the window to `use`: at once; the first time when it is made, to the last one that asked until then."""
        if self.window is not None:
            use(self.window)
            return
        self._use_window = use
        if WINDOW not in self._maker:
            self._maker.add(WINDOW, self._make_window)

    def _make_window(self) -> Steps:
        from titan_gui.qt_imports import WINDOW_QT, make_types

        put_off_full_collections()
        yield from make_types(WINDOW_QT)
        yield WINDOW_MODULES
        from titan_gui.main_window import MainWindow
        from titan_gui.tray_icon import app_icon
        from titan_gui.window_pages import add_pages

        window = MainWindow(self._memory)
        window.setWindowIcon(app_icon())
        window.close_requested.connect(self._on_window_close_requested)
        window.quit_requested.connect(self.quit)
        window.seen.connect(self.bridge.watch)
        window.all_built.connect(lambda: log.info("pages built"))
        window.all_built.connect(keep_what_is_there)
        yield None
        add_pages(window, self)
        window.render_snapshot(self.bridge.snapshot)
        yield None
        return window

    # What the others report

    def _on_window_built(self, _: str, window: MainWindow) -> None:
        self.window = window
        if self._use_window is not None:
            self._use_window(window)
            self._use_window = None

    def _on_setup_finished(self, loaded: LoadedSettings) -> None:
        """The last click: written already, so from now on the agent shares."""
        self.use_settings(loaded)
        if self.bridge.is_running:
            self.bridge.restart(loaded)
        else:
            self.start_agent()
        self.open_window("dashboard")

    def _on_setup_closed(self) -> None:
        if self._setup is not None:
            self._setup.window.deleteLater()
            self._setup.deleteLater()
            self._setup = None
        if not self.loaded.settings.setup_done and not self.tray.is_shown and not self.quitting.is_quitting:
            self.quit()  # nothing is shared yet, and nothing would show that we run

    def _on_snapshot_changed(self, snapshot: AgentSnapshot) -> None:
        self.history.record(snapshot, time.time())
        self.tray.render(snapshot, is_quitting=self.quitting.is_quitting)
        if self.loaded.settings.setup_done and not self.quitting.is_quitting:  # before, the icon and the setup say it
            self.notifier.render(snapshot)
        if self.window is not None:
            self.window.render_snapshot(snapshot)

    def _on_command_finished(self, name: str, outcome: CommandOutcome) -> None:
        if name in TOLD:
            is_urgent = name == "take_back" or "not_kept" in outcome.result  # a pause that a restart would forget
            self._tell("", plain(outcome.message), is_urgent=is_urgent)

    def _on_command_failed(self, name: str, error: AgentError) -> None:
        if name in TOLD:
            self._tell(error.title, error_text(error), is_urgent=True)

    def _tell(self, title: str, text: str, *, is_urgent: bool) -> None:
        """The answer to a click, where the person looks. What the icon shows anyway needs no balloon."""
        if self.window is not None and self.window.isVisible() and not self.window.isMinimized():
            self.window.statusBar().showMessage(f"{title}: {text}" if title else text, ANSWER_MS)
        elif is_urgent:
            self.messages.show(Message(Kind.ANSWER, title or "TitanCompute", text))

    def _save_shown(self, shown_at: Mapping[Kind, float]) -> None:
        write_shown(self._memory, shown_at)

    def _on_agent_ended(self, error: BaseException | None) -> None:
        if self.quitting.is_quitting:
            return
        if error is None:  # `titan shutdown`
            self.quit()
        else:
            self._door.open(self.loaded, self.bridge.snapshot)

    def _on_door_closed(self) -> None:
        if self._is_start_wanted and not self.quitting.is_quitting and not self.bridge.is_running:
            self._is_start_wanted = False
            self.bridge.start(self.loaded)

    def _on_window_close_requested(self) -> None:
        assert self.window is not None
        if self.tray.is_shown:
            self.window.hide()
        elif self._no_tray_question.wants_to_go_on:
            self.window.showMinimized()
        else:
            self._no_tray_question.ask(self.window)

    def _on_no_tray_timeout(self) -> None:
        """Nothing shows that we run: the window does, out of the way; or the setup, which waits for answers."""
        if self.tray.is_shown or self._setup is not None or self.quitting.is_quitting:
            return
        if not self.loaded.settings.setup_done:
            self.open_setup()
        elif self.window is None or not self.window.isVisible():
            self._with_window(self._show_minimised)

    def _show_minimised(self, window: MainWindow) -> None:
        window.showMinimized()
        log.info("window minimised: no tray")

    def _on_quitting_finished(self, code: int) -> None:
        QApplication.exit(code)
