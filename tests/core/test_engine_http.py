"""What the engines' HTTP side does with connections that break."""

from __future__ import annotations

import errno
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from core.engines.http import EngineHttp
from core.errors import EngineFailed, EngineUnreachable

KEY = ConnectionKey("127.0.0.1", 9, False, False, None, None, None)
RESET = aiohttp.ClientOSError(errno.ECONNRESET, "Connection reset by peer")
BROKEN = aiohttp.ClientOSError(errno.EPIPE, "Broken pipe")
REFUSED = aiohttp.ClientConnectorError(KEY, ConnectionRefusedError(errno.ECONNREFUSED, "refused"))
RESET_WHILE_CONNECTING = aiohttp.ClientConnectorError(KEY, ConnectionResetError(errno.ECONNRESET, "reset"))
NO_ROUTE = aiohttp.ClientOSError(errno.EHOSTUNREACH, "No route to host")


class BrokenSession:
    """An aiohttp session whose first posts fail."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.posts = 0

    async def post(self, *_: Any, **__: Any) -> str:
        self.posts += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def http_over(session: BrokenSession) -> EngineHttp:
    http = EngineHttp("http://127.0.0.1:9", engine="Ollama", remedy="Start it.")
    http._session = session  # type: ignore[assignment]
    return http


@pytest.mark.parametrize(
    "error", [RESET, BROKEN, aiohttp.ServerDisconnectedError(), ConnectionResetError(), BrokenPipeError()], ids=repr
)
async def test_kept_connection_that_breaks_before_an_answer_is_tried_once_more(error: Exception) -> None:
    session = BrokenSession(error)
    assert str(await http_over(session).open_stream("/api/chat", {})) == "answer"
    always = BrokenSession(error, error, error)
    with pytest.raises(EngineFailed, match="closed the connection without an answer"):
        await http_over(always).open_stream("/api/chat", {})
    assert (session.posts, always.posts) == (2, 2)


@pytest.mark.parametrize("error", [REFUSED, RESET_WHILE_CONNECTING, NO_ROUTE, TimeoutError()], ids=repr)
async def test_connection_that_never_was_is_not_tried_again(error: Exception) -> None:
    session = BrokenSession(error, error)
    with pytest.raises(EngineUnreachable):
        await http_over(session).open_stream("/api/chat", {})
    assert session.posts == 1
