"""No display, a dead one, one that lets nobody in, and libraries that are missing: said, and never an abort (134)."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.fakes.agent_process import ROOT, child_environment
from tests.fakes.notification_server import FakeNotificationServer
from tests.fakes.session_bus import SessionBus, missing_programs
from titan_gui import display as display_module
from titan_gui.display import NO_DISPLAY, PACKAGES, display_problem, library_problem

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="X and Wayland are a Linux desktop's")
needs_desktop = pytest.mark.skipif(bool(missing_programs()), reason=missing_programs())


def run_desktop(home: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "titan_gui", "--hidden"]
    return subprocess.run(
        command, cwd=ROOT, env=child_environment(home, **environ), capture_output=True, text=True, timeout=60
    )


def check_said(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Ended in order, and the sentence is the only thing on stderr."""
    assert done.returncode == 1, done.stderr
    for word in (*words, "titan run"):
        assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert "qt.qpa" not in done.stderr


@pytest.fixture
def wayland(home: Path) -> Iterator[Path]:
    """A compositor's socket, without a compositor behind it."""
    path = home / "wayland-7"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        yield path


@pytest.fixture
async def session(home: Path) -> AsyncIterator[SessionBus]:
    async with SessionBus(home) as opened:
        yield opened


# What Qt would try


@pytest.mark.parametrize(
    ("platform", "environ"),
    [
        ("linux", {"QT_QPA_PLATFORM": "offscreen"}),
        ("linux", {"QT_QPA_PLATFORM": "vnc:size=800x600"}),
        ("linux", {"QT_QPA_PLATFORM": "wayland;offscreen"}),
        ("win32", {}),
        ("darwin", {}),
    ],
)
def test_where_no_display_is_needed(platform: str, environ: dict[str, str]) -> None:
    assert display_problem(platform, environ) is None


@pytest.mark.parametrize(
    "environ", [{}, {"DISPLAY": ""}, {"QT_QPA_PLATFORM": "xcb"}, {"DISPLAY": "", "QT_QPA_PLATFORM": "xcb;xcb"}]
)
def test_where_there_is_none(environ: dict[str, str]) -> None:
    assert display_problem("linux", environ) is NO_DISPLAY


@linux_only
@pytest.mark.parametrize(
    "display",
    [
        ":99", ":99.0", "unix:99", "localhost:57", "127.0.0.1:57.0", "[::1]:57", "nonsense", ":x", "/tmp/nothing:0",
        ":99999999999", "a\0b:0", "localhost:99999",
    ],
)  # fmt: skip
def test_a_dead_display_is_named_at_once(display: str) -> None:
    began = time.monotonic()
    problem = display_problem("linux", {"DISPLAY": display})
    assert problem is not None
    assert display in problem.what
    assert time.monotonic() - began < 1


@linux_only
def test_a_dead_wayland_desktop_is_named(home: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(home), "WAYLAND_DISPLAY": "wayland-7"}
    problem = display_problem("linux", environ)
    assert problem is not None
    assert "wayland-7" in problem.what
    (home / "wayland-7").write_text("no socket")
    assert display_problem("linux", environ) == problem
    session_only = display_problem("linux", {"XDG_RUNTIME_DIR": str(home), "XDG_SESSION_TYPE": "wayland"})
    assert session_only is not None
    assert "wayland-0" in session_only.what


@linux_only
def test_a_wayland_desktop_is_enough(wayland: Path) -> None:
    for environ in (
        {"WAYLAND_DISPLAY": str(wayland)},
        {"XDG_RUNTIME_DIR": str(wayland.parent), "WAYLAND_DISPLAY": wayland.name, "DISPLAY": ":99"},
        {"WAYLAND_SOCKET": "7", "QT_QPA_PLATFORM": "wayland"},
    ):
        assert display_problem("linux", environ) is None


