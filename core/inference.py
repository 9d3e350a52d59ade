"""One request from token to last token: the order of the checks, the stream, and what is known when it ends.

No gRPC in here: `agent_server` hands in plain values and a `send` for pieces of text. Nothing in this module writes or
logs the text of a prompt or an answer.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from core.circuit_breaker import Attempt
from core.engines import Prompt, TokenChunk
from core.engines.names import same_model
from core.engines.options import SamplingOptions, parse_options
from core.errors import AgentError, EngineError, EngineTimeout, ModelError, PromptTooLong, RequestError
from core.jwt_validator import TokenClaims, check_request_model
from core.logs import get_logger
from core.model_manager import ModelManager
from core.sessions import END_SENTENCES, Admission, EndReason, Session, absorb_cancel, ended_error

log = get_logger(__name__)

LAST_TEXT_CHARS = 4_096  # so much of an answer may wait for its client after the session's end
SHORTEST_SPAN_S = 0.05  # a speed over less than this would be chance
ENGINE_SILENT = (EndReason.FIRST_TOKEN_TIMEOUT, EndReason.TOKEN_GAP_TIMEOUT)

SendText = Callable[[str], Awaitable[None]]  # raises ClientGone when nobody is there to take the text


class ClientGone(Exception):
    """The client left while a piece was on its way to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceCall:
    """What a client asked, as plain values. `model` "" means the token's; `max_tokens` 0 means the owner's limit."""

    session_token: str = field(repr=False)
    prompt: str = field(repr=False)
    model: str = ""
    max_tokens: int = 0
    temperature: float = 0.0
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """The owner's limits on one request."""

    max_prompt_bytes: int = 262_144
    max_output_tokens: int = 4_096
    context_tokens: int = 4_096  # per session; a client's num_ctx is checked against it


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """A session that has ended, for totals and the ledger. No text."""

    model: str
    engine: str
    client: str  # short hash
    end_reason: EndReason
    started_at: float  # seconds since the epoch
    seconds: float
    prompt_tokens: int | None  # None when the engine didn't say
    completion_tokens: int
    time_to_first_token_ms: float | None
    finish_reason: str  # "stop" or "length" when completed, else ""
    seconds_since_first_token: float = 0.0  # until the last piece; 0 without a token
    first_tokens: int = 0  # that came at the time of the first: an engine's first piece may hold several
    engine_model: str = ""  # the engine's name of the model
    was_cold: bool = False  # the model wasn't in memory, as far as that was known
    first_token_after_ms: float | None = None  # from admission on, a wait in the queue left out

    @property
    def tokens_per_second(self) -> float:
        """The speed of generation: the tokens after the first ones, per second since those came.

        An answer that was over within 50 ms of its first token has no such span that could be measured: there it is all
        tokens by all seconds, which counts the loading of the model and the prompt's time too.
        """
        later = self.completion_tokens - self.first_tokens
        if later > 0 and self.seconds_since_first_token >= SHORTEST_SPAN_S:
            return later / self.seconds_since_first_token
        return self.completion_tokens / self.seconds if self.seconds > 0 else 0.0

    def metadata(self) -> dict[str, str]:
        """The final message's metadata, as the contract's issue lists it."""
        return {
            "prompt_tokens": "" if self.prompt_tokens is None else str(self.prompt_tokens),
            "completion_tokens": str(self.completion_tokens),
            "tokens_per_second": f"{self.tokens_per_second:.2f}",
            "time_to_first_token_ms": f"{self.time_to_first_token_ms or 0.0:.1f}",
            "finish_reason": self.finish_reason,
            "model": self.model,
            "engine": self.engine,
        }


class TokenDoor(Protocol):
    """Checks a session token; `spend` makes it worthless from then on."""

    async def verify(self, token: str) -> TokenClaims: ...

    def spend(self, claims: TokenClaims) -> None: ...


