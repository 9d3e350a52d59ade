"""What the tests of the serving core share: the serving side of an agent around a FakeEngine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from grpc import aio

from core.agent_server import AgentServer, ServerOptions
from core.circuit_breaker import CircuitBreaker
from core.errors import AgentError
from core.inference import InferenceService, RequestLimits, SessionRecord
from core.jwt_validator import JwtValidator, TokenClaims
from core.model_manager import ModelManager
from core.replay_store import ReplayStore
from core.sessions import Admission, SessionLimits
from core.snapshot import AgentSnapshot
from proto import titancompute_pb2 as pb
from proto import titancompute_pb2_grpc as pb_grpc
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.manual_clock import ManualClock
from tests.fakes.token_factory import TokenFactory

MODEL = "tiny"
T = TypeVar("T")
BOUND_S = 20.0  # a wait that never ends fails here, by name


@dataclass
class FakeDoor:
    """The real validator and the real store of spent tokens; records in which order things happened."""

    validator: JwtValidator
    spent: ReplayStore
    happened: list[str] = field(default_factory=list)

    async def verify(self, token: str) -> TokenClaims:
        return self.validator.verify(token)

    def spend(self, claims: TokenClaims) -> None:
        self.spent.spend(claims.jti, claims.exp)
        self.happened.append("spent")


class Serving:
    """Admission, models, breaker and service around one FakeEngine, on a clock that a test moves."""

    def __init__(
        self,
        engine: FakeEngine | None = None,
        *,
        max_jobs: int = 2,
        queue_size: int = 0,
        supported: tuple[str, ...] = (MODEL,),
        limits: SessionLimits | None = None,
        request_limits: RequestLimits | None = None,
    ) -> None:
        self.engine = engine or FakeEngine()
        self.clock = ManualClock()
        self.tokens = TokenFactory(clock=self.clock.wall)
        validator = JwtValidator("agent-1", clock=self.clock.wall)
        validator.set_key(self.tokens.public_key_pem)
        self.door = FakeDoor(validator, ReplayStore(None, clock=self.clock.wall))
        self.breaker = CircuitBreaker(self.clock.wall, self.clock.monotonic)
        self.models = ModelManager(
            engine=self.engine, supported=supported, breaker=self.breaker, monotonic=self.clock.monotonic
        )
        self.closed_because = ""
        self.admission = Admission(
            max_jobs=max_jobs,
            queue_size=queue_size,
            limits=limits,
            closed_because=lambda: self.closed_because,
            clock=self.clock.wall,
            monotonic=self.clock.monotonic,
        )
        self.ended: list[SessionRecord] = []
        self.refused: list[AgentError] = []
        self.service = InferenceService(
            door=self.door,
            models=self.models,
            admission=self.admission,
            limits=request_limits or RequestLimits(),
            on_ended=self.ended.append,
            on_refused=self.refused.append,
        )

    def token(self, model: str = MODEL, **claims: Any) -> str:
        return self.tokens.token(model, **claims)

    async def pass_limit(self, seconds: float) -> None:
        """Let the time pass and the limits be looked at, as the timer does."""
        await self.clock.advance(seconds)
        self.admission.check_limits(self.clock.monotonic())


@asynccontextmanager
async def listening(
    serving: Serving,
    *,
    snapshot: Callable[[], AgentSnapshot] = AgentSnapshot,
    max_prompt_bytes: int = 262_144,
    tls: tuple[bytes, bytes] | None = None,
) -> AsyncIterator[AgentServer]:
    """The real server on a free loopback port."""
    await serving.models.refresh()
    server = AgentServer(
        service=serving.service,
        options=ServerOptions(
            addresses=("127.0.0.1:0",),
            max_calls=serving.admission.max_jobs + serving.admission.queue_size,
            max_prompt_bytes=max_prompt_bytes,
            tls=tls,
        ),
        snapshot=snapshot,
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0)


class Client:
    """One connection of its own to a server, as a client has it."""

    def __init__(self, server: AgentServer | int, **channel_arguments: int) -> None:
        """`server` may be a port."""
        port = server if isinstance(server, int) else server.ports[0]
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0), *channel_arguments.items())
        self.channel = aio.insecure_channel(f"127.0.0.1:{port}", options=options)
        self.stub = pb_grpc.AgentServiceStub(self.channel)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close(None)

    def ask(self, token: str, *, timeout: float | None = BOUND_S, **fields: Any) -> Any:
        """Start a call; iterate it, or `read()` from it."""
        fields = {"prompt": "Hello"} | fields
        return self.stub.StreamInference(pb.StreamRequest(session_token=token, **fields), timeout=timeout)

    async def collect(self, token: str, pieces: list[pb.StreamResponse]) -> None:
        """All pieces of an answer, the ones before an error included. Raises aio.AioRpcError."""
        async for piece in self.ask(token):
            pieces.append(piece)

    async def answer(self, token: str, **fields: Any) -> list[pb.StreamResponse]:
        """The whole answer. Raises aio.AioRpcError."""
        return [piece async for piece in self.ask(token, **fields)]

    async def outcome(self, token: str, **fields: Any) -> str:
        """ "OK" for a whole answer, else the status code's name."""
        try:
            pieces = await self.answer(token, **fields)
        except aio.AioRpcError as error:
            return str(error.code().name)
        assert pieces[-1].done
        return "OK"


async def within_bound(waiting: Awaitable[T]) -> T:
    async with asyncio.timeout(BOUND_S):
        return await waiting
