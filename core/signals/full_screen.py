"""Whether a program fills the screen: a game, a film, a talk. Names the program, and never reads a window's title."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from core.signals import FullScreen, SignalProbe, Unknown
from core.signals.not_told import NotTold
from core.signals.x11 import XConnection, XProblem, XRefusal, x_session_problem

NAME = "full_screen"
# QUERY_USER_NOTIFICATION_STATE (shellapi.h): busy (a full-screen program), a Direct3D one, presentation mode.
_WINDOWS_FULL = frozenset({2, 3, 4})


def full_screen_probe(environ: Mapping[str, str], *, system: str = sys.platform) -> SignalProbe[FullScreen]:
    """The one that fits this machine. `system` is a sys.platform value."""
    if system == "win32":
        return WindowsFullScreen()
    if system == "darwin":
        return NotTold(NAME, "macOS doesn't tell other programs what fills the screen.")
    problem = x_session_problem(environ)
    return NotTold(NAME, f"{problem} Nothing tells what fills the screen.") if problem else XFullScreen(environ)


class XFullScreen:
    """A desktop session of X: what its window manager says of the window in front (freedesktop.org's EWMH 1.5)."""

    name = NAME

    def __init__(self, environ: Mapping[str, str], program_name: Callable[[int], str] | None = None) -> None:
        """`program_name` gives a pid's program, "" for one that isn't this user's."""
        self._environ = environ
        self._program_name = program_name or name_of_own_process
        self._connection: XConnection | None = None

    def read(self) -> FullScreen | Unknown:
        try:
            if self._connection is None:
                self._connection = XConnection.open(self._environ)
            return self._look(self._connection)
        except XRefusal:
            return FullScreen(is_on=False)  # the window went away while it was asked
        except XProblem as problem:
            self.close()
            return Unknown(f"What fills the screen isn't known: {problem}.")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _look(self, display: XConnection) -> FullScreen | Unknown:
        if not _has_window_manager(display):
            return Unknown("No window manager tells which window is in front.")
        active = display.property(display.root, "_NET_ACTIVE_WINDOW").values
        window = active[0] if active else 0
        if not window:
            return FullScreen(is_on=False)
        states = display.property(window, "_NET_WM_STATE").values
        if display.atom("_NET_WM_STATE_FULLSCREEN") not in states:
            return FullScreen(is_on=False)
        pids = display.property(window, "_NET_WM_PID").values
        if pids and pids[0] == os.getpid():  # our own window
            return FullScreen(is_on=False)
        return FullScreen(is_on=True, program=self._program_name(pids[0]) if pids else "")


def _has_window_manager(display: XConnection) -> bool:
    """One that has ended leaves what it said of the root window, but not its own window (EWMH)."""
    name = "_NET_SUPPORTING_WM_CHECK"
    windows = display.property(display.root, name).values
    try:
        return bool(windows) and display.property(windows[0], name).values == windows
    except XRefusal:
        return False


class WindowsFullScreen:
    """SHQueryUserNotificationState, and the process of the window in front."""

    name = NAME

    def __init__(
        self, load: Callable[[str], Any] | None = None, program_name: Callable[[int], str] | None = None
    ) -> None:
        """`load` gives a system library by name; replaced in tests."""
        self._load = load or (lambda name: getattr(ctypes, "WinDLL")(name))  # noqa: B009 (exists only on Windows)
        self._program_name = program_name or name_of_program
        self._shell32: Any = None
        self._user32: Any = None

    def read(self) -> FullScreen | Unknown:
        if self._shell32 is None:
            self._shell32, self._user32 = self._load("shell32"), self._load("user32")
            self._user32.GetForegroundWindow.restype = ctypes.c_void_p
        state = ctypes.c_int()
        if self._shell32.SHQueryUserNotificationState(ctypes.byref(state)) != 0:
            return Unknown("Windows doesn't tell what fills the screen.")
        if state.value not in _WINDOWS_FULL:
            return FullScreen(is_on=False)
        pid = ctypes.c_ulong()
        window = ctypes.c_void_p(self._user32.GetForegroundWindow())
        self._user32.GetWindowThreadProcessId(window, ctypes.byref(pid))
        if pid.value == os.getpid():
            return FullScreen(is_on=False)
        return FullScreen(is_on=True, program=self._program_name(pid.value) if pid.value else "")

    def close(self) -> None:
        """Nothing is held."""


def name_of_own_process(pid: int) -> str:
    """Its program's name, "" when it isn't this user's: a sandboxed program says its pid within the sandbox."""
    import psutil

    try:
        process = psutil.Process(pid)
        return process.name() if process.uids().real == os.getuid() else ""
    except psutil.Error:
        return ""


def name_of_program(pid: int) -> str:
    """ "" for one that has ended, or that this user may not ask."""
    import psutil

    try:
        return psutil.Process(pid).name().removesuffix(".exe")
    except psutil.Error:
        return ""
