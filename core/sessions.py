"""Admission and running sessions: who may use the engine now, for how long, and why a session ended.

`Admission` never lets more than `max_jobs` sessions reach the engine. A session is its handler's task: ending one means
cancelling that task with a reason, and the slot comes back when the handler leaves `slot(...)`, after the engine's
request is closed. Limits in time are checked by one timer for all sessions, not by a timeout per token.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from core.errors import AtCapacity, NotServing, SessionEnded, TokenReplayed
from core.snapshot import SessionView

CHECK_INTERVAL_S = 0.5  # how often limits are looked at while sessions run; nothing ticks while none does


class EndReason(StrEnum):
    COMPLETED = "completed"
    CLIENT_GONE = "client_gone"  # cancelled, disconnected, or its deadline passed
    SLOW_CLIENT = "slow_client"
    SESSION_LIMIT = "session_limit"
    FIRST_TOKEN_TIMEOUT = "first_token_timeout"  # noqa: S105 - a reason, not a secret
    TOKEN_GAP_TIMEOUT = "token_gap_timeout"  # noqa: S105
    OWNER_STOPPED = "owner_stopped"  # this session, by hand
    PAUSED = "paused"
    RULE = "rule"  # one of the owner's rules began to hold
    STOPPING = "stopping"
    ENGINE_FAILED = "engine_failed"
    REFUSED = "refused"  # after admission: the engine called the request wrong (a prompt that doesn't fit)
    FAULT = "fault"  # a bug of ours


END_SENTENCES: dict[EndReason, str] = {
    EndReason.SLOW_CLIENT: "the client took no data for longer than this machine's owner allows",
    EndReason.SESSION_LIMIT: "the session reached the longest time that this machine's owner allows",
    EndReason.FIRST_TOKEN_TIMEOUT: "the engine gave no first token in time",
    EndReason.TOKEN_GAP_TIMEOUT: "the engine stopped giving tokens",
    EndReason.OWNER_STOPPED: "the owner of this machine stopped the session",
    EndReason.PAUSED: "the owner of this machine took it back",
    EndReason.RULE: "the owner of this machine took it back",  # which rule is nobody else's business
    EndReason.STOPPING: "the agent is stopping",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """The owner's limits in time, seconds."""

    queue_wait_s: float = 10.0
    max_session_s: float = 600.0
    slow_client_s: float = 30.0
    first_token_timeout_s: float = 120.0
    token_gap_timeout_s: float = 30.0


@dataclass(slots=True, eq=False)
class Session:
    """One admitted (or queued) request. The handler updates the counters; times are monotonic seconds."""

    session_id: str
    model: str
    client: str  # short hash of the client's id
    job_id: str  # the token's jti: two copies of one token never wait together
    started_at: float  # seconds since the epoch, for people
    admitted_at: float  # monotonic; when the slot was given
    last_token_at: float  # monotonic; admission until the first token
    tokens: int = 0
    has_first_token: bool = False
    first_tokens: int = 0  # that came together as the first piece
    first_token_at: float | None = None  # monotonic; loading the model and reading the prompt are over
    writing_since: float | None = None  # monotonic; None while the client keeps up
    is_queued: bool = False
    end_reason: EndReason | None = None  # set when we end it, before the task is cancelled
    task: asyncio.Task[object] | None = field(default=None, repr=False)

    def end(self, reason: EndReason) -> None:
        """End the session by cancelling its task. The first reason stays.

        A task that is being cancelled already is left alone: a second cancel would hit the engine's clean-up.
        """
        if self.end_reason is None and self.task is not None and not self.task.done() and not self.task.cancelling():
            self.end_reason = reason
            self.task.cancel()

    def count(self, tokens: int, now: float) -> None:
        if not self.has_first_token:
            self.first_tokens, self.first_token_at = tokens, now
        self.tokens += tokens
        self.has_first_token = True
        self.last_token_at = now

    def expired_limit(self, now: float, limits: SessionLimits) -> EndReason | None:
        """The first limit that has passed at `now` (monotonic seconds), or None."""
        if now - self.admitted_at > limits.max_session_s:
            return EndReason.SESSION_LIMIT
        if self.writing_since is not None:  # the engine waits for the client, not the other way round
            return EndReason.SLOW_CLIENT if now - self.writing_since > limits.slow_client_s else None
        silent_s = now - self.last_token_at
        if not self.has_first_token:
            return EndReason.FIRST_TOKEN_TIMEOUT if silent_s > limits.first_token_timeout_s else None
        return EndReason.TOKEN_GAP_TIMEOUT if silent_s > limits.token_gap_timeout_s else None

    def view(self, now: float) -> SessionView:
        return SessionView(
            session_id=self.session_id,
            model=self.model,
            client=self.client,
            phase="queued" if self.is_queued else "running",
            started_at=self.started_at,
            tokens=self.tokens,
            tokens_per_second=self._rate(now),
        )

    def _rate(self, now: float) -> float | None:
        """Tokens after the first piece over the time since it: loading and reading the prompt are no slow writing."""
        since, counted = self.first_token_at, self.tokens - self.first_tokens
        return round(counted / (now - since), 1) if since is not None and counted and now > since else None


