"""The agent's gRPC server: translates between the wire and `core.inference`, and errors into status codes (one table).

Serves titancompute.v1.AgentService, grpc.health.v1 and reflection. What a request may do is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
from grpc import aio

from core.errors import (
    AdmissionError,
    AgentError,
    AtCapacity,
    EngineError,
    EngineFailed,
    EngineProtocolError,
    EngineTimeout,
    ModelError,
    NotEnoughMemory,
    PortTakenError,
    ReplayStoreFull,
    RequestError,
    SessionEnded,
    TokenError,
    TokenForbidden,
)
from core.inference import InferenceCall, InferenceService
from core.logs import get_logger
from core.sessions import EndReason
from core.snapshot import AgentSnapshot
from proto import titancompute_pb2 as pb
from proto import titancompute_pb2_grpc as pb_grpc

log = get_logger(__name__)

Code = grpc.StatusCode

# The first class that fits decides, so subclasses stand before their parents.
STATUS_CODES: tuple[tuple[type[AgentError], grpc.StatusCode], ...] = (
    (ReplayStoreFull, Code.RESOURCE_EXHAUSTED),
    (TokenForbidden, Code.PERMISSION_DENIED),
    (TokenError, Code.UNAUTHENTICATED),
    (AtCapacity, Code.RESOURCE_EXHAUSTED),
    (AdmissionError, Code.UNAVAILABLE),
    (RequestError, Code.INVALID_ARGUMENT),
    (NotEnoughMemory, Code.RESOURCE_EXHAUSTED),
    (ModelError, Code.NOT_FOUND),
    (EngineTimeout, Code.DEADLINE_EXCEEDED),
    (EngineFailed, Code.INTERNAL),
    (EngineProtocolError, Code.INTERNAL),
    (EngineError, Code.UNAVAILABLE),
    (SessionEnded, Code.UNAVAILABLE),
)
ENDED_CODES = {EndReason.SESSION_LIMIT: Code.DEADLINE_EXCEEDED, EndReason.SLOW_CLIENT: Code.DEADLINE_EXCEEDED}

# A client hears what kind of trouble it is, never what this machine's engine said (addresses, paths, perhaps text).
ENGINE_WORDS: tuple[tuple[type[AgentError], str], ...] = (
    (NotEnoughMemory, "this agent has not enough memory for the model now"),
    (EngineTimeout, "the engine of this agent did not answer in time"),
    (EngineFailed, "the engine of this agent failed"),
    (EngineProtocolError, "the engine of this agent sent an answer that makes no sense"),
    (EngineError, "the engine of this agent is not available now"),
)

EXTRA_CALLS = 64  # beyond sessions and queue: room for health, GetStatus and refusals under flood
MAX_STREAMS_PER_CONNECTION = 64
METADATA_ROOM_BYTES = 64 * 1024  # of a request beside its prompt: the token (8 KB at most) and the options


def status_of(error: AgentError) -> tuple[grpc.StatusCode, str]:
    """The gRPC code and the sentence that a client gets for an error of ours."""
    if isinstance(error, SessionEnded):
        return ENDED_CODES.get(EndReason(error.reason), Code.UNAVAILABLE), error.detail
    code = next((code for kind, code in STATUS_CODES if isinstance(error, kind)), Code.INTERNAL)
    words = next((words for kind, words in ENGINE_WORDS if isinstance(error, kind)), "")
    return code, words or error.detail


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How the server listens. `addresses` are host:port; `tls` is (key PEM, certificate chain PEM) or None."""

    addresses: Sequence[str]
    max_calls: int  # sessions + queue; EXTRA_CALLS come on top
    max_prompt_bytes: int
    tls: tuple[bytes, bytes] | None = None

    def channel_arguments(self) -> list[tuple[str, Any]]:
        return [
            ("grpc.so_reuseport", 0),  # a taken port is an error, not a silent sharing
            ("grpc.max_concurrent_streams", MAX_STREAMS_PER_CONNECTION),
            ("grpc.max_receive_message_length", self.max_prompt_bytes + METADATA_ROOM_BYTES),
            ("grpc.max_metadata_size", 16 * 1024),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ("grpc.http2.max_ping_strikes", 5),
        ]


