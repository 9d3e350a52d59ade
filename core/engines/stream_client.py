"""A small HTTP/1.1 client for engines behind plain http: one request at a time on each of its connections.

It exists for its cost beside aiohttp, which serves https: figures in docs/performance.md. No TLS, no proxies, no
redirects, no cookies; the parser is httptools.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

from core.engines.stream_answer import ClosedEarly, NotConnected, StreamAnswer

MAX_IDLE = 64  # kept connections; more sessions than that don't end at the same moment
_PRINTABLE = re.compile(r"[\t\x20-\x7e]+")
_HAPPY_EYEBALLS_S = 0.25  # RFC 8305, as aiohttp has it: a name's first address may be one where nobody answers


class StreamClient:
    """One server's connections, kept for `idle_limit_s` after an answer. All on one loop; `close` ends them.

    `host` is a name or an address (IPv6 without brackets), `headers` go with every request.
    """

    def __init__(
        self, host: str, port: int, *, headers: Mapping[str, str], connect_limit_s: float, idle_limit_s: float
    ) -> None:
        self._host, self._port = host, port
        self._connect_limit_s = connect_limit_s
        self._idle_limit_s = idle_limit_s
        shown_host = f"[{host}]" if ":" in host else host
        lines = {"Host": shown_host if port == 80 else f"{shown_host}:{port}", "Accept": "*/*", **headers}
        self._header_lines = "".join(f"{_checked(name)}: {_checked(value)}\r\n" for name, value in lines.items())
        self._open: set[_Connection] = set()
        self._idle: deque[_Connection] = deque()  # the one used last at the right
        self._sweeper: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._all_closed = asyncio.Event()

    async def ask(self, method: str, target: str, body: bytes = b"", *, is_retry: bool = False) -> StreamAnswer:
        """Send one request and wait for the head of its answer. The caller calls `close()` on the answer, always.

        `target` is path and query, percent-encoded. Raises OSError: NotConnected, NotHttp, ClosedEarly, or the system's
        own. A kept connection may have been closed by the server at that very moment: `is_retry` takes a new one.
        """
        head = f"{method} {_checked(target)} HTTP/1.1\r\n{self._header_lines}Content-Length: {len(body)}\r\n\r\n"
        kept = self._idle.pop() if self._idle and not is_retry else None  # the one used last: the likeliest to be open
        connection = kept or await self._connect()
        return await connection.ask(head.encode("latin-1") + body)

    async def close(self) -> None:
        """Close every connection, those in the middle of an answer too."""
        self._is_closed = True
        self._stop_sweeper()
        for connection in tuple(self._open):
            connection.abort()
        if self._open:
            await self._all_closed.wait()

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {}
        if isinstance(loop, asyncio.BaseEventLoop):  # uvloop tries every address in turn
            options["happy_eyeballs_delay"] = _HAPPY_EYEBALLS_S
        connection: _Connection
        try:
            async with asyncio.timeout(self._connect_limit_s):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self), self._host, self._port, **options
                )
        except (OSError, UnicodeError) as error:  # UnicodeError: a name that no resolver takes
            raise NotConnected(type(error).__name__) from None
        if self._is_closed:
            connection.abort()
        return connection

    # What a connection tells

    def opened(self, connection: _Connection) -> None:
        self._open.add(connection)

    def lost(self, connection: _Connection) -> None:
        self._open.discard(connection)
        with suppress(ValueError):
            self._idle.remove(connection)
        if self._is_closed and not self._open:
            self._all_closed.set()

    def freed(self, connection: _Connection) -> None:
        """Its answer is whole and read: keep it for a while."""
        if self._is_closed or self._idle_limit_s <= 0 or len(self._idle) >= MAX_IDLE:
            connection.abort()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweep_in(self._idle_limit_s)

    def _sweep_in(self, seconds: float) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(seconds, self._sweep)

    def _sweep(self) -> None:
        """Close what has been idle too long; one timer for all."""
        self._sweeper = None
        oldest_allowed = asyncio.get_running_loop().time() - self._idle_limit_s
        while self._idle and self._idle[0].idle_since <= oldest_allowed:
            self._idle.popleft().abort()
        if self._idle:
            self._sweep_in(max(0.05, self._idle[0].idle_since - oldest_allowed))

    def _stop_sweeper(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None


class _Connection(asyncio.Protocol):
    """One socket and the answer that it carries at the moment, if any."""

    def __init__(self, client: StreamClient) -> None:
        self.idle_since = 0.0  # loop time; when the last answer was done with
        self._client = client
        self._answer: StreamAnswer | None = None
        self._transport: asyncio.Transport

    async def ask(self, request: bytes) -> StreamAnswer:
        answer = self._answer = StreamAnswer(self._hold, self._leave)
        try:
            if self._transport.is_closing():
                raise ClosedEarly("closed before the request was sent")
            self._transport.write(request)
            await answer.wait_head()
        except BaseException:
            answer.close()
            raise
        return answer

    def abort(self) -> None:
        """Close at once, whatever is still to be sent: the server learns that nobody listens any more."""
        self._transport.abort()

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._client.opened(self)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is not None:
            answer.feed(data)
        else:  # nobody asked
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._client.lost(self)
        if self._answer is not None:
            self._answer.lose(error)

    # What the answer calls

    def _hold(self, is_held: bool) -> None:
        if is_held:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _leave(self, is_reusable: bool) -> None:
        self._answer = None
        if is_reusable and not self._transport.is_closing():
            self._client.freed(self)
        else:
            self.abort()


def _checked(text: str) -> str:
    """What may stand in a request's head. Raises ValueError: a line break would begin another header."""
    if _PRINTABLE.fullmatch(text) is None:
        raise ValueError("a header or address holds characters that HTTP doesn't allow")
    return text
