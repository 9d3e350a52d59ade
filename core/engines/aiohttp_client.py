"""The same as `stream_client` where an address needs more than plain http: TLS, a name in another script, a user name.

aiohttp and not httpx: a request costs about 1 ms of CPU instead of 6 (docs/architecture.md). Imported only for such an
address: it brings 12 MB and 0.1 s.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

import aiohttp
from yarl import URL

from core.engines.stream_answer import ClosedEarly, NotConnected, NotHttp


class AiohttpClient:
    """One server's connections. The session is made at the first request, on its loop; `close` ends it."""

    def __init__(
        self, base_url: str, *, headers: Mapping[str, str], connect_limit_s: float, idle_limit_s: float
    ) -> None:
        self._base_url = base_url
        self._headers = headers
        self._connect_limit_s = connect_limit_s
        self._idle_limit_s = idle_limit_s
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, method: str, target: str, body: bytes = b"", *, is_retry: bool = False) -> AiohttpAnswer:
        """As `StreamClient.ask`; aiohttp itself chooses the connection, also for a retry."""
        url = URL(self._base_url + target)
        try:
            return AiohttpAnswer(await self._open_session().request(method, url, data=body, allow_redirects=False))
        except (aiohttp.ClientError, OSError) as error:
            raise as_os_error(error) from None

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # No limit here: admission limits the sessions, and a waiting connection would hide a free slot.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=self._idle_limit_s)
                if self._idle_limit_s > 0
                else aiohttp.TCPConnector(limit=0, force_close=True),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_limit_s),
                headers=self._headers,
                skip_auto_headers=("User-Agent", "Accept-Encoding"),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,  # a proxy from the environment must not see prompts
            )
        return self._session


class AiohttpAnswer:
    """As `StreamAnswer`: aiohttp's response, with errors that are OSErrors."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self.content_type = response.content_type

    @property
    def is_at_end(self) -> bool:
        return self._response.content.at_eof()

    async def read(self) -> bytes:
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise as_os_error(error) from None

    def close(self) -> None:
        self._response.close()


def as_os_error(error: Exception) -> OSError:
    """aiohttp's errors as those of `stream_answer`, by name alone: a text of aiohttp's may quote the answer."""
    name = type(error).__name__
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.InvalidURL):
        return NotHttp(name)
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return NotConnected(name)
    if isinstance(error, OSError) and error.errno not in (errno.ECONNRESET, errno.EPIPE, None):
        return NotConnected(name)
    return ClosedEarly(name)