class AgentServer:
    """One gRPC server around one `InferenceService`. Start it once; `stop` ends what still streams."""

    def __init__(
        self, *, service: InferenceService, options: ServerOptions, snapshot: Callable[[], AgentSnapshot]
    ) -> None:
        self._options = options
        self._server = aio.server(
            options=options.channel_arguments(), maximum_concurrent_rpcs=options.max_calls + EXTRA_CALLS
        )
        servicer = AgentServicer(service, snapshot)
        pb_grpc.add_AgentServiceServicer_to_server(servicer, self._server)
        self._health = _add_health(self._server)
        _add_reflection(self._server)
        self.ports: tuple[int, ...] = ()
        self.listening_on: tuple[str, ...] = ()  # host:port with the real ports

    async def start(self) -> None:
        """Bind every address and serve. Raises PortTakenError."""
        self.ports = tuple(self._bind(address) for address in self._options.addresses)
        self.listening_on = tuple(
            f"{address.rpartition(':')[0]}:{port}"
            for address, port in zip(self._options.addresses, self.ports, strict=True)
        )
        await self._server.start()

    async def set_serving(self, is_serving: bool) -> None:
        """What grpc.health.v1 answers, for the whole server and for the agent's service."""
        from grpc_health.v1 import health_pb2

        status = health_pb2.HealthCheckResponse.SERVING if is_serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", _SERVICE):
            await self._health.set(name, status)

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, give running ones `grace_s` seconds, then close."""
        await self._server.stop(grace_s)

    def _bind(self, address: str) -> int:
        try:
            if self._options.tls is None:
                port = self._server.add_insecure_port(address)
            else:
                credentials = grpc.ssl_server_credentials([self._options.tls])
                port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:  # grpc's only word for "cannot bind"
            raise PortTakenError(
                f"cannot listen on {address}: another program uses the port, or the address isn't this machine's",
                hint="Choose another port: AGENT_PORT=50060 titan run, or titan config set agent_port 50060",
            ) from error
        if port == 0:
            raise PortTakenError(f"cannot listen on {address}")
        return port


_SERVICE = pb.DESCRIPTOR.services_by_name["AgentService"].full_name


class AgentServicer(pb_grpc.AgentServiceServicer):
    """The RPC edge: the one place where an unforeseen error may be caught, logged, and hidden from the client."""

    def __init__(self, service: InferenceService, snapshot: Callable[[], AgentSnapshot]) -> None:
        self._service = service
        self._snapshot = snapshot

    async def StreamInference(  # type: ignore[override]  # grpc.aio takes a coroutine that writes, too
        self, request: pb.StreamRequest, context: aio.ServicerContext[pb.StreamRequest, pb.StreamResponse]
    ) -> None:
        write = context.write

        async def send(text: str) -> None:
            await write(pb.StreamResponse(content=text, token=text, created_at=time.time_ns() // 1_000_000))

        call = InferenceCall(
            session_token=request.session_token,
            prompt=request.prompt,
            model=request.model,
            max_tokens=request.max_tokens,
            temperature=round(request.temperature, 6),  # float32 on the wire: 0.7 arrives as 0.699999988
            options=dict(request.options),
        )
        try:
            record = await self._service.serve(call, send)
            final = pb.StreamResponse(done=True, created_at=time.time_ns() // 1_000_000, metadata=record.metadata())
            await write(final)
        except AgentError as error:
            await _abort(context, error)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("a session failed for an unforeseen reason")
            await context.abort(Code.INTERNAL, "internal error of this agent")

    async def GetStatus(
        self,
        request: pb.AgentStatusRequest,
        context: aio.ServicerContext[pb.AgentStatusRequest, pb.AgentStatusResponse],
    ) -> pb.AgentStatusResponse:
        """Answered from the last snapshot: nothing is measured or waited for here."""
        snapshot = self._snapshot()
        if request.agent_id and request.agent_id != snapshot.agent_id:
            await context.abort(Code.NOT_FOUND, f"this is not the agent {request.agent_id!r}")
        machine = snapshot.machine
        context.set_trailing_metadata(status_metadata(snapshot))
        return pb.AgentStatusResponse(
            agent_id=snapshot.agent_id,
            status=snapshot.state.value,
            free_vram_mb=(machine and machine.free_vram_mb) or 0,
            free_ram_mb=(machine and machine.free_ram_mb) or 0,
            active_sessions=snapshot.running_jobs,
            total_requests_processed=snapshot.totals.requests_processed,
            model_loaded=", ".join(model.name for model in snapshot.loaded_models),
        )


def status_metadata(snapshot: AgentSnapshot) -> tuple[tuple[str, str], ...]:
    """What GetStatus's fixed fields have no room for: the breaker, and the capacity beside the raw meter."""
    capacity = snapshot.capacity
    return (
        ("titan-breaker", snapshot.engine.breaker),
        ("titan-queued-jobs", str(snapshot.queued_jobs)),
        ("titan-max-jobs", str(snapshot.max_jobs)),
        ("titan-capacity-kind", capacity.kind),
        ("titan-capacity-total-mb", str(capacity.total_mb)),
        ("titan-capacity-free-mb", str(capacity.free_mb)),
        ("titan-reasons", ",".join(reason.code for reason in snapshot.reasons)),
    )


async def _abort(context: aio.ServicerContext[Any, Any], error: AgentError) -> NoReturn:
    code, words = status_of(error)
    await context.abort(code, words)


def _add_health(server: aio.Server) -> Any:
    from grpc_health.v1 import health, health_pb2_grpc

    servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]  # an alias that its stubs lack
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    return servicer


def _add_reflection(server: aio.Server) -> None:
    from grpc_health.v1 import health
    from grpc_reflection.v1alpha import reflection

    reflection.enable_server_reflection((_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
