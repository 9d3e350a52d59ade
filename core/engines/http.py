"""What both HTTP engines share: connections, JSON calls, opened streams, and the translation of foreign errors.

Plain http goes through `stream_client`, everything else (https) through `aiohttp_client`; both read the same.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
from collections.abc import Mapping
from contextlib import closing, suppress
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlsplit

from core.engines.stream_answer import Answer, ClosedEarly, NotHttp
from core.errors import EngineError, EngineFailed, EngineProtocolError, EngineTimeout, EngineUnreachable

CHECK_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 5.0
# llama-server and uvicorn close an idle connection after 5 s: ours must be gone before, or a request meets the closing.
KEEPALIVE_S = 4.0
_DRAIN_S = 1.0  # how long the end of an answer's HTTP body may lag behind its last line
MAX_LINE_BYTES = 1 << 20  # a "line" that never ends would otherwise grow without limit
MAX_JSON_BYTES = 8 << 20  # a thousand models with all that is said of them; parsing more would hold up every stream
MOST_MODELS = 2000  # of a list; snapshots carry them all, and a window shows them
_LARGEST_COUNT = 1 << 53  # beyond any size in bytes; what is larger fits no float and no database
_LONGEST_NAME = 512  # as in a token's claims (core/jwt_validator.py)
_MAX_ERROR_BYTES = 64 << 10
_SAFE_IN_PATH = "/%:@!$&'()*+,;=-._~?"  # of the owner's own path; RFC 3986, and what is encoded already


class JsonAnswer(NamedTuple):
    status: int
    body: Any  # None when the body is not JSON
    headers: Mapping[str, str]


class Client(Protocol):
    """One server's connections; `StreamClient` says what each means."""

    async def ask(self, method: str, target: str, body: bytes = b"", *, is_retry: bool = False) -> Answer: ...

    async def close(self) -> None: ...


class EngineHttp:
    """One engine's HTTP side. The client is made at the first call, on the loop that makes it; `close` ends it.

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
        self._client: Client | None = None
        self._path = quote(urlsplit(self.base_url).path, safe=_SAFE_IN_PATH)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def open_stream(self, path: str, body: object) -> Answer:
        """POST `body` and wait for the answer's headers. The caller calls `close()` on the answer, always."""
        try:
            return await self._ask("POST", path, body)
        except OSError as error:
            raise self.translate(error) from None

    async def call(
        self, method: str, path: str, body: object = None, *, timeout_s: float | None = CHECK_TIMEOUT_S
    ) -> JsonAnswer:
        """One JSON call. `timeout_s` None waits as long as the engine takes (loading a model)."""
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._ask(method, path, body)
                with closing(answer):
                    raw = await read_limited(answer, MAX_JSON_BYTES)
        except TimeoutError as error:
            detail = f"{self.engine} at {self.base_url} did not answer within {timeout_s:g} s"
            raise EngineTimeout(detail, hint=self._remedy) from error
        except OSError as error:
            raise self.translate(error) from error
        return JsonAnswer(answer.status, _json_or_none(raw), answer.headers)

    async def drain(self, answer: Answer) -> None:
        """Read the end of a whole answer's body, so that its connection can serve again. It is there, or nearly."""
        if not answer.is_at_end:
            with suppress(OSError):  # the answer is whole; `close` gives the rest up
                async with asyncio.timeout(_DRAIN_S):
                    await answer.read()

    def translate(self, error: Exception, *, mid_answer: bool = False) -> EngineError:
        """Our error for one of a client's or the system's. Their texts name addresses and errno, never a body."""
        if mid_answer:
            return EngineFailed(
                f"the connection to {self.engine} broke in the middle of an answer ({type(error).__name__})",
                hint="Look at the engine's own log.",
            )
        if isinstance(error, NotHttp):
            return EngineProtocolError(
                f"what answers at {self.base_url} does not speak HTTP as {self.engine} does",
                hint="Check the engine's address in the settings.",
            )
        if _was_closed(error):
            return EngineFailed(
                f"{self.engine} closed the connection without an answer", hint="Look at the engine's own log."
            )
        return EngineUnreachable(f"{self.engine} does not answer at {self.base_url}", hint=self._remedy)

    async def _ask(self, method: str, path: str, body: object) -> Answer:
        """A connection that the server has just closed gives an error before any byte of an answer: one new try."""
        data = b"" if body is None else json.dumps(body).encode()
        client = self._open_client()
        try:
            return await client.ask(method, self._path + path, data)
        except OSError as error:
            if not _was_closed(error):
                raise
        return await client.ask(method, self._path + path, data, is_retry=True)

    def _open_client(self) -> Client:
        if self._client is None:
            idle_limit_s = KEEPALIVE_S if self._keeps_connections else 0.0
            limits = {"connect_limit_s": CONNECT_TIMEOUT_S, "idle_limit_s": idle_limit_s}
            self._client = _new_client(self.base_url, self._headers, limits)
        return self._client


def _new_client(base_url: str, headers: Mapping[str, str], limits: Mapping[str, float]) -> Client:
    parts = urlsplit(base_url)
    if parts.scheme == "http" and parts.hostname and "@" not in parts.netloc and parts.netloc.isascii():
        from core.engines.stream_client import StreamClient

        return StreamClient(parts.hostname, parts.port or 80, headers=headers, **limits)
    from core.engines.aiohttp_client import AiohttpClient

    return AiohttpClient(f"{parts.scheme}://{parts.netloc}", headers=headers, **limits)


def is_address(url: str) -> bool:
    """Whether a URL can be called: a space, a port that is no number, or a broken IPv6 address makes it none."""
    try:
        parts = urlsplit(url)
        if "[" in parts.netloc:
            ipaddress.IPv6Address(parts.hostname or "")
        return bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", url)
    except ValueError:
        return False


async def read_limited(answer: Answer, limit: int) -> bytes:
    """The whole body; EngineProtocolError beyond `limit` bytes."""
    parts: list[bytes] = []
    size = 0
    while part := await answer.read():
        parts.append(part)
        size += len(part)
        if size > limit:
            raise EngineProtocolError(f"an engine's answer is longer than {limit >> 20} MB")
    return b"".join(parts)


async def read_error_body(answer: Answer) -> Any:
    """What an error answer says, parsed when it is JSON, else text, else "". Never waits longer than 5 s."""
    raw = b""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            while len(raw) < _MAX_ERROR_BYTES and (part := await answer.read()):
                raw += part
    except OSError:
        return ""
    raw = raw[:_MAX_ERROR_BYTES]
    parsed = _json_or_none(raw)
    return raw.decode(errors="replace") if parsed is None else parsed


def count_of(value: Any) -> int | None:
    """A size or a number of tokens that an engine tells; None for what can't be one."""
    return value if type(value) is int and 0 <= value <= _LARGEST_COUNT else None


def is_name(value: object) -> bool:
    """Whether it can be a model's name: text that can be shown in one line, and be asked for by a token."""
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isprintable()


def clean_text(text: str) -> str:
    """Text that can be sent on: a lone surrogate, which JSON escapes can carry, becomes U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _was_closed(error: Exception) -> bool:
    """Whether the other side closed an open connection: a kept one may be gone before a request on it is read."""
    return isinstance(error, ClosedEarly | ConnectionResetError | BrokenPipeError)


def _json_or_none(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None
