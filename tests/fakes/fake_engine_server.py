"""What the fake engines share: an aiohttp server on 127.0.0.1:0, scripted faults, and a record of what was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

from aiohttp import web


class Fault(StrEnum):
    """What goes wrong while an answer is streamed. "Mid" is after `fault_after` tokens."""

    NONE = "none"
    ERROR_LINE = "error line mid-answer"
    EARLY_END = "a clean end mid-answer, without the last line"
    GARBAGE = "a line that is no JSON mid-answer"
    WRONG_SHAPE = "JSON of another form mid-answer"
    HANG_AT_START = "nothing at all: Ollama and llama-server send their headers with the first token"
    HANG_AFTER_HEADERS = "headers, then nothing"
    HANG_MID = "nothing more mid-answer"
    RESET = "connection reset mid-answer"
    RESET_AT_START = "connection closed without an answer"
    WRONG_TYPE = "200 with an HTML page"
    BROKEN_HEAD = "what comes first is no HTTP"
    BROKEN_CHUNK = "what comes mid-answer is no chunk of HTTP"


@dataclass(frozen=True)
class Asked:
    """One request as the fake got it."""

    method: str
    path: str
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


class FakeEngineServer:
    """Base of the fakes. Use as `async with FakeOllama() as fake`.

    `answer` is a list of pieces, one token each. With `pace()` each token waits for `let_through(n)`.
    `disconnected` is set when a client leaves before its answer is whole; `streaming` when an answer has begun.
    """

    def __init__(self) -> None:
        self.answer = ["Hel", "lo", ", ", "wörld", " <b>", "\n"]
        self.thinking: list[str] = []
        self.finish = "stop"
        self.fault = Fault.NONE
        self.fault_after = 2
        self.fault_passes = False  # a RESET_AT_START happens only once
        self.fault_line = ""  # what a faulty line says or holds; "" for the usual words
        self.error_answer: tuple[int, Any] | None = None  # (status, JSON body) instead of any streamed answer
        self.tokens_per_write = 1
        self.is_stuck = False  # takes requests and answers none, as a stopped process does
        self.splits_lines = False  # every write arrives in two halves
        self.ends_late = False  # the end of the HTTP body comes after the last line has been read
        self.asked: list[Asked] = []
        self.disconnected = asyncio.Event()
        self.streaming = asyncio.Event()
        self.connections = 0
        self._pace: asyncio.Semaphore | None = None
        self._runner: web.AppRunner | None = None
        self._hang = asyncio.Event()  # never set
        self._peers: set[Any] = set()
        self._streaming_on: set[asyncio.Transport] = set()
        self.url = ""

    def pace(self) -> None:
        self._pace = asyncio.Semaphore(0)

    def let_through(self, tokens: int) -> None:
        assert self._pace is not None
        for _ in range(tokens):
            self._pace.release()

    def bodies(self, path: str) -> list[Any]:
        return [asked.body for asked in self.asked if asked.path == path]

    def routes(self) -> list[web.RouteDef]:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        await self._listen(0)
        return self

    async def start_again(self) -> None:
        """After `stop`: on the same port, as a restarted engine."""
        await self._listen(int(self.url.rpartition(":")[2]))

    async def _listen(self, port: int) -> None:
        app = web.Application(middlewares=[self._note])
        app.add_routes(self.routes())
        # handler_cancellation: a client that leaves cancels its handler, as Go and llama-server notice it at once.
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Close the port and all connections; the address then refuses connections."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            for transport in tuple(self._streaming_on):
                transport.abort()  # cancels its handler; the clean-up would wait for an answer that hangs
            await runner.cleanup()

    @web.middleware
    async def _note(self, request: web.Request, handler: Any) -> web.StreamResponse:
        peer = request.transport.get_extra_info("peername") if request.transport else None
        self._peers.add(peer)
        self.connections = len(self._peers)
        body = await request.json() if request.can_read_body else None
        self.asked.append(Asked(request.method, request.path, body, dict(request.headers)))
        if self.is_stuck:
            await self._hang.wait()
        response: web.StreamResponse = await handler(request)
        return response

    async def stream_pieces(
        self, request: web.Request, *, content_type: str, pieces: list[bytes], end: bytes, error_line: bytes
    ) -> web.StreamResponse:
        """Send `pieces` (one token each) and `end`, or what the scripted fault says."""
        transport = request.transport
        assert transport is not None
        if self.fault is Fault.RESET_AT_START:
            transport.abort()
            if self.fault_passes:
                self.fault = Fault.NONE
            return web.Response()
        if self.fault is Fault.WRONG_TYPE:
            return web.Response(text=f"<html>a login page{self.fault_line}</html>", content_type="text/html")
        if self.fault is Fault.BROKEN_HEAD:
            transport.write(f"{self.fault_line} is no status line\r\n\r\n".encode())
            transport.close()
            return web.Response()
        response = web.StreamResponse(headers={"Content-Type": content_type})
        self._streaming_on.add(transport)
        try:
            self.streaming.set()
            if self.fault is Fault.HANG_AT_START:
                await self._hang.wait()
            await response.prepare(request)
            await self._send(response, transport, pieces, end, error_line)
        except (asyncio.CancelledError, ConnectionResetError):
            self.disconnected.set()
            raise
        finally:
            self._streaming_on.discard(transport)
        return response

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        if not self.splits_lines:
            await response.write(data)
            return
        for part in (data[: len(data) // 2], data[len(data) // 2 :]):
            await response.write(part)
            await _let_the_client_read()  # the first half, before the second is written

    async def _send(
        self, response: web.StreamResponse, transport: asyncio.Transport, pieces: list[bytes], end: bytes, line: bytes
    ) -> None:
        if self.fault is Fault.HANG_AFTER_HEADERS:
            await self._hang.wait()
        is_faulty = self.fault is not Fault.NONE
        cut = pieces[: self.fault_after] if is_faulty else pieces
        for start in range(0, len(cut), self.tokens_per_write):
            group = cut[start : start + self.tokens_per_write]
            if self._pace is not None:
                for _ in group:
                    await self._pace.acquire()
            await self._write(response, b"".join(group))
        if self.fault is Fault.HANG_MID:
            await self._hang.wait()
        elif self.fault is Fault.RESET:
            transport.abort()
        elif self.fault is Fault.BROKEN_CHUNK:
            transport.write(f"{self.fault_line} is no chunk size\r\n".encode())
            transport.close()
        elif self.fault in (Fault.ERROR_LINE, Fault.GARBAGE, Fault.WRONG_SHAPE):
            await response.write(line)
        elif self.fault is Fault.NONE:
            await response.write(end)
            if self.ends_late:
                await _let_the_client_read()


async def _let_the_client_read() -> None:
    """A client in the same loop reads what was written."""
    for _ in range(5):
        await asyncio.sleep(0)
