"""Whether Qt can show a window here, asked before Qt is: where it can't, Qt aborts the process (code 134).

What Qt would try is tried in its order (QGuiApplication): the platforms of QT_QPA_PLATFORM, else Wayland in a Wayland
session, then X. No Qt is imported; what is loaded on the way is loaded by Qt anyway.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

CONNECT_LIMIT_S = 3.0  # a display on another machine that is gone doesn't even refuse
X_PORT = 6000
X_SOCKETS = "/tmp/.X11-unix/X"  # noqa: S108 - where X servers listen

# Debian's package (Ubuntu, Mint) and Fedora's of the libraries that Qt's wheels don't bring.
PACKAGES = {
    "libEGL.so.1": ("libegl1", "libglvnd-egl"),
    "libGL.so.1": ("libgl1", "libglvnd-glx"),
    "libX11-xcb.so.1": ("libx11-xcb1", "libX11-xcb"),
    "libX11.so.6": ("libx11-6", "libX11"),
    "libdbus-1.so.3": ("libdbus-1-3", "dbus-libs"),
    "libfontconfig.so.1": ("libfontconfig1", "fontconfig"),
    "libfreetype.so.6": ("libfreetype6", "freetype"),
    "libglib-2.0.so.0": ("libglib2.0-0", "glib2"),
    "libwayland-client.so.0": ("libwayland-client0", "libwayland-client"),
    "libwayland-cursor.so.0": ("libwayland-cursor0", "libwayland-cursor"),
    "libwayland-egl.so.1": ("libwayland-egl1", "libwayland-egl"),
    "libxcb-cursor.so.0": ("libxcb-cursor0", "xcb-util-cursor"),
    "libxcb-icccm.so.4": ("libxcb-icccm4", "xcb-util-wm"),
    "libxcb-image.so.0": ("libxcb-image0", "xcb-util-image"),
    "libxcb-keysyms.so.1": ("libxcb-keysyms1", "xcb-util-keysyms"),
    "libxcb-randr.so.0": ("libxcb-randr0", "libxcb"),
    "libxcb-render-util.so.0": ("libxcb-render-util0", "xcb-util-renderutil"),
    "libxcb-render.so.0": ("libxcb-render0", "libxcb"),
    "libxcb-shape.so.0": ("libxcb-shape0", "libxcb"),
    "libxcb-shm.so.0": ("libxcb-shm0", "libxcb"),
    "libxcb-sync.so.1": ("libxcb-sync1", "libxcb"),
    "libxcb-util.so.1": ("libxcb-util1", "xcb-util"),
    "libxcb-xfixes.so.0": ("libxcb-xfixes0", "libxcb"),
    "libxcb-xkb.so.1": ("libxcb-xkb1", "libxcb"),
    "libxcb.so.1": ("libxcb1", "libxcb"),
    "libxkbcommon-x11.so.0": ("libxkbcommon-x11-0", "libxkbcommon-x11"),
    "libxkbcommon.so.0": ("libxkbcommon0", "libxkbcommon"),
}
_LIBRARY = re.compile(r"(lib[\w.+-]+\.so[.\d]*)")

Load = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class DisplayProblem:
    """Why no window can be shown, and what helps; both for a person, on a terminal or in a message."""

    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}\n{self.remedy}".strip()


NO_DISPLAY = DisplayProblem(
    "There is no display (neither DISPLAY nor WAYLAND_DISPLAY is set), so no window can be shown.",
    "Start it inside a desktop session.",
)


def display_problem(platform: str, environ: Mapping[str, str]) -> DisplayProblem | None:
    """None when a window can be shown. Takes some milliseconds; with a display on another machine up to
    CONNECT_LIMIT_S."""
    if platform in ("win32", "darwin"):
        return None
    problems: list[DisplayProblem] = []
    for name in _platforms(environ):
        problem = _problem_with(name, environ)
        if problem is None:
            return None
        problems.append(problem)
    return next((problem for problem in problems if problem is not NO_DISPLAY), NO_DISPLAY)


def _platforms(environ: Mapping[str, str]) -> list[str]:
    """Qt's platforms in the order in which it tries them."""
    if chosen := environ.get("QT_QPA_PLATFORM", ""):
        return [part.partition(":")[0] for part in chosen.split(";") if part]
    is_wayland = "WAYLAND_DISPLAY" in environ or environ.get("XDG_SESSION_TYPE") == "wayland"
    return ["wayland", "xcb"] if is_wayland else ["xcb"]


