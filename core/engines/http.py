"""What both HTTP engines share: one aiohttp session, JSON calls, opened streams, and the translation of foreign errors.

aiohttp and not httpx: a request costs about 1 ms of CPU instead of 6, and `content.readany()` gives everything that has
arrived in one call (figures in docs/architecture.md).
"""

from __future__ import annotations

import asyncio
import errno
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import aiohttp
from yarl import URL

from core.errors import EngineError, EngineFailed, EngineProtocolError, EngineTimeout, EngineUnreachable

CHECK_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 5.0
# llama-server and uvicorn close an idle connection after 5 s: ours must be gone before, or a request meets the closing.
KEEPALIVE_S = 4.0
_DRAIN_S = 1.0  # how long the end of an answer's HTTP body may lag behind its last line
MAX_LINE_BYTES = 1 << 20  # a "line" that never ends would otherwise grow without limit
MAX_JSON_BYTES = 64 << 20
_MAX_ERROR_BYTES = 64 << 10


class JsonAnswer(NamedTuple):
    status: int
    body: Any  # None when the body is not JSON
    headers: Mapping[str, str]


class EngineHttp:
    """One engine's HTTP side. The session is made at the first call, on the loop that makes it; `close` ends it.

    Raises only EngineError subclasses. `engine` is the name for people ("Ollama"), `remedy` the hint for "no answer".
    """

    def __init__(
        self,
        base_url: str,
        *,
        engine: str,
        remedy: str,
        headers: Mapping[str, str] | None = None,
        keeps_connections: bool = True,
    ) -> None:
        """`keeps_connections` False: a new connection for each call, for a server that closes them unannounced."""
        self.base_url = base_url.rstrip("/")
        self.engine = engine
        self._remedy = remedy
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        self._keeps_connections = keeps_connections
        self._session: aiohttp.ClientSession | None = None
        self._urls: dict[str, URL] = {}

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def open_stream(self, path: str, body: object) -> aiohttp.ClientResponse:
        """POST `body` and wait for the answer's headers. The caller calls `close()` on the response, always.

        A kept connection that the server has just closed gives an error before any byte of an answer: one new try.
        """
        data = json.dumps(body).encode()
        for is_last_try in (False, True):
            try:
                return await self._open_session().post(self._url(path), data=data, allow_redirects=False)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                if is_last_try or not _was_closed(error):
                    raise self.translate(error) from None
        raise AssertionError("unreachable")

    async def call(
        self, method: str, path: str, body: object = None, *, timeout_s: float | None = CHECK_TIMEOUT_S
    ) -> JsonAnswer:
        """One JSON call. `timeout_s` None waits as long as the engine takes (loading a model)."""
        data = None if body is None else json.dumps(body).encode()
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._open_session().request(method, self._url(path), data=data, allow_redirects=False) as response,
            ):
                raw = await read_limited(response, MAX_JSON_BYTES)
        except TimeoutError as error:
            detail = f"{self.engine} at {self.base_url} did not answer within {timeout_s:g} s"
            raise EngineTimeout(detail, hint=self._remedy) from error
        except (aiohttp.ClientError, OSError) as error:
            raise self.translate(error) from error
        return JsonAnswer(response.status, _json_or_none(raw), response.headers)

    async def drain(self, response: aiohttp.ClientResponse) -> None:
        """Read the end of a whole answer's body, so that its connection can serve again. It is there, or nearly."""
        content = response.content
        with suppress(aiohttp.ClientError, OSError, TimeoutError):  # the answer is whole; `close` gives the rest up
            if not content.at_eof():
                async with asyncio.timeout(_DRAIN_S):
                    await content.readany()

    def translate(self, error: Exception, *, mid_answer: bool = False) -> EngineError:
        """Our error for one of aiohttp's or the system's. Their texts name addresses and errno, never a body."""
        if mid_answer:
            return EngineFailed(
                f"the connection to {self.engine} broke in the middle of an answer ({type(error).__name__})",
                hint="Look at the engine's own log.",
            )
        if isinstance(error, aiohttp.ClientResponseError | aiohttp.InvalidURL):
            return EngineProtocolError(
                f"what answers at {self.base_url} does not speak HTTP as {self.engine} does ({type(error).__name__})",
                hint="Check the engine's address in the settings.",
            )
        if _was_closed(error):
            return EngineFailed(
                f"{self.engine} closed the connection without an answer", hint="Look at the engine's own log."
            )
        return EngineUnreachable(f"{self.engine} does not answer at {self.base_url}", hint=self._remedy)

    def _url(self, path: str) -> URL:
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = URL(self.base_url + path)
        return url

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # No limit here: admission limits the sessions, and a waiting connection would hide a free slot.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S)
                if self._keeps_connections
                else aiohttp.TCPConnector(limit=0, force_close=True),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
                headers=self._headers,
                skip_auto_headers=("User-Agent", "Accept-Encoding"),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,  # a proxy from the environment must not see prompts
            )
        return self._session


def is_address(url: str) -> bool:
    """Whether a URL can be called: a space, a port that is no number, or a broken IPv6 address makes it none."""
    try:
        return URL(url).host is not None and not re.search(r"\s", url)
    except ValueError:
        return False


async def read_limited(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The whole body; EngineProtocolError beyond `limit` bytes."""
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > limit:
            raise EngineProtocolError(f"an engine's answer is longer than {limit >> 20} MB")
    return b"".join(parts)


async def read_error_body(response: aiohttp.ClientResponse) -> Any:
    """What an error answer says, parsed when it is JSON, else text, else "". Never waits longer than 5 s."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            raw = await response.content.read(_MAX_ERROR_BYTES)
    except (aiohttp.ClientError, OSError, TimeoutError):
        return ""
    parsed = _json_or_none(raw)
    return raw.decode(errors="replace") if parsed is None else parsed


def clean_text(text: str) -> str:
    """Text that can be sent on: a lone surrogate, which JSON escapes can carry, becomes U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _was_closed(error: Exception) -> bool:
    """Whether the other side closed an open connection: a kept one may be gone before a request on it is read."""
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError | BrokenPipeError):
        return True
    if isinstance(error, aiohttp.ClientConnectorError) or not isinstance(error, aiohttp.ClientOSError):
        return False
    return error.errno in (errno.ECONNRESET, errno.EPIPE)


def _json_or_none(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None
