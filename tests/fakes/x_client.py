"""The hands of a person at an X display: close a window, press keys. Straight from libX11 and libXtst, by ctypes."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

CLIENT_MESSAGE = 33
IS_VIEWABLE = 2


class _ClientMessage(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int),
        ("data", ctypes.c_long * 5),
        ("padding", ctypes.c_long * 24),  # XEvent is 24 longs; none of it is read
    ]


class _Attributes(ctypes.Structure):
    """XWindowAttributes up to what is needed."""

    _fields_ = [
        *((name, ctypes.c_int) for name in ("x", "y", "width", "height", "border_width", "depth")),
        ("visual", ctypes.c_void_p),
        ("root", ctypes.c_ulong),
        *((name, ctypes.c_int) for name in ("class_", "bit_gravity", "win_gravity", "backing_store")),
        ("backing_planes", ctypes.c_ulong),
        ("backing_pixel", ctypes.c_ulong),
        ("save_under", ctypes.c_int),
        ("colormap", ctypes.c_ulong),
        ("map_installed", ctypes.c_int),
        ("map_state", ctypes.c_int),
        ("rest", ctypes.c_long * 16),
    ]


class XClient:
    """Use as `with XClient(":99") as hands`."""

    def __init__(self, display: str) -> None:
        self._name = display

    def __enter__(self) -> Self:
        self._x = _library("X11")
        self._test = _library("Xtst")
        self._x.XOpenDisplay.restype = ctypes.c_void_p
        self._x.XInternAtom.restype = self._x.XDefaultRootWindow.restype = ctypes.c_ulong
        self._x.XStringToKeysym.restype = ctypes.c_ulong
        display = self._x.XOpenDisplay(self._name.encode())
        if not display:
            raise OSError(f"no display {self._name}")
        self._display = ctypes.c_void_p(display)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._x.XCloseDisplay(self._display)

    def visible_windows(self) -> list[int]:
        """The shown top-level windows, lowest first, without those of a pixel or two that programs talk through."""
        return [window for window in self._children() if self._is_shown(window)]

    def close(self, window: int) -> None:
        """What a click on a window's cross sends."""
        event = _ClientMessage(type=CLIENT_MESSAGE, window=window, format=32)
        event.message_type = self._x.XInternAtom(self._display, b"WM_PROTOCOLS", 0)
        event.data[0] = self._x.XInternAtom(self._display, b"WM_DELETE_WINDOW", 0)
        self._x.XSendEvent(self._display, ctypes.c_ulong(window), 0, 0, ctypes.byref(event))
        self._x.XFlush(self._display)

    def press(self, *names: str) -> None:
        """Keys one after the other, as X names them; "Alt_L+n" holds the first while the last is pressed."""
        for name in names:
            codes = [self._code(part) for part in name.split("+")]
            for code in codes:
                self._test.XTestFakeKeyEvent(self._display, code, 1, 0)
            for code in reversed(codes):
                self._test.XTestFakeKeyEvent(self._display, code, 0, 0)
        self._x.XFlush(self._display)

    def _code(self, name: str) -> int:
        symbol = self._x.XStringToKeysym(name.encode())
        return int(self._x.XKeysymToKeycode(self._display, ctypes.c_ulong(symbol)))

    def _children(self) -> Iterator[int]:
        root, parent, count = ctypes.c_ulong(), ctypes.c_ulong(), ctypes.c_uint()
        found = ctypes.POINTER(ctypes.c_ulong)()
        window = ctypes.c_ulong(self._x.XDefaultRootWindow(self._display))
        references = (ctypes.byref(part) for part in (root, parent, found, count))
        self._x.XQueryTree(self._display, window, *references)
        children = [int(found[number]) for number in range(count.value)]
        if found:
            self._x.XFree(found)
        yield from children

    def _is_shown(self, window: int) -> bool:
        about = _Attributes()
        if not self._x.XGetWindowAttributes(self._display, ctypes.c_ulong(window), ctypes.byref(about)):
            return False
        return bool(about.map_state == IS_VIEWABLE and about.width > 10 and about.height > 10)


def missing_library() -> str:
    """The Debian package that is missing, or ""."""
    packages = {"X11": "libx11-6", "Xtst": "libxtst6"}
    return next((package for name, package in packages.items() if ctypes.util.find_library(name) is None), "")


def _library(name: str) -> Any:
    return ctypes.CDLL(ctypes.util.find_library(name))
