"""How long nobody has used keyboard or mouse, by every system's own way of telling it.

A system that doesn't tell it is unknown, with its cause: never "idle".
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Mapping
from typing import Any

from core.signals import BusProbe, SignalProbe, Unknown
from core.signals.bus import Bus, BusProblem, NobodyThere
from core.signals.x11 import XConnection, XProblem, XRefusal, x_session_problem

NAME = "idle_s"
# Plasma on Wayland answers 0 for ever: its idle service can't be polled there. Real use isn't exactly 0 ms for long.
ZEROES_IN_A_ROW = 20
_ANY_INPUT, _HID_SYSTEM_STATE = 0xFFFFFFFF, 1  # CGEventTypes.h: kCGAnyInputEventType, kCGEventSourceStateHIDSystemState


def idle_probe(
    session: Bus, environ: Mapping[str, str], *, system: str = sys.platform
) -> SignalProbe[float] | BusProbe[float]:
    """The one that fits this machine. `system` is a sys.platform value."""
    if system == "win32":
        return WindowsIdle()
    if system == "darwin":
        return MacIdle()
    return BusIdle(session, environ) if x_session_problem(environ) else XIdle(environ)


class XIdle:
    """A desktop session of X: the server counts every input. Under Wayland it only hears of the X programs' own."""

    name = NAME

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._connection: XConnection | None = None

    def read(self) -> float | Unknown:
        try:
            if self._connection is None:
                self._connection = XConnection.open(self._environ)
            return self._connection.idle_ms() / 1000
        except XRefusal as refusal:
            return Unknown(f"The desktop doesn't tell when mouse or keyboard were last used: {refusal}.")
        except XProblem as problem:
            self.close()
            return Unknown(f"When mouse or keyboard were last used isn't known: {problem}.")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class BusIdle:
    """GNOME's Mutter, else org.freedesktop.ScreenSaver as KDE has it. Both count in milliseconds."""

    name = NAME

    def __init__(self, bus: Bus, environ: Mapping[str, str]) -> None:
        self._bus = bus
        self._environ = environ
        self._zeroes = 0

    async def read(self) -> float | Unknown:
        try:
            return await self._ask("org.gnome.Mutter.IdleMonitor", "/org/gnome/Mutter/IdleMonitor/Core", "GetIdletime")
        except NobodyThere:
            pass
        except BusProblem as problem:
            return self._unknown(problem)
        try:
            idle_s = await self._ask(
                "org.freedesktop.ScreenSaver", "/org/freedesktop/ScreenSaver", "GetSessionIdleTime"
            )
        except BusProblem as problem:
            return self._unknown(problem)
        self._zeroes = 0 if idle_s else self._zeroes + 1
        return idle_s if self._zeroes < ZEROES_IN_A_ROW else self._not_told()

    async def _ask(self, name: str, path: str, member: str) -> float:
        """Seconds. Raises BusProblem."""
        answer = await self._bus.call(name, path, name, member)
        if len(answer) != 1 or not isinstance(answer[0], int):
            raise NobodyThere(f"{name} answers {member} with something else")
        return answer[0] / 1000

    def _unknown(self, problem: BusProblem) -> Unknown:
        if isinstance(problem, NobodyThere):
            return self._not_told()
        return Unknown(f"When mouse or keyboard were last used isn't known: {problem}.")

    def _not_told(self) -> Unknown:
        if not self._environ.get("WAYLAND_DISPLAY") and not self._environ.get("DISPLAY"):
            return Unknown("No desktop session: nothing tells when mouse or keyboard were last used.")
        if self._environ.get("WAYLAND_DISPLAY"):
            return Unknown("This desktop doesn't tell when mouse or keyboard were last used.")
        return Unknown(
            f"{x_session_problem(self._environ)} So nothing tells when its mouse or keyboard were last used."
        )


class _LastInput(ctypes.Structure):
    """LASTINPUTINFO (winuser.h)."""

    _fields_ = [("size", ctypes.c_uint), ("tick_ms", ctypes.c_uint)]


class WindowsIdle:
    """GetLastInputInfo against GetTickCount: both are 32 bits of milliseconds, and both turn over after 49.7 days."""

    name = NAME

    def __init__(self, user32: Any = None, kernel32: Any = None) -> None:
        """The two system libraries; replaced in tests."""
        self._user32 = user32
        self._kernel32 = kernel32

    def read(self) -> float | Unknown:
        if self._user32 is None:
            load = getattr(ctypes, "WinDLL")  # noqa: B009 (the name exists only on Windows, also for the type checker)
            self._user32, self._kernel32 = load("user32"), load("kernel32")
        last = _LastInput(size=ctypes.sizeof(_LastInput))
        if not self._user32.GetLastInputInfo(ctypes.byref(last)):
            return Unknown("Windows doesn't tell when mouse or keyboard were last used.")
        return float(((self._kernel32.GetTickCount() - last.tick_ms) & 0xFFFFFFFF) / 1000)

    def close(self) -> None:
        """Nothing is held."""


class MacIdle:
    """CGEventSourceSecondsSinceLastEventType, over all input devices."""

    name = NAME

    def __init__(self, framework: Any = None) -> None:
        """ApplicationServices; replaced in tests."""
        self._framework = framework

    def read(self) -> float | Unknown:
        if self._framework is None:
            self._framework = ctypes.CDLL(
                "/System/Library/Frameworks/ApplicationServices.framework/ApplicationServices"
            )
        ask = self._framework.CGEventSourceSecondsSinceLastEventType
        ask.restype, ask.argtypes = ctypes.c_double, (ctypes.c_int32, ctypes.c_uint32)
        idle_s = float(ask(_HID_SYSTEM_STATE, _ANY_INPUT))
        return idle_s if idle_s >= 0 else Unknown("macOS doesn't tell when mouse or keyboard were last used.")

    def close(self) -> None:
        """Nothing is held."""
