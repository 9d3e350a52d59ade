"""A desktop session of X: the server's own count of idle time, and the window that fills the screen.

Against a real server (Xvfb), a real window manager (openbox), and servers of our own that misbehave.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.signals import FullScreen, Unknown
from core.signals import x11 as x11_module
from core.signals.full_screen import XFullScreen, full_screen_probe, name_of_own_process
from core.signals.idle import BusIdle, XIdle, idle_probe
from core.signals.not_told import NotTold
from core.signals.x11 import XConnection, XRefusal, x_session_problem
from tests.fakes.polling import until
from tests.fakes.session_bus import SessionBus, missing_programs

needs_server = pytest.mark.skipif(missing_programs() != "", reason=missing_programs())
needs_xdotool = pytest.mark.skipif(shutil.which("xdotool") is None, reason="not installed: xdotool")
needs_window_manager = pytest.mark.skipif(shutil.which("openbox") is None, reason="not installed: openbox")

HOST = os.uname().nodename.encode() if sys.platform != "win32" else b""
NO_MANAGER = Unknown("No window manager tells which window is in front.")
FULL_SCREEN_WINDOW = """
import sys
from PySide6.QtWidgets import QApplication, QWidget
app = QApplication([])
window = QWidget()
window.setWindowTitle("a title that nobody may read")
if sys.argv[1] == "full":
    window.showFullScreen()
else:
    window.show()
