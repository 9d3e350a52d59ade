"""What the engines' HTTP side does with connections that break before an answer, whichever client is below it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from core.engines.http import MOST_MODELS, EngineHttp, count_of, is_name
from core.engines.ollama_wire import read_loaded, read_models
from core.errors import EngineFailed, EngineUnreachable

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class BreakingServer:
    """Reads each request whole, and breaks the connection instead of an answer the first `breaks` times."""

    def __init__(self, breaks: int, *, with_reset: bool) -> None:
        self.breaks = breaks
        self.with_reset = with_reset  # RST, which a client sees as ECONNRESET or EPIPE; else a clean end
        self.requests = 0
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        self.requests += 1
        if self.requests > self.breaks:
            writer.write(ANSWER)
            await writer.drain()
        elif self.with_reset:
            linger = b"\x01\0\0\0\0\0\0\0"  # struct linger: on, 0 seconds
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
            return
        writer.close()


@asynccontextmanager
async def http_to(server: BreakingServer) -> AsyncIterator[EngineHttp]:
    async with await asyncio.start_server(server.answer, "127.0.0.1", 0) as listener:
        server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        http = EngineHttp(server.url, engine="Ollama", remedy="Start it.")
        yield http
        await http.close()


@pytest.mark.parametrize("with_reset", [False, True])
async def test_connection_that_breaks_before_an_answer_is_tried_once_more(with_reset: bool) -> None:
    server = BreakingServer(1, with_reset=with_reset)
    async with http_to(server) as http:
        response = await http.open_stream("/api/chat", {"a": 1})
        assert response.status == 200
        response.close()
    assert server.requests == 2


@pytest.mark.parametrize("with_reset", [False, True])
async def test_connection_that_always_breaks_is_given_up(with_reset: bool) -> None:
    server = BreakingServer(100, with_reset=with_reset)
    async with http_to(server) as http:
        with pytest.raises(EngineFailed, match="closed the connection without an answer"):
            await http.open_stream("/api/chat", {"a": 1})
    assert server.requests == 2


async def test_nobody_who_listens_is_unreachable() -> None:
    async with http_to(BreakingServer(0, with_reset=False)) as listening:
        url = listening.base_url
    http = EngineHttp(url, engine="Ollama", remedy="Start it.")
    with pytest.raises(EngineUnreachable) as caught:
        await http.open_stream("/api/chat", {"a": 1})
    await http.close()
    assert caught.value.hint == "Start it."


@pytest.mark.parametrize("value", [10**400, -1, 1.5, True, "7", None, [], float("inf")])
def test_a_figure_that_is_none_is_unknown(value: object) -> None:
    """A size that fits no float would end the agent where it is divided, one that fits no database the ledger."""
    assert count_of(value) is None
    assert count_of(7) == 7


@pytest.mark.parametrize(
    "name", ["", "two\nlines", "\x1b[2Jclear", "right\u202eleft", "half\ud83d", "x" * 513, 3, None]
)
def test_what_nobody_could_show_or_ask_for_is_no_name(name: object) -> None:
    assert not is_name(name)
    assert is_name("Llama 3.2 (3B):q4_K_M – é")


def test_what_engines_tell_of_models_is_bounded() -> None:
    odd: dict[str, Any] = {"name": "two\nlines", "size": 1}
    huge: dict[str, Any] = {"name": "tiny", "size": 10**400, "size_vram": 10**400, "context_length": 10**400}
    huge["details"] = {"context_length": 10**400}
    (listed,) = read_models({"models": [odd, huge]})
    assert (listed.name, listed.size_bytes, listed.context_tokens) == ("tiny", None, None)
    many = read_models({"models": [{"name": f"m{number}"} for number in range(MOST_MODELS + 10)]})
    assert len(many) == MOST_MODELS
    (loaded,) = read_loaded({"models": [huge]})
    assert (loaded.total_mb, loaded.vram_mb, loaded.context_tokens) == (None, None, None)