class InferenceService:
    """Serve requests on one engine. Several doors (the public one, a self-test's) may share models and admission."""

    def __init__(
        self,
        *,
        door: TokenDoor,
        models: ModelManager,
        admission: Admission,
        limits: RequestLimits,
        on_ended: Callable[[SessionRecord], None] = lambda record: None,
        on_refused: Callable[[AgentError], None] = lambda error: None,
        client_key: bytes = b"",
        is_owner: bool = False,
    ) -> None:
        """`is_owner`: behind this door stands the owner's own test, which is served while nothing is shared."""
        self._door = door
        self._models = models
        self._admission = admission
        self.limits = limits
        self._on_ended = on_ended
        self._on_refused = on_refused
        self._client_key = client_key
        self._is_owner = is_owner

    async def serve(self, call: InferenceCall, send: SendText) -> tuple[str, SessionRecord]:
        """Check, admit, stream; returns what the final message says: the text that came together with the answer's end,
        which `send` didn't get, and the record.

        Raises the errors of core.errors; asyncio.CancelledError or ClientGone when the client is gone.
        """
        arrived = self._admission.monotonic()
        run: _Run | None = None
        try:
            claims = await self._door.verify(call.session_token)
            prompt = self._check(call, claims)
            # The breaker's guard comes first: what it refuses burns no token.
            async with (
                self._models.breaker.guard() as attempt,
                self._admission.slot(
                    model=claims.model,
                    client=self._client_hash(claims.client_id),
                    job_id=claims.jti,
                    spend=lambda: self._spend(claims, prompt.model),
                    is_owner=self._is_owner,
                ) as session,
            ):
                run = _Run(prompt, session, attempt, self._models, arrived, self._admission.monotonic)
                await self._stream(run, send)
        except BaseException as error:
            if run is not None:
                run.end_reason = _end_reason(error, run.session)
                _log_failure(error, prompt)
            elif isinstance(error, AgentError):
                self._on_refused(error)
            raise
        finally:
            if run is not None:
                record = run.record()
                self._on_ended(record)
        return run.last_text, record

    def _spend(self, claims: TokenClaims, model: str) -> None:
        """The last step of admission: an engine that is busy with another model burns no token either."""
        self._models.check_free_for(model)
        self._door.spend(claims)

    def _check(self, call: InferenceCall, claims: TokenClaims) -> Prompt:
        """Everything that can be said about the request without the engine."""
        model = self._models.resolve(check_request_model(claims, call.model, same_model))
        if not call.prompt:
            raise RequestError("the prompt is empty")
        # A character is at most 4 bytes: the exact (slower) count only near the limit.
        if len(call.prompt) * 4 > self.limits.max_prompt_bytes:
            size = len(call.prompt.encode())
            if size > self.limits.max_prompt_bytes:
                raise PromptTooLong(
                    f"the prompt has {size:,} bytes; this agent takes at most {self.limits.max_prompt_bytes:,}"
                )
        max_tokens, options = self._parse_options(call)
        return Prompt(
            model=model, text=call.prompt, max_tokens=max_tokens, temperature=call.temperature, options=options
        )

    def _parse_options(self, call: InferenceCall) -> tuple[int, SamplingOptions]:
        return parse_options(
            call.options,
            max_tokens=call.max_tokens,
            temperature=call.temperature,
            max_output_tokens=self.limits.max_output_tokens,
            context_tokens=self.limits.context_tokens,
        )

    async def _stream(self, run: _Run, send: SendText) -> None:
        """Stream from the engine to the client, and say whose doing an early end was."""
        try:
            async with self._models.serving(run.prompt.model) as engine:
                pieces = engine.stream(run.prompt)
                try:
                    await run.forward(pieces, send)
                finally:
                    await pieces.aclose()
        except ModelError as error:
            self._models.note_unloadable(run.prompt.model, error)
            raise
        except asyncio.CancelledError:
            reason = run.session.end_reason
            if reason is None:
                raise  # the client is gone
            absorb_cancel()
            if reason in ENGINE_SILENT:  # our time-out, but the engine's fault: the breaker counts it
                raise EngineTimeout(END_SENTENCES[reason], hint="titan doctor") from None
            raise ended_error(reason) from None

    def _client_hash(self, client_id: str) -> str:
        """8 hex digits: the same client looks the same on this installation, and nowhere else."""
        return hmac.digest(self._client_key, client_id.encode("utf-8", "surrogatepass"), "sha256")[:4].hex()