app.exec()
"""


def environ(number: int | str) -> dict[str, str]:
    return {"DISPLAY": f":{number}", "HOME": os.environ["HOME"]}


@pytest.fixture
async def session() -> AsyncIterator[SessionBus]:
    async with SessionBus(Path(os.environ["XDG_RUNTIME_DIR"])) as session:
        yield session


@contextmanager
def running(session: SessionBus, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program of that session, ended by id."""
    process = subprocess.Popen(command, env={**os.environ, **session.environ}, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@needs_server
@needs_xdotool
async def test_mouse_and_keyboard_end_the_idle_time(session: SessionBus) -> None:
    probe = XIdle(session.environ)

    def idle_s() -> float:
        value = probe.read()
        assert isinstance(value, float)
        return value

    for hand in (("mousemove_relative", "7", "7"), ("key", "a")):
        await until(lambda: idle_s() > 0.25)
        before = idle_s()
        await asyncio.to_thread(
            subprocess.run, ["xdotool", *hand], env={**os.environ, **session.environ}, check=True, timeout=20
        )
        assert idle_s() < before
    probe.close()


@needs_server
async def test_server_that_went_away_is_unknown_and_a_new_one_is_found(session: SessionBus) -> None:
    probe = XIdle(session.environ)
    assert isinstance(probe.read(), float)
    await session._end()
    seen = [probe.read(), probe.read()]
    assert all(isinstance(value, Unknown) for value in seen)
    assert "the X server" in seen[0].cause if isinstance(seen[0], Unknown) else False


@needs_server
async def test_server_that_hangs_is_unknown_and_comes_back(
    session: SessionBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(x11_module, "ANSWER_LIMIT_S", 0.05)
    probe = XIdle(session.environ)
    assert isinstance(probe.read(), float)
    server = session._processes[0]
    server.send_signal(signal.SIGSTOP)
    try:
        cause = Unknown("When mouse or keyboard were last used isn't known: the X server does not answer.")
        assert probe.read() == cause
        assert probe.read() == cause  # nor does a new connection get an answer
    finally:
        server.send_signal(signal.SIGCONT)
    await until(lambda: isinstance(probe.read(), float))
    probe.close()


@needs_server
async def test_without_a_window_manager_nothing_tells_what_fills_the_screen(session: SessionBus) -> None:
    probe = XFullScreen(session.environ)
    assert probe.read() == NO_MANAGER
    probe.close()


@pytest.mark.slow
@needs_server
@needs_window_manager
async def test_full_screen_window_is_seen_with_its_program_and_gone_with_it(session: SessionBus) -> None:
    pytest.importorskip("PySide6")
    probe = XFullScreen(session.environ)
    off = FullScreen(is_on=False)
    with running(session, "openbox", "--sm-disable"):
        await until(lambda: probe.read() == off)
        with running(session, sys.executable, "-c", FULL_SCREEN_WINDOW, "plain"):
            await until(lambda: has_active_window(session))
            assert probe.read() == off
        with running(session, sys.executable, "-c", FULL_SCREEN_WINDOW, "full") as program:
            name = name_of_own_process(program.pid)
            assert name.startswith("python")
            await until(lambda: probe.read() == FullScreen(is_on=True, program=name))
        await until(lambda: probe.read() == off)
    await until(lambda: probe.read() == NO_MANAGER)
    probe.close()


def has_active_window(session: SessionBus) -> bool:
    connection = XConnection.open(session.environ)
    with contextlib.closing(connection):
        values = connection.property(connection.root, "_NET_ACTIVE_WINDOW").values
        return bool(values and values[0])


@needs_server
async def test_property_of_a_window_that_is_gone_is_refused_and_the_connection_goes_on(session: SessionBus) -> None:
    with contextlib.closing(XConnection.open(session.environ)) as connection:
        with pytest.raises(XRefusal):
            connection.property(0x7FFFFFF, "_NET_WM_STATE")
        assert connection.property(connection.root, "_NO_SUCH_PROPERTY").type == 0
        assert connection.idle_ms() >= 0


def entry(family: int, address: bytes, number: bytes, cookie: bytes, name: bytes = b"MIT-MAGIC-COOKIE-1") -> bytes:
    parts = (address, number, name, cookie)
    return struct.pack(">H", family) + b"".join(struct.pack(">H", len(part)) + part for part in parts)


@given(st.binary(max_size=200), st.integers(0, 3))
def test_damaged_file_of_cookies_is_read_as_far_as_it_goes(data: bytes, cut: int) -> None:
    good = entry(65535, b"", b"9", b"c" * 16)
    assert next(x11_module._entries(good + data)) == (65535, b"", b"9", b"MIT-MAGIC-COOKIE-1", b"c" * 16)
    assert list(x11_module._entries(good[: -1 - cut])) == []
    list(x11_module._entries(data))  # must only not raise


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({}, "No desktop session was found."),
        ({"DISPLAY": ":0"}, ""),
        ({"DISPLAY": "unix:1.0", "XDG_SESSION_TYPE": "x11"}, ""),
        ({"DISPLAY": "localhost:10.0"}, "The display localhost:10.0 is on another machine."),
        ({"DISPLAY": ":0", "WAYLAND_DISPLAY": "wayland-0"}, "This is a Wayland session: X only sees a part of it."),
        ({"DISPLAY": ":0", "XDG_SESSION_TYPE": "Wayland"}, "This is a Wayland session: X only sees a part of it."),
    ],
)
def test_only_a_real_session_of_x_on_this_machine_is_asked(variables: dict[str, str], problem: str) -> None:
    from core.signals.bus import Bus

    assert x_session_problem(variables) == problem
    idle = idle_probe(Bus("session", ""), variables, system="linux")
    full_screen = full_screen_probe(variables, system="linux")
    assert isinstance(idle, BusIdle if problem else XIdle)
    assert isinstance(full_screen, NotTold if problem else XFullScreen)
    if problem:
        assert full_screen.read() == Unknown(f"{problem} Nothing tells what fills the screen.")


_numbers = itertools.count(os.getpid() + 100_000)


