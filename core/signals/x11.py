"""A connection to the X server on this machine that asks a few questions, with a time limit for each answer.

The protocol itself, and no library: Xlib ends the whole program when its server goes away, and python-xlib takes 6 MB
and 36 ms. Source of the layouts: "X Window System Protocol" (X.Org, version 11) and "MIT-SCREEN-SAVER" 1.1.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

ANSWER_LIMIT_S = 0.8
_COOKIE = b"MIT-MAGIC-COOKIE-1"
_DISPLAY = re.compile(r"(?:unix)?:(\d+)(?:\.\d+)?\Z")  # on this machine; "localhost:10" is one behind ssh
_FAMILY_LOCAL, _FAMILY_WILD = 256, 65535
_QUERY_EXTENSION, _INTERN_ATOM, _GET_PROPERTY = 98, 16, 20
_ERROR, _REPLY = 0, 1
_MAX_PROPERTY_WORDS = 1024


class XProblem(OSError):
    """The X server doesn't answer, or answers with an error."""


class XRefusal(XProblem):
    """It answers, and says no: the window is gone, say. The connection goes on."""


def x_session_problem(environ: Mapping[str, str]) -> str:
    """Why this isn't a desktop session of X on this machine, as a sentence; "" when it is one."""
    if environ.get("WAYLAND_DISPLAY") or environ.get("XDG_SESSION_TYPE", "").lower() == "wayland":
        return "This is a Wayland session: X only sees a part of it."
    display = environ.get("DISPLAY", "")
    if not display:
        return "No desktop session was found."
    if not _DISPLAY.match(display):
        return f"The display {display} is on another machine."
    return ""


@dataclass(frozen=True, slots=True)
class Property:
    """A window's property with 32 bits a value. `type` 0: the window doesn't have it."""

    type: int
    values: tuple[int, ...]


class XConnection:
    """Open with `XConnection.open(environ)`. Every call may raise XProblem; then close it. Not thread-safe."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._atoms: dict[str, int] = {}
        self._screen_saver: int | None = None
        self._asked = 0
        self.root = 0

    @classmethod
    def open(cls, environ: Mapping[str, str]) -> Self:
        match = _DISPLAY.match(environ.get("DISPLAY", ""))
        if match is None:
            raise XProblem("DISPLAY names no display on this machine")
        connection = cls(_connect(match[1]))
        try:
            connection._greet(_cookie(match[1], environ))
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        self._stream.close()

    def idle_ms(self) -> int:
        """Since the last input of any kind. Raises XRefusal when the server has no screen saver extension."""
        if self._screen_saver is None:
            name = b"MIT-SCREEN-SAVER"
            answer = self._ask(_QUERY_EXTENSION, 0, struct.pack("<H2x", len(name)) + _padded(name))
            self._screen_saver = answer[9] if answer[8] else 0
        if not self._screen_saver:
            raise XRefusal("the X server has no screen saver extension")
        answer = self._ask(self._screen_saver, 1, struct.pack("<I", self.root))
        return int(struct.unpack_from("<I", answer, 16)[0])

    def property(self, window: int, name: str) -> Property:
        body = struct.pack("<IIIII", window, self.atom(name), 0, 0, _MAX_PROPERTY_WORDS)
        answer = self._ask(_GET_PROPERTY, 0, body)
        bits, kind, count = answer[1], *struct.unpack_from("<I4xI", answer, 8)
        values = struct.unpack_from(f"<{count}I", answer, 32) if bits == 32 else ()
        return Property(kind, values)

    def atom(self, name: str) -> int:
        """A name's number; it is made where nobody has used the name yet."""
        if name not in self._atoms:
            text = name.encode()
            answer = self._ask(_INTERN_ATOM, 0, struct.pack("<H2x", len(text)) + _padded(text))
            self._atoms[name] = struct.unpack_from("<I", answer, 8)[0]
        return self._atoms[name]

    def _greet(self, cookie: bytes) -> None:
        name = _COOKIE if cookie else b""
        head = struct.pack("<BxHHHH2x", ord("l"), 11, 0, len(name), len(cookie))
        self._send(head + _padded(name) + _padded(cookie))
        status, length = struct.unpack("<B5xH", self._receive(8))
        body = self._receive(4 * length)
        if status != 1:
            raise XProblem("the X server refuses the connection")
        vendor_bytes, formats = struct.unpack_from("<H3xB", body, 16)
        first_screen = 32 + len(_padded(bytes(vendor_bytes))) + 8 * formats
        self.root = struct.unpack_from("<I", body, first_screen)[0]

    def _ask(self, opcode: int, detail: int, body: bytes) -> bytes:
        """The whole reply, its 32 bytes of head included."""
        self._asked = (self._asked + 1) & 0xFFFF
        self._send(struct.pack("<BBH", opcode, detail, 1 + len(body) // 4) + body)
        while True:
            head = self._receive(32)
            kind, code, sequence, extra = struct.unpack_from("<BBHI", head)
            if kind == _REPLY:
                head += self._receive(4 * extra)
            if kind in (_ERROR, _REPLY) and sequence == self._asked:
                break  # the rest are events, which every client gets a few of
        if kind == _ERROR:
            raise XRefusal(f"the X server answers with error {code}")
        return head

    def _send(self, data: bytes) -> None:
        with _as_problem():
            self._stream.sendall(data)

    def _receive(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            with _as_problem():
                part = self._stream.recv(count - len(data))
            if not part:
                raise XProblem("the X server has closed the connection")
            data += part
        return data


@contextlib.contextmanager
def _as_problem() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise XProblem("the X server does not answer") from error
    except OSError as error:
        raise XProblem(f"the X server is away: {error}") from error


def _connect(number: str) -> socket.socket:
    """To the server's socket: on Linux it has a name outside of the file system too, which a sandbox may hide."""
    path = f"/tmp/.X11-unix/X{number}"  # noqa: S108 (where every X server puts it)
    failure: OSError | None = None
    for address in (path, f"\0{path}"):
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stream.settimeout(ANSWER_LIMIT_S)
        try:
            stream.connect(address)
        except OSError as error:
            stream.close()
            failure = failure or error
        else:
            return stream
    raise XProblem(f"the X server is away: {failure}") from failure


def _cookie(number: str, environ: Mapping[str, str]) -> bytes:
    """What proves to the server that we belong to its user; b"" where it wants none."""
    path = Path(environ.get("XAUTHORITY") or Path(environ.get("HOME") or Path.home()) / ".Xauthority")
    try:
        data = path.read_bytes()
    except OSError:
        return b""
    host = os.uname().nodename.encode()
    for family, address, display, name, cookie in _entries(data):
        is_ours = family == _FAMILY_WILD or (family == _FAMILY_LOCAL and address == host)
        if is_ours and display in (b"", number.encode()) and name == _COOKIE:
            return cookie
    return b""


def _entries(data: bytes) -> Iterator[tuple[int, bytes, bytes, bytes, bytes]]:
    """The entries of an Xauthority file: family, address, display, name, data. A damaged rest is left out."""
    at = 0
    while at + 2 <= len(data):
        family = int.from_bytes(data[at : at + 2], "big")
        at += 2
        parts = []
        for _ in range(4):
            size = int.from_bytes(data[at : at + 2], "big")
            parts.append(data[at + 2 : at + 2 + size])
            at += 2 + size
        if at <= len(data):
            yield family, parts[0], parts[1], parts[2], parts[3]


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
