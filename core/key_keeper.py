"""Keep the coordinator's key fresh: a token that fails for want of the right key fetches it, at most once per 5 s."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from core.errors import AgentError, AtCapacity, BadSignature, NoKeyError
from core.jwt_validator import JwtValidator, TokenClaims

MIN_INTERVAL_S = 5.0
FETCH_LIMIT_S = 5.0
MAX_WAITING = 32  # calls that wait for a fetch: fewer than the server takes, so that good tokens still get in

_log = logging.getLogger(__name__)


class KeyKeeper:
    """Verify tokens, and fetch the coordinator's key anew when a signature doesn't hold.

    A restarted coordinator has a new key, and every bad token looks like that at first: the fetch is shared by all that
    fail while it runs, and another one starts no sooner than `min_interval_s` after the last one started. A token that
    fails in between is refused at once. `fetch_key` returns PEM text and raises AgentError. All on the loop thread.
    """

    def __init__(
        self,
        validator: JwtValidator,
        fetch_key: Callable[[], Awaitable[str]],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        min_interval_s: float = MIN_INTERVAL_S,
        fetch_limit_s: float = FETCH_LIMIT_S,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self.validator = validator
        self._fetch_key = fetch_key
        self._monotonic = monotonic
        self._min_interval_s = min_interval_s
        self._fetch_limit_s = fetch_limit_s
        self._last_fetch_at: float | None = None  # monotonic seconds; None before the first
        self._fetch: asyncio.Task[None] | None = None
        self._max_waiting = max_waiting
        self._waiting = 0

    async def verify_refreshing(self, token: str) -> TokenClaims:
        """As JwtValidator.verify, and once more with a fetched key after BadSignature or NoKeyError.

        Whatever goes wrong with the fetch, the caller sees the first error: the token is what it was refused for.
        AtCapacity when too many wait for the fetch already.
        """
        generation = self.validator.key_generation
        try:
            return self.validator.verify(token)
        except (BadSignature, NoKeyError):
            await self._refresh()
            if self.validator.key_generation == generation:
                raise
        return self.validator.verify(token)

    def adopt(self, pem: str) -> bool:
        """Trust a key that came with a registration; True when it is another one. Raises CoordinatorError.

        It counts as a fetch: bad tokens won't ask for the same key again at once.
        """
        self._last_fetch_at = self._monotonic()
        return self.validator.set_key(pem)

    async def close(self) -> None:
        """End a fetch that is under way. Those who wait for it get their own token's error."""
        if self._fetch is not None:
            self._fetch.cancel()
            await asyncio.wait([self._fetch])

    async def _refresh(self) -> None:
        """Return when the key is as fresh as the limit allows; never raises for a fetch that failed."""
        if self._fetch is None:
            now = self._monotonic()
            if self._last_fetch_at is not None and now - self._last_fetch_at < self._min_interval_s:
                return
            self._last_fetch_at = now
            self._fetch = asyncio.create_task(self._fetch_once(), name="refresh-coordinator-key")
        if self._waiting >= self._max_waiting:
            raise AtCapacity("too many tokens wait here for the coordinator's key", hint="Try again in a moment.")
        self._waiting += 1
        try:  # not `await task`: one waiter's cancel must not end what the others wait for
            await asyncio.wait([self._fetch])
        finally:
            self._waiting -= 1

    async def _fetch_once(self) -> None:
        try:
            async with asyncio.timeout(self._fetch_limit_s):
                pem = await self._fetch_key()
            if self.validator.set_key(pem):
                _log.info("The coordinator has a new key (SHA-256 %s)", self.validator.key_fingerprint)
        except (AgentError, TimeoutError) as error:
            _log.warning("The coordinator's key was not refreshed: %s", str(error) or "no answer in time")
        except Exception:  # noqa: BLE001 - the task edge: a defect in fetch_key must not look like a bad token only
            _log.exception("The coordinator's key was not refreshed")
        finally:
            self._fetch = None