@contextmanager
def server_that_answers(*parts: bytes, heard: list[bytes] | None = None) -> Iterator[dict[str, str]]:
    """A server in the abstract name space that sends these bytes to whoever comes, and then closes."""
    told = [] if heard is None else heard
    number = next(_numbers)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0/tmp/.X11-unix/X{number}")
    listener.listen()

    def serve() -> None:
        with contextlib.suppress(OSError):
            stream, _ = listener.accept()
            with stream:
                for part in parts:
                    told.append(stream.recv(4096))
                    stream.sendall(part)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield environ(number)
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def welcome() -> bytes:
    body = struct.pack("<IIIIHHBB6x4x", 0, 0, 0, 0, 5, 65535, 1, 1) + b"a name".ljust(8)[:8] + bytes(8)
    body += struct.pack("<I36x", 0x2A)
    return struct.pack("<BxHHH", 1, 11, 0, len(body) // 4) + body


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
@pytest.mark.parametrize(
    ("entries", "cookie"),
    [
        ([], b""),
        ([(65535, b"", b"")], b"0" * 16),
        ([(256, b"another machine", b""), (256, HOST, b"")], b"1" * 16),
        ([(256, HOST, b"7"), (0, b"\x7f\0\0\1", b""), (256, HOST, b"{number}")], b"2" * 16),
    ],
)
def test_display_managers_cookie_for_this_display_is_shown(
    tmp_path: Path, entries: list[tuple[int, bytes, bytes]], cookie: bytes
) -> None:
    heard: list[bytes] = []
    with server_that_answers(welcome(), heard=heard) as variables:
        number = variables["DISPLAY"].removeprefix(":").encode()
        file = tmp_path / "cookies"
        file.write_bytes(
            b"".join(
                entry(family, address, display.replace(b"{number}", number), str(which).encode() * 16)
                for which, (family, address, display) in enumerate(entries)
            )
        )
        XConnection.open({**variables, "XAUTHORITY": str(file)}).close()
    name = b"MIT-MAGIC-COOKIE-1" if cookie else b""
    assert heard[0][:12] == struct.pack("<BxHHHH2x", ord("l"), 11, 0, len(name), len(cookie))
    assert heard[0][12:] == name.ljust(20, b"\0")[: 20 if name else 0] + cookie


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
@pytest.mark.parametrize(
    "parts",
    [
        (b"",),
        (b"\x01\x00\x0b\x00\x00\x00\x05\x00half",),
        (struct.pack("<BBHHH", 0, 4, 11, 0, 1) + b"No!!",),
        (welcome(), b"\x01short"),
    ],
)
def test_server_that_breaks_off_is_unknown(parts: tuple[bytes, ...]) -> None:
    with server_that_answers(*parts) as variables:
        value = XIdle(variables).read()
        assert isinstance(value, Unknown)
        assert "the X server" in value.cause


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_events_before_an_answer_are_passed_over() -> None:
    event = struct.pack("<BBH28x", 34, 0, 0)  # MappingNotify: every client gets it
    extension = struct.pack("<BxHIBB22x", 1, 1, 0, 1, 140)
    idle = struct.pack("<BxHIIIII8x", 1, 2, 0, 0, 0, 4711, 0)
    heard: list[bytes] = []
    with server_that_answers(welcome(), event + extension, event + idle, heard=heard) as variables:
        probe = XIdle(variables)
        assert probe.read() == 4.711
        probe.close()
    assert heard[2] == struct.pack("<BBHI", 140, 1, 2, 0x2A)


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_server_without_the_extension_says_so() -> None:
    no_extension = struct.pack("<BxHIB23x", 1, 1, 0, 0)
    with server_that_answers(welcome(), no_extension) as variables:
        probe = XIdle(variables)
        value = probe.read()
        assert isinstance(value, Unknown)
        assert value.cause.endswith("were last used: the X server has no screen saver extension.")
        probe.close()


def test_display_that_nobody_serves_is_unknown() -> None:
    value = XIdle(environ(999_999)).read()
    assert isinstance(value, Unknown)
    assert "the X server is away" in value.cause
    assert isinstance(XFullScreen(environ(999_999)).read(), Unknown)


def test_process_of_another_user_is_not_named() -> None:
    assert name_of_own_process(os.getpid()).startswith("p")
    assert name_of_own_process(2**22 + 1) == ""
    if os.getuid():
        assert name_of_own_process(1) == ""
