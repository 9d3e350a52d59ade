"""Keeping the agent registered: registration, public key, heartbeats, and coming back when the link is lost.

The rules are the contract's: beat at the interval told or the owner's if shorter, find a dead link by the acks,
register again when forgotten or when a beat may have made us invisible, say "free memory 0" to pause and to leave.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.backoff import Backoff
from core.coordinator_key import KeyFetch
from core.coordinator_link import Link
from core.coordinator_types import (
    MAX_INTERVAL_S,
    Health,
    NotRegistering,
    Registration,
    hold_interval,
    may_have_degraded,
    nothing_free,
)
from core.deadlines import Sleep, cancel_all, first_of, within
from core.errors import CoordinatorError, CoordinatorUnreachable, RegistrationRefused
from core.network import DEFAULT_COORDINATOR_PORT, is_loopback_endpoint, parse_endpoint
from core.snapshot import CoordinatorView
from core.wake_watch import WakeWatch

__all__ = ["CoordinatorClient", "Health", "NotRegistering", "Registration", "may_have_degraded"]

LEAVE_LIMIT_S = 2.0

_log = logging.getLogger(__name__)


class CoordinatorClient:
    """One agent's place at one coordinator. All methods and callbacks belong to the loop that runs `run()`.

    `get_registration` and `get_health` are asked each time that they are needed, and must answer at once from what is
    known. `on_key` gets the public key as PEM after each fetch of the client's own, changed or not. `on_view` gets each
    new view, `on_notice` a sentence for the owner. An `endpoint` that is no host:port raises ConfigError.
    """

    def __init__(
        self,
        *,
        endpoint: str,
        heartbeat_interval_s: float,
        get_registration: Callable[[], Registration | NotRegistering],
        get_health: Callable[[], Health],
        on_key: Callable[[str], None],
        on_view: Callable[[CoordinatorView], None],
        on_notice: Callable[[str], None] = lambda _: None,
        on_woke: Callable[[float], None] = lambda slept_s: None,
        tls: bool = False,
        ca_path: Path | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self._endpoint = str(parse_endpoint(endpoint, default_port=DEFAULT_COORDINATOR_PORT))
        self._own_interval_s = heartbeat_interval_s
        self._get_registration = get_registration
        self._get_health = get_health
        self._on_view = on_view
        self._on_notice = on_notice
        self._on_woke = on_woke
        self._tls = tls
        self._ca_path = ca_path
        self._wall = wall
        self._monotonic = monotonic
        self._sleep = sleep
        self._rng = rng or random.Random()  # noqa: S311 - keeps agents apart, guards nothing
        self._backoff = self._new_backoff()
        self._view = CoordinatorView(endpoint=self._endpoint)
        self._link: Link | None = None
        self._key = KeyFetch(
            on_key=on_key,
            on_held=self._note_key,
            on_failure=self._note_no_key,
            on_bug=self._note_bug,
            new_backoff=self._new_backoff,
            sleep=sleep,
        )
        self._poked = asyncio.Event()  # something below changed: look again
        self._register_wanted = True
        self._is_leaving = False
        self._has_woken = False
        self._is_hidden = False  # a beat may have made the coordinator skip us
        self._was_forgotten = False  # the last ack said so
        self._bug: BaseException | None = None
        self._finished = asyncio.Event()
        self._finished.set()  # until run() starts

    @property
    def view(self) -> CoordinatorView:
        return self._view

    def beat_now(self) -> None:
        """Send a beat at once: on pause, and whenever capacity changed a lot."""
        self._poked.set()

    def register_again(self) -> None:
        """Ask `get_registration` again and register: on resume, and when the models or the capacity changed."""
        self._register_wanted = True
        self._poked.set()

    def woke_up(self, slept_s: float) -> None:
        """The machine slept: connections are dead, and the coordinator has forgotten us. `run()` notices by itself."""
        _log.info("The machine slept for about %.0f s: connecting to the coordinator again", slept_s)
        self._has_woken = True
        self._backoff.reset()
        self._poked.set()
        self._on_woke(slept_s)

    async def run(self) -> None:
        """Keep the agent registered until this task is cancelled or `leave()` is called. Network faults never raise."""
        self._finished.clear()
        self._warn_of_plaintext()
        watch = WakeWatch(self.woke_up, wall=self._wall, monotonic=self._monotonic, sleep=self._sleep)
        watching = asyncio.create_task(watch.run(), name="wake-watch")
        try:
            self._publish(link="connecting", detail="")
            while not self._is_leaving:
                await self._hold_one_link()
        finally:
            self._finished.set()
            await cancel_all(watching)
            self._publish(link="off", detail="", rtt_ms=None)

    async def leave(self, limit_s: float = LEAVE_LIMIT_S) -> None:
        """Report zero capacity, wait for the ack, close: `limit_s` seconds in all at most. `run()` then returns."""
        self._is_leaving = True
        self._poked.set()
        try:
            await within(limit_s, self._wait_finished(), self._sleep)
        except TimeoutError:
            _log.warning("The coordinator did not acknowledge our leaving within %g s", limit_s)
            if self._link is not None:
                await self._link.close()  # ends whatever run() waits for

    async def fetch_key(self) -> str:
        """The coordinator's public key as PEM, asked for now (a signature did not fit). CoordinatorError within 5 s."""
        if self._link is not None:
            pem = await self._link.fetch_key()
        else:
            link = await self._open_link()
            try:
                pem = await link.fetch_key()
            finally:
                await link.close()
        self._publish(has_key=True)
        return pem

    # One link, from connecting to its end

    async def _hold_one_link(self) -> None:
        if self._has_woken:
            self._has_woken = False
            self._publish(link="connecting", detail="The machine slept", rtt_ms=None)
        self._was_forgotten = False
        self._register_wanted = True
        began_s = self._monotonic()
        try:
            self._link = await self._open_link()
            self._key.start(self._link)
            await self._serve_link(self._link)
            return  # on purpose: leaving, or the machine slept
        except CoordinatorError as error:
            failure = error
        finally:
            await self._drop_link()
        if self._monotonic() - began_s >= self._backoff.cap_s:
            self._backoff.reset()  # it held; a coordinator that fails over and over keeps us at long waits
        await self._wait_after(failure)

    async def _open_link(self) -> Link:
        ca_pem: bytes | None = None
        if self._tls and self._ca_path is not None:
            try:
                ca_pem = await asyncio.to_thread(self._ca_path.read_bytes)
            except OSError as error:
                detail = f"Cannot read the coordinator's CA file {self._ca_path}: {error.strerror}"
                raise CoordinatorUnreachable(detail, hint="Correct the setting coordinator_ca.") from error
        return Link(
            self._endpoint,
            tls=self._tls,
            ca_pem=ca_pem,
            wall=self._wall,
            monotonic=self._monotonic,
            sleep=self._sleep,
        )

    async def _drop_link(self) -> None:
        link, self._link = self._link, None
        await self._key.stop()
        if link is not None:
            await link.close()

    async def _serve_link(self, link: Link) -> None:
        registered: Registration | None = None
        while True:
            self._poked.clear()
            if self._register_wanted and not self._is_leaving:
                registered = await self._register(link, registered)
            is_over = self._is_leaving if registered is None else await self._beat(link, registered)
            if self._bug is not None:
                raise self._bug
            if is_over or self._has_woken:
                return
            await self._wait_for_next(link, registered)
            if registered is not None and self._cause_is_gone(registered):
                self._register_wanted = True

    async def _register(self, link: Link, registered: Registration | None) -> Registration | None:
        """Register what there is to offer now; with nothing to offer, withdraw and return None."""
        self._register_wanted = False
        wanted = self._get_registration()
        if isinstance(wanted, NotRegistering):
            if registered is not None:
                await link.beat(registered.agent_id, nothing_free(self._get_health()), last_rtt_ms=self._view.rtt_ms)
                await link.end_health()
            if (self._view.link, self._view.detail) != ("not-registered", wanted.reason):
                _log.info("Not registered: %s", wanted.reason)
            self._publish(link="not-registered", detail=wanted.reason, rtt_ms=None)
            return None
        if not self._view.has_key:
            await self._key.wait_tried()
        told_s = await link.register(wanted)
        self._is_hidden = False
        interval_s = hold_interval(told_s, self._own_interval_s)
        _log.info("Registered with the coordinator at %s; a heartbeat each %g s", self._endpoint, interval_s)
        self._publish(
            link="registered",
            detail="",
            heartbeat_interval_s=interval_s,
            registrations=self._view.registrations + 1,
        )
        return wanted

    async def _beat(self, link: Link, registered: Registration) -> bool:
        """Report once; True when that was our last word (told to leave while it is under way, another one follows)."""
        health, is_last_word = self._get_health(), self._is_leaving
        if is_last_word:
            health = nothing_free(health)
        answer = await link.beat(registered.agent_id, health, last_rtt_ms=self._view.rtt_ms)
        if answer.is_known:
            self._was_forgotten = False
            self._is_hidden = self._is_hidden or may_have_degraded(health, registered)
            self._publish(rtt_ms=answer.rtt_ms, last_ack_at=self._wall())
        elif not self._is_leaving:
            self._take_forgotten(link, answer.message)
        return is_last_word

    def _take_forgotten(self, link: Link, message: str) -> None:
        if self._was_forgotten:  # registering did not help: go the slow way, or two machines would spin
            raise CoordinatorUnreachable(f"The coordinator at {self._endpoint} forgets this agent at once: {message}")
        _log.info("The coordinator has forgotten this agent: registering again")
        self._was_forgotten = True
        self._register_wanted = True
        self._poked.set()
        self._key.start(link)

    async def _wait_for_next(self, link: Link, registered: Registration | None) -> None:
        """Return when there is something to do; raise when the health stream ends meanwhile."""
        if registered is None:
            while not (self._register_wanted or self._is_leaving or self._has_woken or self._bug):
                self._poked.clear()
                await self._poked.wait()
            return
        health = link.health
        if health is None:  # leave() ran out of time just now
            return
        interval_s = self._view.heartbeat_interval_s or MAX_INTERVAL_S
        await first_of(self._poked.wait(), self._sleep(interval_s), health.ended)
        if health.ended.done() and not self._is_leaving:
            raise link.broken(health.end_reason)

    def _cause_is_gone(self, registered: Registration) -> bool:
        return self._is_hidden and not may_have_degraded(self._get_health(), registered)

    # What the fetch of the key tells

    def _note_key(self) -> None:
        self._publish(has_key=True, detail="" if self._view.link == "registered" else self._view.detail)

    def _note_no_key(self, detail: str) -> None:
        if self._view.link == "registered":  # otherwise the link says the same
            _log.warning("No public key from the coordinator: %s", detail)
            self._publish(detail=f"Registered, but without the coordinator's key: {detail}")

    def _note_bug(self, bug: BaseException) -> None:
        self._bug = bug  # run() raises it: a task of ours never dies unseen
        self._poked.set()

    # Between two links

    async def _wait_after(self, failure: CoordinatorError) -> None:
        was_refused = isinstance(failure, RegistrationRefused)
        wait_s = self._backoff.next_wait_s()
        is_news = failure.detail != self._view.detail  # a coordinator that is away for a night is one line, not 5,000
        _log.log(logging.WARNING if is_news else logging.DEBUG, "%s (next try in %.1f s)", failure.detail, wait_s)
        self._publish(link="not-registered" if was_refused else "away", detail=failure.detail, rtt_ms=None)
        waiting = asyncio.create_task(self._sleep_for(wait_s), name="coordinator-backoff")
        self._register_wanted = False
        try:
            while not (
                waiting.done() or self._is_leaving or self._has_woken or (was_refused and self._register_wanted)
            ):
                self._poked.clear()
                await first_of(self._poked.wait(), waiting)
        finally:
            await cancel_all(waiting)

    async def _sleep_for(self, seconds: float) -> None:
        await self._sleep(seconds)

    async def _wait_finished(self) -> None:
        await self._finished.wait()

    def _new_backoff(self) -> Backoff:
        return Backoff(rng=self._rng)

    def _warn_of_plaintext(self) -> None:
        if not self._tls and not is_loopback_endpoint(self._endpoint):
            notice = (
                f"The link to the coordinator at {self._endpoint} is not encrypted: who sits in between can read what "
                "this agent reports and replace the key that it trusts. Set coordinator_tls if the coordinator has TLS."
            )
            _log.warning(notice)
            self._on_notice(notice)

    def _publish(self, **changes: Any) -> None:
        updated = replace(self._view, **changes)
        if updated != self._view:
            self._view = updated
            self._on_view(updated)