class _Run:
    """The state of one running request: counters, first token, how it ended."""

    def __init__(
        self,
        prompt: Prompt,
        session: Session,
        attempt: Attempt,
        models: ModelManager,
        arrived: float,
        monotonic: Callable[[], float],
    ) -> None:
        self.prompt = prompt
        self.session = session
        self.end_reason = EndReason.COMPLETED
        self.last_text = ""  # what came with the end, if it is short: it goes out with the final message
        self._attempt = attempt
        self._models = models
        self._engine = models.engine.name
        self._was_warm = models.is_warm(prompt.model)
        self._arrived = arrived
        self._monotonic = monotonic
        self._first_at: float | None = None
        self._first_tokens = 0
        self._ended_at: float | None = None
        self._last: TokenChunk | None = None

    async def forward(self, pieces: AsyncIterator[TokenChunk], send: SendText) -> None:
        """Send every piece on. The hot path: one clock reading and one send per piece.

        Goes on to the engine's own end, past the last piece: leaving there would close the connection to the engine,
        which the next session can use.
        """
        session, monotonic = self.session, self._monotonic
        async for piece in pieces:
            now = monotonic()
            if piece.tokens:
                if self._first_at is None:
                    self._first_at = now
                    self._first_tokens = piece.tokens
                    self._attempt.succeed()
                    self._models.note_answered(self.prompt.model)
                session.count(piece.tokens, now)
            if piece.done and len(piece.text) <= LAST_TEXT_CHARS:
                self.last_text = piece.text
            elif piece.text:
                session.writing_since = now
                await send(piece.text)
                session.writing_since = None
            if piece.done:
                self._last = piece
                self._ended_at = monotonic()
            elif session.tokens > self.prompt.max_tokens:  # an engine that ignores the limit is stopped here
                self._last = TokenChunk(done=True, finish_reason="length")
                self._ended_at = monotonic()
                break

    def record(self) -> SessionRecord:
        ended = self._ended_at if self._ended_at is not None else self._monotonic()
        last = self._last or TokenChunk()
        tokens = last.completion_tokens if last.completion_tokens is not None else self.session.tokens
        first = self._first_at
        return SessionRecord(
            model=self.session.model,
            engine=self._engine,
            client=self.session.client,
            end_reason=self.end_reason,
            started_at=self.session.started_at,
            seconds=ended - self.session.admitted_at,
            prompt_tokens=last.prompt_tokens,
            completion_tokens=tokens,
            time_to_first_token_ms=None if first is None else (first - self._arrived) * 1000,
            finish_reason=last.finish_reason,
            seconds_since_first_token=0.0 if first is None else ended - first,
            first_tokens=self._first_tokens,
            engine_model=self.prompt.model,
            was_cold=not self._was_warm,
            first_token_after_ms=None if first is None else (first - self.session.admitted_at) * 1000,
        )


def _log_failure(error: BaseException, prompt: Prompt) -> None:
    """The detail is our own sentence: engines promise it (core/engines/__init__.py), and a canary through each of them
    holds them to it."""
    if isinstance(error, EngineError | ModelError):
        log.warning(
            "session failed",
            error=type(error).__name__,
            model=prompt.model,
            category=error.category,
            status=error.engine_status,
            detail=error.detail,
            hint=error.hint,
        )


def _end_reason(error: BaseException, session: Session) -> EndReason:
    if session.end_reason is not None:
        return session.end_reason
    if isinstance(error, asyncio.CancelledError | ClientGone):
        return EndReason.CLIENT_GONE
    if isinstance(error, EngineError | ModelError):
        return EndReason.ENGINE_FAILED
    return EndReason.REFUSED if isinstance(error, AgentError) else EndReason.FAULT
