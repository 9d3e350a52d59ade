"""Which client asks an engine, and that both tell the same."""

from __future__ import annotations

import errno
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey, RequestInfo
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from core.engines.aiohttp_client import AiohttpClient, as_os_error
from core.engines.http import EngineHttp, is_address
from core.engines.stream_answer import ClosedEarly, NotConnected, NotHttp
from core.engines.stream_client import StreamClient
from core.errors import EngineFailed, EngineProtocolError, EngineUnreachable
from tests.fakes.fake_ollama import FakeOllama

KEY = ConnectionKey("127.0.0.1", 9, False, False, None, None, None)
RESET = aiohttp.ClientOSError(errno.ECONNRESET, "Connection reset by peer")
BROKEN = aiohttp.ClientOSError(errno.EPIPE, "Broken pipe")
REFUSED = aiohttp.ClientConnectorError(KEY, ConnectionRefusedError(errno.ECONNREFUSED, "refused"))
RESET_WHILE_CONNECTING = aiohttp.ClientConnectorError(KEY, ConnectionResetError(errno.ECONNRESET, "reset"))
NO_ROUTE = aiohttp.ClientOSError(errno.EHOSTUNREACH, "No route to host")
INFO = RequestInfo(URL("https://x"), "POST", CIMultiDictProxy(CIMultiDict()), URL("https://x"))
BROKEN_IN_BODY = aiohttp.ClientPayloadError("canary")
NO_HTTP = aiohttp.ClientResponseError(INFO, (), message="canary")


class BrokenClient:
    """A client whose first requests fail."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.retries: list[bool] = []

    async def ask(self, *_: Any, is_retry: bool = False) -> str:
        self.retries.append(is_retry)
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def http_over(client: BrokenClient) -> EngineHttp:
    http = EngineHttp("http://127.0.0.1:9", engine="Ollama", remedy="Start it.")
    http._client = client  # type: ignore[assignment]
    return http


@pytest.mark.parametrize("error", [ClosedEarly(), ConnectionResetError(), BrokenPipeError()], ids=repr)
async def test_kept_connection_that_breaks_before_an_answer_is_tried_once_more(error: Exception) -> None:
    client = BrokenClient(error)
    assert str(await http_over(client).open_stream("/api/chat", {})) == "answer"
    always = BrokenClient(error, error, error)
    with pytest.raises(EngineFailed, match="closed the connection without an answer"):
        await http_over(always).open_stream("/api/chat", {})
    assert client.retries == always.retries == [False, True]


@pytest.mark.parametrize("error", [NotConnected(), OSError(errno.EHOSTUNREACH, "x"), TimeoutError()], ids=repr)
async def test_connection_that_never_was_is_not_tried_again(error: Exception) -> None:
    client = BrokenClient(error, error)
    with pytest.raises(EngineUnreachable):
        await http_over(client).open_stream("/api/chat", {})
    assert client.retries == [False]


async def test_what_is_no_http_is_not_asked_again() -> None:
    client = BrokenClient(NotHttp())
    with pytest.raises(EngineProtocolError, match="does not speak HTTP"):
        await http_over(client).open_stream("/api/chat", {})
    assert client.retries == [False]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RESET, ClosedEarly),
        (BROKEN, ClosedEarly),
        (aiohttp.ServerDisconnectedError(), ClosedEarly),
        (BROKEN_IN_BODY, ClosedEarly),
        (REFUSED, NotConnected),
        (RESET_WHILE_CONNECTING, NotConnected),
        (NO_ROUTE, NotConnected),
        (aiohttp.ConnectionTimeoutError(), NotConnected),
        (NO_HTTP, NotHttp),
        (aiohttp.InvalidURL("https://x"), NotHttp),
    ],
    ids=repr,
)
def test_errors_of_aiohttp_mean_the_same_as_our_clients(error: Exception, kind: type[Exception]) -> None:
    known = as_os_error(error)
    assert type(known) is kind
    assert str(known) == type(error).__name__  # and nothing that it may quote


async def test_aiohttp_serves_what_plain_http_does_not_and_reads_the_same() -> None:
    async with FakeOllama() as fake:
        http = EngineHttp(fake.url, engine="Ollama", remedy="")
        aio = AiohttpClient(fake.url, headers={}, connect_limit_s=5.0, idle_limit_s=4.0)
        http._client = aio
        assert (await http.call("GET", "/api/version")).status == 200
        answer = await http.open_stream("/api/nowhere", {})
        assert answer.status == 404
        while await answer.read():
            pass
        assert answer.is_at_end
        answer.close()
        await http.close()


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://127.0.0.1:11434", StreamClient),
        ("http://[::1]:11434/path", StreamClient),
        ("http://box", StreamClient),
        ("https://box", AiohttpClient),
        ("http://user:secret@box", AiohttpClient),
        ("http://bücher.example", AiohttpClient),
    ],
)
async def test_the_address_says_which_client_asks(url: str, kind: type[object]) -> None:
    http = EngineHttp(url, engine="Ollama", remedy="")
    assert type(http._open_client()) is kind
    await http.close()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:11434", True),
        ("http://[::1]:11434", True),
        ("http://[fe80::1%eth0]:11434", True),
        ("http://[::1:11434", False),
        ("http://[nonsense]:11434", False),
        ("http://host:port", False),
        ("http://host:99999", False),
        ("http://two words", False),
        ("http://", False),
    ],
)
def test_what_cannot_be_called_is_no_address(url: str, expected: bool) -> None:
    assert is_address(url) is expected
