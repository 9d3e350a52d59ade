"""From the command line to Qt's loop: arguments, display, settings, one instance; and what goes wrong on the way."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from core import __version__, logs
from core.config_load import LoadedSettings, load_settings
from core.errors import AgentError, AgentNotRunning, AlreadyRunningError, CommandRefused, ConfigError
from core.instance_lock import InstanceLock
from titan_gui.display import DisplayProblem, display_problem

if TYPE_CHECKING:
    from titan_gui.application import DesktopApplication

EXIT_FAILED = 1
EXIT_BAD_SETTINGS = 2
EXIT_ALREADY_RUNNING = 3
HAND_OVER_LIMIT_S = 6.0  # the other instance may still be starting, or about to end
HAND_OVER_INTERVAL_S = 0.1
# Every call into Qt gives the interpreter's lock away, and a busy agent thread keeps it for so long before Qt's thread
# has it again. Longest block of Qt's thread with 32 streams, 4 runs each: 1 to 39 ms; with Python's own 5 ms 8 to 332.
SWITCH_INTERVAL_S = 0.001


class RunsWithoutWindow(AlreadyRunningError):
    """The profile's agent has no window to show."""


def launch(arguments: Sequence[str]) -> int:
    """Run the desktop program; returns its exit code."""
    if sys.stderr is None:  # Windows: a program without a console
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for the life of the process
    given = _parse(arguments)
    problem = display_problem(sys.platform, os.environ)
    if problem is not None:
        return _report_display(problem)
    application: DesktopApplication | None = None
    try:
        loaded = load_settings(overrides={"profile": given.profile})
        lock = InstanceLock(loaded.paths.lock_file, loaded.settings.profile)
        try:
            if not take_lock_or_show_other(lock, given.profile, is_hidden=given.hidden):
                return 0
        except RunsWithoutWindow as error:
            sys.stderr.write(f"{error.detail}.\n")
            application = _application()
            if not _ask_to_take_over(lock, given.profile):
                return EXIT_ALREADY_RUNNING
    except AgentError as error:
        return _report(error)
    with lock, _logs(loaded):
        code = _run(application or _application(), loaded, lock, is_hidden=given.hidden)
    if code < 0:  # a thread hangs: Python would wait for it for ever
        os._exit(-code)
    return code


def take_lock_or_show_other(lock: InstanceLock, profile: str | None, *, is_hidden: bool) -> bool:
    """True with the lock taken; False when another window of this profile was brought to the front instead.

    A hidden start (at login) leaves the other one as it is. Raises RunsWithoutWindow when an agent without a window has
    the profile, AlreadyRunningError or ControlError when the other one doesn't answer, and StorageError.
    """
    deadline = time.monotonic() + HAND_OVER_LIMIT_S
    while True:
        try:
            lock.acquire()
            return True
        except AlreadyRunningError as error:
            if is_hidden or _shows_window(profile):
                return False
            if time.monotonic() > deadline:
                raise AlreadyRunningError(
                    f"{error.detail}, but it doesn't answer", hint="Wait a moment and try again; else end that process."
                ) from error
            time.sleep(HAND_OVER_INTERVAL_S)


def _shows_window(profile: str | None) -> bool:
    """Ask the running instance; False when its door isn't there (it starts, or ends)."""
    from core.cli.door import execute

    try:
        execute(profile, "show_window", timeout_s=HAND_OVER_LIMIT_S)
    except AgentNotRunning:
        return False
    except CommandRefused as error:
        raise RunsWithoutWindow("An agent without a window already runs for this profile") from error
    return True


def _ask_to_take_over(lock: InstanceLock, profile: str | None) -> bool:
    """True with the lock taken, after the agent without a window has ended. Raises AgentError where it doesn't."""
    from core.cli.door import execute
    from titan_gui.take_over import TakeOver

    return TakeOver(lock, lambda: execute(profile, "shutdown")).ask()


def _application() -> DesktopApplication:
    """The one application of this process: for a question before the start, and then for the program."""
    from titan_gui.application import DesktopApplication

    return DesktopApplication(sys.argv[:1])


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="titan-desktop", description="Share this machine's models, from the tray.")
    parser.add_argument("--profile", metavar="NAME", help="the set of settings and files to use")
    parser.add_argument("--hidden", action="store_true", help="start in the tray without opening the window")
    parser.add_argument("--version", action="version", version=f"titan-desktop {__version__}")
    return parser.parse_args(arguments)


def _logs(loaded: LoadedSettings) -> logs.LogSession:
    settings = loaded.settings
    return logs.configure(level=settings.log_level, log_format=settings.log_format, folder=loaded.paths.log_dir)


def _run(application: DesktopApplication, loaded: LoadedSettings, lock: InstanceLock, *, is_hidden: bool) -> int:
    """Negative when the program has to be left by force."""
    from titan_gui.app import Desktop
    from titan_gui.signals import StopSignals

    sys.setswitchinterval(SWITCH_INTERVAL_S)
    desktop = Desktop(loaded, lock, is_hidden=is_hidden)
    application.on_quit = desktop.quit
    stop_signals = StopSignals()
    stop_signals.received.connect(desktop.take_signal)
    application.commitDataRequest.connect(lambda _: desktop.end_with_session())
    desktop.start()
    code = application.exec()
    has_ended = desktop.leave(timeout_s=0.5)
    stop_signals.close()
    return code if has_ended else -EXIT_FAILED


def _report_display(problem: DisplayProblem) -> int:
    """On stderr; and, since nobody sees that of a program that was started from a menu, through the desktop's own
    messages where the desktop is there (a missing library)."""
    sys.stderr.write(f"{problem}\nTo share this machine without a window, run: titan run\n")
    if address := os.environ.get("DBUS_SESSION_BUS_ADDRESS"):
        import asyncio

        from titan_gui.notification_server import show_once

        with suppress(AgentError):
            asyncio.run(show_once(address, "TitanCompute", str(problem)))
    return EXIT_FAILED


def _report(error: AgentError) -> int:
    """On stderr and, since most people start this from a menu, in a dialog; returns the exit code."""
    sys.stderr.write(f"{error.title}: {error.detail}\n\n{error.hint}".strip() + "\n")
    from PySide6.QtCore import Qt
    from PySide6.QtWidgets import QApplication, QMessageBox

    from titan_gui.remedies import error_text
    from titan_gui.tray_icon import app_icon

    application = QApplication.instance() or QApplication(sys.argv[:1])
    box = QMessageBox(QMessageBox.Icon.Warning, "TitanCompute", error.title)
    box.setWindowIcon(app_icon())
    box.setTextFormat(Qt.TextFormat.PlainText)
    box.setInformativeText(error_text(error))
    box.exec()
    del application
    if isinstance(error, ConfigError):
        return EXIT_BAD_SETTINGS
    return EXIT_ALREADY_RUNNING if isinstance(error, AlreadyRunningError) else EXIT_FAILED