@needs_desktop
async def test_an_x_server_is_enough_beside_a_dead_wayland(session: SessionBus) -> None:
    display = session.environ["DISPLAY"]
    assert display_problem("linux", {"DISPLAY": display}) is None
    assert display_problem("linux", {"DISPLAY": display, "WAYLAND_DISPLAY": "wayland-77"}) is None


@needs_desktop
async def test_a_server_that_lets_nobody_in_is_told_apart_from_a_dead_one(
    session: SessionBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(display_module, "x_lets_in", lambda display: False)
    problem = display_problem("linux", {"DISPLAY": session.environ["DISPLAY"]})
    assert problem is not None
    assert "let this user in" in problem.what


# Libraries


@pytest.mark.parametrize("library", sorted(PACKAGES))
def test_a_missing_library_is_named_with_its_packages(tmp_path: Path, library: str) -> None:
    def load(path: str) -> object:
        raise OSError(f"{library}: cannot open shared object file: No such file or directory")

    problem = library_problem(tmp_path / "libqxcb.so", load=load)
    assert problem is not None
    assert library in problem.what
    assert all(package in problem.remedy for package in PACKAGES[library])


def test_another_fault_of_the_loader_is_passed_on(tmp_path: Path) -> None:
    def load(path: str) -> object:
        raise OSError("/lib/libc.so.6: version `GLIBC_2.38' not found")

    problem = library_problem(tmp_path / "libqxcb.so", load=load)
    assert problem is not None
    assert "GLIBC_2.38" in problem.what


def test_a_pyside_that_keeps_its_plugins_elsewhere_is_trusted() -> None:
    assert library_problem(None) is None


# The real program


def test_without_a_display_it_says_what_to_do(tmp_path: Path) -> None:
    if sys.platform == "linux":
        check_said(run_desktop(tmp_path), "DISPLAY")


@linux_only
def test_with_a_dead_x_display_it_says_so(tmp_path: Path) -> None:
    check_said(run_desktop(tmp_path, DISPLAY=":99"), "No X server answers at DISPLAY=:99")


@linux_only
def test_with_a_dead_wayland_display_it_says_so(tmp_path: Path) -> None:
    done = run_desktop(tmp_path, WAYLAND_DISPLAY="wayland-9", XDG_RUNTIME_DIR=str(tmp_path))
    check_said(done, "WAYLAND_DISPLAY=wayland-9")


@pytest.mark.slow
@needs_desktop
@pytest.mark.parametrize("library", ["libxcb-cursor.so.0", "libxkbcommon-x11.so.0", "libxcb-icccm.so.4"])
async def test_with_a_library_missing_it_names_the_package_on_stderr_and_on_the_desktop(
    home: Path, session: SessionBus, library: str
) -> None:
    """An empty file stands in the library's place: the loader takes it for the library, and fails."""
    hidden = home / "lib"
    hidden.mkdir()
    (hidden / library).touch()
    async with FakeNotificationServer(session.address) as server:
        done = await asyncio.to_thread(run_desktop, home, LD_LIBRARY_PATH=str(hidden), **session.environ)
        check_said(done, library, PACKAGES[library][0])
        (message,) = server.shown
        assert PACKAGES[library][0] in message.body
        assert "titan " not in message.body


@pytest.mark.slow
@needs_desktop
@pytest.mark.skipif(shutil.which("xauth") is None, reason="not installed: xauth")
async def test_with_a_server_that_refuses_it_says_so(home: Path) -> None:
    """A server that asks for a cookie which we don't have."""
    cookie = home / "cookie"
    command = ["xauth", "-f", str(cookie), "add", ":0", ".", os.urandom(16).hex()]
    await asyncio.to_thread(subprocess.run, command, check=True, timeout=20)
    async with SessionBus(home, server_arguments=("-auth", str(cookie))) as session:
        environ = {**session.environ, "XAUTHORITY": str(home / "none")}
        done = await asyncio.to_thread(run_desktop, home, **environ)
        assert done.returncode == 1
        assert "let this user in" in done.stderr
        assert "qt.qpa" not in done.stderr
