"""A coordinator for one machine: for `titan demo`, the self-test and the tests. Never for a network.

It listens on loopback, signs with a key that lives only as long as it does, and follows the public coordinator's rules
(core/local_registry.py), so what works beside it works beside the real one.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import grpc

from core.coordinator_types import Health, Registration
from core.errors import PortTakenError
from core.local_registry import HEALTHY, HEARTBEAT_TIMEOUT_S, SWEEP_INTERVAL_S, AgentRecord, AgentRegistry
from core.network import format_endpoint
from core.token_signer import ALGORITHM, ISSUER, TOKEN_LIFETIME_S, TokenSigner
from proto import titancompute_pb2 as pb
from proto import titancompute_pb2_grpc as pb_grpc

Context = Any  # grpc.aio.ServicerContext; the stubs' generic form cannot be written at run time


class LocalCoordinator:
    """An async context manager: listening inside, gone outside.

    async with LocalCoordinator() as coordinator:
        ...  # coordinator.endpoint is "127.0.0.1:<free port>"
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        signer: TokenSigner | None = None,
        heartbeat_interval_s: int = int(HEARTBEAT_TIMEOUT_S / 2),
        token_lifetime_s: int = TOKEN_LIFETIME_S,
        credentials: grpc.ServerCredentials | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._host = host
        self._port = port  # 0: a free one, chosen at start
        self._signer = signer
        self._heartbeat_interval_s = heartbeat_interval_s
        self._token_lifetime_s = token_lifetime_s
        self._credentials = credentials
        self._wall = wall
        self._monotonic = monotonic
        self._sleep = sleep
        self._registry = AgentRegistry(monotonic)
        self._server: grpc.aio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def endpoint(self) -> str:
        """host:port. The port is 0 before the first start without a fixed one."""
        return format_endpoint(self._host, self._port)

    @property
    def agents(self) -> dict[str, AgentRecord]:
        """The registered agents by id."""
        return self._registry.agents

    @property
    def registry(self) -> AgentRegistry:
        return self._registry

    @property
    def signer(self) -> TokenSigner:
        """The key in use. Only after start."""
        if self._signer is None:
            raise RuntimeError("the coordinator has not been started")
        return self._signer

    @property
    def public_key_pem(self) -> str:
        return self.signer.public_key_pem

    async def start(self) -> None:
        """Make a key unless one was given, and listen. Raises PortTakenError."""
        if self._signer is None:
            self._signer = await TokenSigner.generate(wall=self._wall)
        # Without so_reuseport 0 a second coordinator would silently share the port.
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        pb_grpc.add_CoordinatorServiceServicer_to_server(self._make_servicer(), server)
        try:
            if self._credentials is None:
                self._port = server.add_insecure_port(self.endpoint)
            else:
                self._port = server.add_secure_port(self.endpoint, self._credentials)
        except RuntimeError as error:
            await server.stop(None)
            hint = "Stop the program that uses the port, or choose another."
            raise PortTakenError(f"Cannot listen on {self.endpoint} for the local coordinator", hint=hint) from error
        await server.start()
        self._server = server
        self._sweeper = asyncio.create_task(self._sweep_for_ever(), name="coordinator-sweep")

    async def stop(self) -> None:
        """Close every connection at once and forget everybody, as a killed process would."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeper
            self._sweeper = None
        if self._server is not None:
            await self._server.stop(None)
            self._server = None
        self._registry.clear()

    def issue_token(
        self,
        *,
        agent_id: str,
        model: str,
        client_id: str = "local-client",
        lifetime_s: float | None = None,
        claims: Mapping[str, object] | None = None,
    ) -> str:
        """A session token, as RequestInference would give it. `claims` replaces single claims, None drops one."""
        lifetime = self._token_lifetime_s if lifetime_s is None else lifetime_s
        return self.signer.issue(
            agent_id=agent_id, model=model, client_id=client_id, lifetime_s=lifetime, claims=claims
        )

    def _make_servicer(self) -> CoordinatorServicer:
        return CoordinatorServicer(
            self._registry,
            self.signer,
            heartbeat_interval_s=self._heartbeat_interval_s,
            token_lifetime_s=self._token_lifetime_s,
            wall=self._wall,
            monotonic=self._monotonic,
        )

    async def _sweep_for_ever(self) -> None:
        while True:
            await self._sleep(SWEEP_INTERVAL_S)
            self._registry.sweep()


class CoordinatorServicer(pb_grpc.CoordinatorServiceServicer):
    """The five calls over one registry and one key."""

    def __init__(
        self,
        registry: AgentRegistry,
        signer: TokenSigner,
        *,
        heartbeat_interval_s: int,
        token_lifetime_s: int,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._signer = signer
        self._heartbeat_interval_s = heartbeat_interval_s
        self._token_lifetime_s = token_lifetime_s
        self._wall = wall
        self._monotonic = monotonic
        self._started_at_s = monotonic()

    async def RegisterAgent(self, request: pb.AgentRegistration, context: Context) -> pb.RegistrationResponse:
        await _require(context, agent_id=request.agent_id, endpoint=request.endpoint)
        self._registry.register(
            Registration(
                agent_id=request.agent_id,
                endpoint=request.endpoint,
                total_vram_mb=request.total_vram_mb,
                total_ram_mb=request.total_ram_mb,
                max_jobs=request.max_jobs,
                supported_models=tuple(request.supported_models),
                capabilities=dict(request.capabilities),
            )
        )
        return pb.RegistrationResponse(
            status="success",
            message="Agent registered",
            heartbeat_interval_seconds=self._heartbeat_interval_s,
        )

    async def ReportHealth(
        self, request_iterator: AsyncIterator[pb.HealthUpdate], context: Context
    ) -> AsyncIterator[pb.HealthAck]:
        async for update in request_iterator:
            yield self._take_beat(update)

    async def GetPublicKey(self, request: pb.PublicKeyRequest, context: Context) -> pb.PublicKeyResponse:
        return pb.PublicKeyResponse(public_key_pem=self._signer.public_key_pem, algorithm=ALGORITHM, issuer=ISSUER)

    async def RequestInference(self, request: pb.InferenceRequest, context: Context) -> pb.InferenceResponse:
        await _require(context, client_id=request.client_id, model=request.model, prompt=request.prompt)
        record = self._registry.select(request.model)
        if record is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "no agents available")
            raise AssertionError("abort always raises")
        agent_id = record.registration.agent_id
        token = self._signer.issue(
            agent_id=agent_id, model=request.model, client_id=request.client_id, lifetime_s=self._token_lifetime_s
        )
        return pb.InferenceResponse(
            agent_endpoint=record.registration.endpoint,
            session_token=token,
            expires_at=int(self._wall()) + self._token_lifetime_s,
            job_id=str(uuid.uuid4()),
            estimated_rtt_ms=record.rtt_ms,
            agent_id=agent_id,
        )

    async def QuerySystemStatus(self, request: pb.StatusRequest, context: Context) -> pb.SystemStatus:
        records = self._registry.agents
        now_s = self._monotonic()
        status = pb.SystemStatus(
            total_agents=len(records),
            healthy_agents=sum(record.status == HEALTHY for record in records.values()),
            total_jobs=sum(record.health.running_jobs for record in records.values()),
            uptime=str(timedelta(seconds=int(now_s - self._started_at_s))),
        )
        if request.include_agents:
            status.agents.extend(self._describe(record, now_s) for record in records.values())
        return status

    def _take_beat(self, update: pb.HealthUpdate) -> pb.HealthAck:
        health = Health(
            free_vram_mb=update.free_vram_mb,
            free_ram_mb=update.free_ram_mb,
            running_jobs=update.running_jobs,
            queued_jobs=update.queued_jobs,
            cpu_percent=update.cpu_percent,
        )
        if self._registry.update(update.agent_id, health, update.rtt_ms):
            return pb.HealthAck(agent_id=update.agent_id, status="ok", message="health updated")
        return pb.HealthAck(agent_id=update.agent_id, status="error", message="agent not registered")

    def _describe(self, record: AgentRecord, now_s: float) -> pb.AgentStatus:
        return pb.AgentStatus(
            agent_id=record.registration.agent_id,
            status=record.status,
            free_vram_mb=record.health.free_vram_mb,
            running_jobs=record.health.running_jobs,
            last_heartbeat=int(self._wall() - (now_s - record.last_heartbeat_s)),
        )


async def _require(context: Context, **fields: str) -> None:
    for name, value in fields.items():
        if not value:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{name} is required")
