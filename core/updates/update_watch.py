"""Look once a day whether there is a new version, where the owner gave an address; tell, and do nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path

from core.assets_path import release_keys_path
from core.daemon_call import DaemonCall
from core.errors import UpdateError
from core.logs import get_logger
from core.updates.release_index import Release, open_index, read_keys, version_key
from core.updates.update_state import UpdateState, state_file

log = get_logger(__name__)

INTERVAL_S = 24 * 3600.0
RETRY_S = 6 * 3600.0  # after a try that failed
FETCH_LIMIT_S = 60.0  # for all of it: each step of a slow server has a limit of its own (core/updates/fetch.py)
LOOK_S = 60.0  # how often it is looked whether it is time: the machine may have slept, or served all day


def shipped_keys() -> tuple[bytes, ...]:
    """The public keys that this program came with. Raises UpdateError."""
    try:
        return read_keys(release_keys_path().read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError):
        raise UpdateError("the release keys of this program can't be read", hint="Install the program again.") from None


def _fetch_index(url: str) -> bytes:
    from core.updates.fetch import fetch_index  # urllib and ssl's contexts: 2 MB that a day's start does without

    return fetch_index(url)


async def _is_free() -> bool:
    return False


class UpdateWatch:
    """What newer version there is, kept over restarts. All on the loop thread; disk and network on worker threads.

    Neither checked nor told while a session runs (`is_busy`), and never checked over a network that costs by use
    (`is_metered`). An empty `url` asks nobody.
    """

    def __init__(
        self,
        *,
        path: Path,
        version: str,
        keys: Callable[[], Iterable[bytes]],
        url: Callable[[], str],
        is_busy: Callable[[], bool] = lambda: False,
        is_metered: Callable[[], Awaitable[bool]] = _is_free,
        on_change: Callable[[], None] = lambda: None,
        fetch: Callable[[str], bytes] | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._file = state_file(path)
        self._version = version
        self._keys = keys
        self._url = url
        self._is_busy = is_busy
        self._is_metered = is_metered
        self._on_change = on_change
        self._fetch = fetch or _fetch_index
        self._call: DaemonCall[bytes] = DaemonCall("update-check")
        self._clock = clock
        self._sleep = sleep
        self._state = UpdateState()
        self._told: Release | None = None
        self._checking = asyncio.Lock()

    @property
    def offered(self) -> Release | None:
        """The newer version that the owner should hear of now; None for none, or for one that was skipped."""
        return self._told

    async def run(self) -> None:
        """Look for ever; ends only by being cancelled."""
        kept = await asyncio.to_thread(self._file.load)
        self._state = kept or self._state
        while True:
            if not self._is_busy():
                self._tell()
                if self._is_due() and not await self._is_metered():
                    await self._check_quietly()
            await self._sleep(LOOK_S)

    async def check(self) -> Release | None:
        """Ask now, because the owner did; returns the newer version, a skipped one too. Raises UpdateError."""
        async with self._checking:
            url = self._url()
            if not url:
                raise UpdateError(
                    "no address of a release index is set", hint="Set update_index_url to look for updates."
                )
            now = self._clock()
            self._state = replace(self._state, tried_at=now)
            try:
                keys = tuple(self._keys())
                index = open_index(await self._fetched(url), keys)
                if index.issued < self._state.issued:
                    raise UpdateError("the release index is older than one that was seen before")
                newest = index.newer_than(self._version)
                self._state = replace(self._state, checked_at=now, issued=index.issued, newest=newest)
            finally:
                await asyncio.to_thread(self._file.save, asdict(self._state))
            self._tell()
            return newest

    async def _fetched(self, url: str) -> bytes:
        try:
            return await self._call(lambda: self._fetch(url), limit_s=FETCH_LIMIT_S)
        except TimeoutError:
            raise UpdateError(
                f"the release index did not come within {FETCH_LIMIT_S:g} s", hint="It is tried again by itself."
            ) from None

    async def skip(self, version: str) -> None:
        """Don't tell of this version again; a newer one is told. Raises UpdateError for what is no version."""
        version_key(version)
        self._state = replace(self._state, skipped=version)
        self._tell()
        await asyncio.to_thread(self._file.save, asdict(self._state))

    def _is_due(self) -> bool:
        if not self._url():
            return False
        state, now = self._state, self._clock()
        if now < max(state.checked_at, state.tried_at):  # the clock was set back: what is kept says nothing
            return True
        return now - state.checked_at >= INTERVAL_S and now - state.tried_at >= RETRY_S

    async def _check_quietly(self) -> None:
        try:
            newest = await self.check()
        except UpdateError as error:
            log.warning("update check failed", error=error.detail)
        else:
            log.info("looked for updates", newest=newest.version if newest else "")

    def _tell(self) -> None:
        newest = self._state.newest
        if newest is not None and (
            version_key(newest.version) <= version_key(self._version) or newest.version == self._state.skipped
        ):
            newest = None
        if newest != self._told:
            self._told = newest
            self._on_change()
