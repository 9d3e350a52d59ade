"""A TCP server for tests of an HTTP client: it reads a request whole, then a script of the test answers with bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

Respond = Callable[[asyncio.StreamWriter], Awaitable[None]]


async def answer_ok(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


class RawHttpServer:
    """Use as `async with RawHttpServer() as server`. `respond` may be replaced between requests."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.port = 0
        self.respond: Respond = answer_ok
        self.requests: list[bytes] = []  # head and body
        self.connections = 0
        self.open_connections = 0
        self.changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._begin, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def wait_open(self, connections: int) -> None:
        """Until so many connections are open."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.open_connections == connections)

    async def wait_requests(self, count: int) -> None:
        """Until so many requests have come."""
        async with self.changed:
            await self.changed.wait_for(lambda: len(self.requests) == count)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await self._count(1)
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")
                )
                self.requests.append(head + await reader.readexactly(length))
                await self._count(0)
                await self._respond_while_open(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has closed
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            await self._count(-1)

    async def _respond_while_open(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Run the script, or as much of it as the client stays for."""
        responding = asyncio.ensure_future(self.respond(writer))
        watching = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait([responding, watching], return_when=asyncio.FIRST_COMPLETED)
            if watching.done() and not responding.done():
                raise ConnectionError("the client has closed")
            await responding
        finally:
            for task in (responding, watching):
                task.cancel()
            await asyncio.gather(responding, watching, return_exceptions=True)

    async def _count(self, change: int) -> None:
        self.open_connections += change
        async with self.changed:
            self.changed.notify_all()