def _problem_with(name: str, environ: Mapping[str, str]) -> DisplayProblem | None:
    if name == "xcb":
        display = environ.get("DISPLAY", "")
        return _x_problem(display) or library_problem(_plugin("xcb")) or _x_refusal(display)
    if name.partition("-")[0] == "wayland":
        return _wayland_problem(environ) or library_problem(_plugin("wayland"))
    return None  # offscreen, vnc, a panel's framebuffer: they need no display


def _x_problem(display: str) -> DisplayProblem | None:
    if not display:
        return NO_DISPLAY
    dead = DisplayProblem(
        f"No X server answers at DISPLAY={display}, so no window can be shown.",
        "Start it inside a desktop session; if the display came through ssh, connect again.",
    )
    host, _, number = display.rpartition("/")[2].rpartition(":")
    try:
        screen = int(number.partition(".")[0])
    except ValueError:
        return None if Path(display).is_socket() else dead  # some systems name the socket itself
    if host in ("", "unix"):
        is_there = _answers(f"{X_SOCKETS}{screen}") or _answers(f"\0{X_SOCKETS}{screen}")
    else:
        is_there = _answers((host.strip("[]"), X_PORT + screen))
    return None if is_there else dead


def _x_refusal(display: str) -> DisplayProblem | None:
    if x_lets_in(display):
        return None
    return DisplayProblem(
        f"The X server at DISPLAY={display} does not let this user in, so no window can be shown.",
        "Start it as the person who is logged in at that desktop.",
    )


def _wayland_problem(environ: Mapping[str, str]) -> DisplayProblem | None:
    if environ.get("WAYLAND_SOCKET"):  # a connection that is open already
        return None
    name = environ.get("WAYLAND_DISPLAY") or "wayland-0"
    if _answers(str(Path(environ.get("XDG_RUNTIME_DIR", ""), name))):
        return None
    return DisplayProblem(
        f"No Wayland desktop answers at WAYLAND_DISPLAY={name}, so no window can be shown.",
        "Start it inside a desktop session.",
    )


def _answers(address: str | tuple[str, int]) -> bool:
    try:
        if isinstance(address, tuple):
            socket.create_connection(address, timeout=CONNECT_LIMIT_S).close()
        else:
            with socket.socket(socket.AF_UNIX) as unix:
                unix.settimeout(CONNECT_LIMIT_S)
                unix.connect(address)
    except (OSError, ValueError):  # ValueError: a name with a zero byte, or that is too long
        return False
    return True


def library_problem(plugin: Path | None, *, load: Load = ctypes.CDLL) -> DisplayProblem | None:
    """Load the plugin that Qt would load: the system's loader names the first library that is missing.

    None is a PySide6 that keeps its plugins elsewhere: a system's package, which has brought its libraries.
    """
    if plugin is None:
        return None
    try:
        load(str(plugin))
    except OSError as error:
        return _missing(str(error))
    return None


def _plugin(platform: str) -> Path | None:
    spec = importlib.util.find_spec("PySide6")
    if spec is None or spec.origin is None:
        return None
    plugin = Path(spec.origin).parent / "Qt" / "plugins" / "platforms" / f"libq{platform}.so"
    return plugin if plugin.is_file() else None


def _missing(text: str) -> DisplayProblem:
    found = _LIBRARY.search(text.partition(":")[0])
    library = found[1] if found else ""
    if library not in PACKAGES:
        return DisplayProblem(f"The window's libraries can't be loaded: {text}", "Install what is missing.")
    debian, fedora = PACKAGES[library]
    return DisplayProblem(
        f"The library {library} can't be loaded, and without it no window can be shown.",
        f"Install it: on Debian, Ubuntu and Mint the package {debian}, on Fedora {fedora}.",
    )


def x_lets_in(display: str) -> bool:
    """Connect as Qt does, by the library that Qt uses: a server that answers may still not let this user in."""
    xcb = ctypes.CDLL("libxcb.so.1")
    xcb.xcb_connect.restype = ctypes.c_void_p
    connection = ctypes.c_void_p(xcb.xcb_connect(display.encode(), None))
    is_refused = bool(xcb.xcb_connection_has_error(connection))
    xcb.xcb_disconnect(connection)
    return not is_refused
