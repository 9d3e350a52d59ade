"""One HTTP/1.1 answer, read as it arrives: strict, bounded, and knowing exactly when it is whole. No I/O in here.

httptools (llhttp, the parser of uvicorn and Node) takes the bytes apart. What it leaves open is decided here: only
bodies whose end is certain, no codings but "chunked", nothing after the end, and limits on all that is held.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

MAX_HEAD_BYTES = 32 << 10  # of head, trailers, and whatever else comes without a byte of the body
MAX_BUFFERED_BYTES = 64 << 10  # of the body, that nobody has taken yet: beyond it the socket isn't read

_BODILESS = (204, 304)
_SWITCHING_PROTOCOLS = 101


class NotHttp(ConnectionError):
    """What came is no HTTP/1.x answer, or one of a kind that isn't taken here. Never holds what came."""


class ClosedEarly(ConnectionError):
    """The connection ended before the answer was whole."""


class NotConnected(OSError):
    """There was no connection to begin with: refused, no route, no such name, or too slow to come."""


class Answer(Protocol):
    """What an engine reads an answer with, whichever client asked; `StreamAnswer` says what each means."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def content_type(self) -> str: ...

    @property
    def is_at_end(self) -> bool: ...

    async def read(self) -> bytes: ...

    def close(self) -> None: ...


class StreamAnswer:
    """Status, headers, and a body that is read piece by piece: whatever has arrived together comes together.

    `hold` stops (True) and resumes (False) the socket. `leave` is called once, when nobody wants this answer any more,
    with whether its connection can serve another request. All on one loop: the connection feeds, a task reads.
    """

    def __init__(self, hold: Callable[[bool], None], leave: Callable[[bool], None]) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}  # names in lower case; of a name that comes twice the last one
        self.has_begun = False  # a byte has come
        self._hold = hold
        self._leave: Callable[[bool], None] | None = leave
        self._parser = HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._buffered = 0
        self._overhead = 0  # bytes since the last one of the body
        self._head_bytes = 0
        self._has_head = False
        self._is_interim = False  # a 1xx answer is being read
        self._is_whole = False
        self._is_held = False
        self._is_kept = False  # the connection can serve again, once the answer is whole
        self._ends_with_connection = False
        self._error: OSError | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def content_type(self) -> str:
        """Without parameters, in lower case; "application/octet-stream" when the server names none (RFC 9110, 8.3)."""
        return self.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()

    @property
    def is_at_end(self) -> bool:
        """The answer is whole, and all of it has been read."""
        return self._is_whole and not self._parts

    async def wait_head(self) -> None:
        """Return once status and headers are there. Raises OSError (ClosedEarly, NotHttp, the system's own)."""
        while not self._has_head:
            if self._error is not None:
                raise self._error
            await self._wait()

    async def read(self) -> bytes:
        """Everything that has arrived since the last call, waiting for the first of it; b"" at the end.

        Raises OSError (ClosedEarly, NotHttp, the system's own) after all that came before the fault has been given.
        """
        parts = self._parts
        while not parts:
            if self._is_whole:
                return b""
            if self._error is not None:
                raise self._error
            await self._wait()
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._buffered = 0
        if self._is_held:
            self._is_held = False
            self._hold(False)
        return data

    def close(self) -> None:
        """Done with it, at whatever point: a connection in the middle of an answer is closed at once."""
        leave, self._leave = self._leave, None
        if leave is not None:
            leave(self._is_whole and self._is_kept and not self._parts)
            if self._error is None and not self._is_whole:
                self._error = ClosedEarly("the answer was given up")
            del self._parser  # it holds our methods, and so us: freed now, and not by the collector

    # The connection's side

    def feed(self, data: bytes) -> None:
        """Take what the socket gave."""
        self.has_begun = True
        if self._error is not None:
            return
        before = self._buffered
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._refuse(type(error).__name__)
        if self._buffered == before:
            self._overhead += len(data)
            if self._overhead > MAX_HEAD_BYTES:
                self._refuse("a head without end")
        else:
            self._overhead = 0
            if self._buffered > MAX_BUFFERED_BYTES and not self._is_held and not self._is_whole:
                self._is_held = True
                self._hold(True)
        self._wake()

    def lose(self, error: BaseException | None) -> None:
        """The connection is gone: closed by the other side (None), or broken."""
        if not self._is_whole and self._error is None:
            if error is None and self._has_head and self._ends_with_connection:
                self._is_whole = True
            else:
                self._error = error if isinstance(error, OSError) else ClosedEarly("closed before the answer was whole")
        self._is_kept = False
        self._wake()

    # What httptools calls

    def on_message_begin(self) -> None:
        if self._is_whole:
            raise NotHttp("bytes after the end of the answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD_BYTES:
            raise NotHttp("too many headers")
        if not self._has_head:  # trailers are read over
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1").strip()

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != _SWITCHING_PROTOCOLS:
            self._is_interim = True
            self.headers.clear()
            return
        if status == _SWITCHING_PROTOCOLS or self._parser.get_http_version() not in ("1.1", "1.0"):
            raise NotHttp("another protocol")
        headers = self.headers
        if headers.get("transfer-encoding", "chunked").lower() != "chunked":
            raise NotHttp("an unknown transfer coding")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise NotHttp("a content coding that was not asked for")
        has_length = "content-length" in headers or "transfer-encoding" in headers or status in _BODILESS
        self._ends_with_connection = not has_length
        self._is_kept = self._parser.should_keep_alive()
        self.status = status
        self._has_head = True

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)
        self._buffered += len(part)

    def on_message_complete(self) -> None:
        if self._is_interim:
            self._is_interim = False
        else:
            self._is_whole = True

    def _refuse(self, why: str) -> None:
        self._is_kept = False
        if not self._is_whole:  # a whole answer stands, whatever comes after it
            self._error = NotHttp(why)
        self._hold(True)  # for good: the connection is closed when this answer is

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