class Admission:
    """The gate before the engine: at most `max_jobs` running, at most `queue_size` waiting, the rest refused at once.

    All methods run on the loop thread. `spend` of `slot` is called in the same step in which the slot is given, after
    every other check: a refusal for capacity doesn't burn the token, and of racing copies one passes.
    """

    def __init__(
        self,
        *,
        max_jobs: int,
        queue_size: int = 0,
        limits: SessionLimits | None = None,
        closed_because: Callable[[], str] = lambda: "",
        closed_to_owner: Callable[[], str] = lambda: "",
        on_change: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_jobs = max_jobs
        self.queue_size = queue_size
        self.limits = limits or SessionLimits()
        self.monotonic = monotonic
        self._closed_because = closed_because
        self._closed_to_owner = closed_to_owner
        self._on_change = on_change
        self._clock = clock
        self._running: dict[str, Session] = {}
        self._queue: deque[tuple[Session, asyncio.Future[None]]] = deque()
        self._held_room: int | None = None  # while held back: so many may wait beside the queue's
        self._idle = asyncio.Event()
        self._idle.set()
        self._next_id = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def running_jobs(self) -> int:
        return len(self._running)

    @property
    def queued_jobs(self) -> int:
        return len(self._queue)

    @property
    def sessions(self) -> tuple[Session, ...]:
        return (*self._running.values(), *(session for session, _ in self._queue))

    def views(self) -> tuple[SessionView, ...]:
        now = self.monotonic()
        return tuple(session.view(now) for session in self.sessions)

    def slot(self, *, model: str, client: str, job_id: str, spend: Callable[[], None], is_owner: bool = False) -> Slot:
        """`async with` holds a slot of the engine for this task. `is_owner`: the owner's own test, also in a pause.

        Entering raises NotServing, AtCapacity, TokenReplayed (also for a copy of a token that waits in the queue), or
        what `spend` raises; SessionEnded when the wait in the queue is ended by us.
        """
        return Slot(self, self._new_session(model, client, job_id), spend, is_owner=is_owner)

    def end_all(self, reason: EndReason) -> int:
        """End every running and queued session; returns how many there were."""
        sessions = self.sessions
        for session in sessions:
            session.end(reason)
        return len(sessions)

    def end_session(self, session_id: str, reason: EndReason) -> bool:
        """End one session by its id; False when there is none."""
        for session in self.sessions:
            if session.session_id == session_id:
                session.end(reason)
                return True
        return False

    def refuse_queue(self) -> None:
        """Turn away everyone who waits: called when a reason not to serve appears."""
        for _session, ready in tuple(self._queue):
            if not ready.done():
                ready.set_exception(NotServing(self._closed_because() or "not serving now"))

    async def wait_idle(self) -> None:
        """Wait until no session runs."""
        await self._idle.wait()

    def resize(self, max_jobs: int) -> None:
        """Change the limit; running sessions above a lower one end by themselves."""
        self.max_jobs = max_jobs
        self._give_free_slots()
        self._on_change()

    def hold(self, room: int = 0) -> None:
        """Begin no session until `release`; the owner's own test may. Running ones go on.

        Who comes meanwhile finds no free slot: it waits in the queue, which has `room` places more, or asks again.
        """
        self._held_room = room

    def release(self) -> None:
        """Those who waited begin; a second time is harmless."""
        if self._held_room is not None:
            self._held_room = None
            self._give_free_slots()
            self._on_change()

    def check_limits(self, now: float) -> None:
        """End the sessions whose time is up. `now` is monotonic seconds."""
        for session in tuple(self._running.values()):
            reason = session.expired_limit(now, self.limits)
            if reason is not None:
                session.end(reason)

    def _new_session(self, model: str, client: str, job_id: str) -> Session:
        self._next_id += 1
        now = self.monotonic()
        return Session(
            session_id=f"s{self._next_id}",
            model=model,
            client=client,
            job_id=job_id,
            started_at=self._clock(),
            admitted_at=now,
            last_token_at=now,
            task=asyncio.current_task(),
        )

    async def _take_slot(self, session: Session, spend: Callable[[], None], *, is_owner: bool) -> None:
        closed_because = self._closed_to_owner if is_owner else self._closed_because
        _check_open(closed_because())
        is_held = self._held_room is not None and not is_owner
        if is_held or len(self._running) >= self.max_jobs or self._queue:
            await self._wait_in_queue(session)
            # The slot was reserved for us by _give_free_slots; a failed `spend` must give it on.
        else:
            self._running[session.session_id] = session
        try:
            _check_open(closed_because())
            spend()
        except BaseException:
            self._release(session)
            raise
        session.admitted_at = session.last_token_at = self.monotonic()
        self._idle.clear()
        self._start_timer()
        self._on_change()

    async def _wait_in_queue(self, session: Session) -> None:
        if len(self._queue) >= self.queue_size + (self._held_room or 0):
            raise AtCapacity(
                "this agent begins no session for a moment"
                if self._held_room is not None
                else f"all {self.max_jobs} sessions of this agent are taken",
                hint="Ask the coordinator again in a moment.",
            )
        if any(waiting.job_id == session.job_id for waiting, _ in self._queue):
            raise TokenReplayed("a copy of this session token already waits here")
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (session, ready)
        session.is_queued = True
        self._queue.append(entry)
        self._on_change()
        try:
            async with asyncio.timeout(self.limits.queue_wait_s):
                await ready
        except BaseException as error:
            if ready.done() and not ready.cancelled() and ready.exception() is None:
                self._release(session)  # the slot was given in the same step in which the wait was given up
            if isinstance(error, TimeoutError):
                raise AtCapacity(
                    f"no session became free within {self.limits.queue_wait_s:g} s",
                    hint="Ask the coordinator again in a moment.",
                ) from None
            if isinstance(error, asyncio.CancelledError) and session.end_reason is not None:
                absorb_cancel()
                raise ended_error(session.end_reason) from None
            raise
        finally:
            session.is_queued = False
            if entry in self._queue:
                self._queue.remove(entry)
            self._on_change()

    def _release(self, session: Session) -> None:
        self._running.pop(session.session_id, None)
        self._give_free_slots()
        if not self._running:
            self._idle.set()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        self._on_change()

    def _give_free_slots(self) -> None:
        if self._held_room is not None:
            return
        while self._queue and len(self._running) < self.max_jobs:
            session, ready = self._queue.popleft()
            if not ready.done():
                self._running[session.session_id] = session
                ready.set_result(None)

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(CHECK_INTERVAL_S, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.check_limits(self.monotonic())
        if self._running:
            self._start_timer()


class Slot:
    """A place of `Admission`, within `async with`. A generator would do, and cost every session three times as much."""

    __slots__ = ("_admission", "_is_owner", "_session", "_spend")

    def __init__(self, admission: Admission, session: Session, spend: Callable[[], None], *, is_owner: bool) -> None:
        self._admission = admission
        self._session = session
        self._spend = spend
        self._is_owner = is_owner

    async def __aenter__(self) -> Session:
        await self._admission._take_slot(self._session, self._spend, is_owner=self._is_owner)
        return self._session

    async def __aexit__(self, *_: object) -> None:
        self._admission._release(self._session)  # no await in here: a cancel can't keep the slot


def _check_open(closed_because: str) -> None:
    if closed_because:
        raise NotServing(closed_because, hint="Ask the coordinator for another agent.")


def absorb_cancel() -> None:
    """The cancel that ended a session is dealt with: the task goes on, to tell the client."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()


def ended_error(reason: EndReason) -> SessionEnded:
    """The error that tells the client why we ended its session."""
    return SessionEnded(reason, END_SENTENCES.get(reason, "the session was ended"))
