"""The agent's gRPC server: translates between the wire and `core.inference`, and errors into status codes (one table).

Serves titancompute.v1.AgentService, grpc.health.v1 and reflection. What a request may do is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message
from grpc import aio

from core.call_limits import CallCounter, WaitingRoom
from core.errors import (
    AdmissionError,
    AgentError,
    AtCapacity,
    EngineError,
    EngineFailed,
    EngineProtocolError,
    EngineTimeout,
    ModelError,
    ModelNotOffered,
    NotEnoughMemory,
    PortTakenError,
    ReplayStoreFull,
    RequestError,
    SessionEnded,
    TokenError,
    TokenForbidden,
)
from core.inference import ClientGone, InferenceCall, InferenceService, SessionRecord
from core.logs import get_logger
from core.process_limits import files_for_strangers
from core.sessions import EndReason
from core.snapshot import AgentSnapshot
from core.switchboard import Switchboard, add_health, add_reflection
from proto import titancompute_pb2 as pb

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
    (ModelNotOffered, ""),  # our own words
    (ModelError, "this agent cannot use the model now"),
    (EngineTimeout, "the engine of this agent did not answer in time"),
    (EngineFailed, "the engine of this agent failed"),
    (EngineProtocolError, "the engine of this agent sent an answer that makes no sense"),
    (EngineError, "the engine of this agent is not available now"),
)

INTERNAL_WORDS = "internal error of this agent"

# Calls at once. grpc's own limit (maximum_concurrent_rpcs) refuses health and GetStatus like everything else, and
# counts a refused call until its client has heard of it: it is only the last wall; each door has its own count.
EXTRA_CALLS = 64  # StreamInference beyond sessions and queue: being checked, being refused; as many wait for a request
SIDE_CALLS = 128  # health, GetStatus, reflection together; a health Watch lasts as long as its client likes
REFUSED_CALLS = 1024
REQUEST_LIMIT_S = 10.0  # from a call's headers to its request; both come together from an honest client
MAX_STREAMS_PER_CONNECTION = 64
# A client that reads nothing holds back even the status that ends its call, and grpc.aio can't reset a call from the
# server's side. By then it holds nothing but the call; it goes with its connection, after this long at most.
CONNECTION_AGE_S = 1800.0
# Connections at once, for each address that is listened on: without a limit a stranger could take every file that this
# process may open, and the owner's pause could not be written. One that carries no call goes after a while.
MAX_CONNECTIONS = 1024
HANDSHAKE_LIMIT_S = 10.0
IDLE_CONNECTION_S = 300.0
METADATA_ROOM_BYTES = 64 * 1024  # of a request beside its prompt: the token (8 KB at most) and the options


def status_of(error: AgentError) -> tuple[grpc.StatusCode, str]:
    """The gRPC code and the sentence that a client gets for an error of ours."""
    if isinstance(error, SessionEnded):
        return ENDED_CODES.get(EndReason(error.reason), Code.UNAVAILABLE), error.detail
    code = next((code for kind, code in STATUS_CODES if isinstance(error, kind)), None)
    if code is None:
        return Code.INTERNAL, INTERNAL_WORDS
    words = next((words for kind, words in ENGINE_WORDS if isinstance(error, kind)), "")
    return code, words or error.detail


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How the server listens. `addresses` are host:port; `tls` is (key PEM, certificate chain PEM) or None."""

    addresses: Sequence[str]
    max_calls: int  # sessions + queue; EXTRA_CALLS come on top
    max_prompt_bytes: int
    max_session_s: float = 600.0  # a connection that is asked to end for its age may finish its sessions
    tls: tuple[bytes, bytes] | None = None

    def channel_arguments(self) -> list[tuple[str, Any]]:
        return [
            ("grpc.so_reuseport", 0),  # a taken port is an error, not a silent sharing
            ("grpc.max_concurrent_streams", MAX_STREAMS_PER_CONNECTION),
            ("grpc.max_receive_message_length", self.max_prompt_bytes + METADATA_ROOM_BYTES),
            ("grpc.max_metadata_size", 16 * 1024),
            # What a call may send before it is read. A flood of 1,000 prompts of 200 KB grew the memory by 124 MB with
            # grpc's own (64 KB, and more by probing), by 24 MB with this; a large prompt that is read is as fast.
            ("grpc.http2.lookahead_bytes", 16 * 1024),
            ("grpc.http2.bdp_probe", 0),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.max_allowed_incoming_connections", self._connections()),
            ("grpc.server_handshake_timeout_ms", round(HANDSHAKE_LIMIT_S * 1000)),
            ("grpc.max_connection_idle_ms", round(IDLE_CONNECTION_S * 1000)),
            ("grpc.max_connection_age_ms", round(CONNECTION_AGE_S * 1000)),
            ("grpc.max_connection_age_grace_ms", round((self.max_session_s + REQUEST_LIMIT_S) * 1000)),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ("grpc.http2.max_ping_strikes", 5),
        ]

    def _connections(self) -> int:
        return min(MAX_CONNECTIONS, files_for_strangers() // max(1, len(self.addresses)))


class AgentServer:
    """One gRPC server around one `InferenceService`. Start it once; `stop` ends what still streams."""

    def __init__(
        self, *, service: InferenceService, options: ServerOptions, snapshot: Callable[[], AgentSnapshot]
    ) -> None:
        self._options = options
        inference_calls = options.max_calls + EXTRA_CALLS
        self._server = aio.server(
            options=options.channel_arguments(),
            maximum_concurrent_rpcs=2 * inference_calls + SIDE_CALLS + REFUSED_CALLS,
        )
        switchboard = Switchboard(CallCounter(SIDE_CALLS), uncounted=_STREAM_INFERENCE)
        _add_agent_service(AgentServicer(service, snapshot, max_calls=inference_calls), switchboard)
        self._health = add_health(switchboard)
        add_reflection(switchboard, _SERVICE)
        self._server.add_generic_rpc_handlers((switchboard,))
        self.ports: tuple[int, ...] = ()
        self.listening_on: tuple[str, ...] = ()  # host:port with the real ports

    async def start(self) -> None:
        """Bind every address and serve. Raises PortTakenError."""
        self.ports = tuple(self._bind(address) for address in self._options.addresses)
        self.listening_on = tuple(
            f"{address.rpartition(':')[0]}:{port}"
            for address, port in zip(self._options.addresses, self.ports, strict=True)
        )
        await self.set_serving(False)  # until told otherwise: health's own default is SERVING
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
                hint=_PORT_HINT,
            ) from error
        if port == 0:
            raise PortTakenError(f"cannot listen on {address}", hint=_PORT_HINT)
        return port


_SERVICE = pb.DESCRIPTOR.services_by_name["AgentService"].full_name
_PORT_HINT = "Choose another port: AGENT_PORT=50060 titan run, or titan config set agent_port 50060"
_STREAM_INFERENCE = f"/{_SERVICE}/StreamInference"

InferenceContext: TypeAlias = "aio.ServicerContext[pb.StreamRequest, bytes]"


class AgentServicer:
    """The RPC edge: the one place where an unforeseen error may be caught, logged, and hidden from the client."""

    def __init__(self, service: InferenceService, snapshot: Callable[[], AgentSnapshot], *, max_calls: int) -> None:
        self._service = service
        self._snapshot = snapshot
        self._calls = CallCounter(max_calls)
        self._waiting = WaitingRoom(max_calls)

    async def StreamInference(self, _: object, context: InferenceContext) -> pb.StreamResponse:
        """Serve one session; returns its last message. See `_add_agent_service` for what it is to grpc."""
        ending = await self._serve(context)
        if isinstance(ending, pb.StreamResponse):
            return ending
        # Nothing of the request is held any more, should the client be slow to hear of it.
        try:
            await context.abort(*ending)
        except aio.InternalError:  # the client left without waiting for it
            raise asyncio.CancelledError from None

    async def _serve(self, context: InferenceContext) -> pb.StreamResponse | tuple[grpc.StatusCode, str]:
        """Stream the answer up to its last message, or say with what the call ends."""
        write = context.write

        async def send(text: str) -> None:
            message = pb.StreamResponse(content=text, token=text, created_at=time.time_ns() // 1_000_000)
            try:
                await write(message.SerializeToString())
            except aio.BaseError:  # the call, or the server, is over; grpc is about to cancel this task, too
                raise ClientGone from None

        try:
            call = await self._read_call(context)
            self._calls.enter()
            try:
                text, record = await self._service.serve(call, send)
            finally:
                self._calls.leave()
            return _final_message(text, record)
        except AgentError as error:
            return status_of(error)
        except aio.AbortError:  # turned out of the waiting room
            raise
        except (ClientGone, aio.BaseError):
            raise asyncio.CancelledError from None
        except Exception as error:  # noqa: BLE001 - the RPC edge: logged, and hidden from the client
            _log_bug(error)
            return Code.INTERNAL, INTERNAL_WORDS

    async def _read_call(self, context: InferenceContext) -> InferenceCall:
        """The request, as plain values.

        A call without its request is ended by `abort` from outside, after REQUEST_LIMIT_S or when too many wait: that
        ends the read. Cancelling the read would not do: grpc writes into its memory when the message comes later.
        """

        def turn_out(error: AgentError) -> None:
            ending = asyncio.ensure_future(context.abort(*status_of(error)))
            ending.add_done_callback(lambda done: done.cancelled() or done.exception())

        def turn_out_late() -> None:
            turn_out(RequestError(f"the request did not come within {REQUEST_LIMIT_S:g} s"))

        timer = asyncio.get_running_loop().call_later(REQUEST_LIMIT_S, turn_out_late)
        self._waiting.enter(context, lambda: turn_out(AtCapacity("too many calls wait for their request here")))
        try:
            request = await context.read()
        finally:
            timer.cancel()
            self._waiting.leave(context)
        if request is UNREADABLE:
            raise RequestError("the request is no StreamRequest of titancompute.v1")
        if not isinstance(request, pb.StreamRequest):
            # Unless the client is gone, or its message was over the limit: then grpc has ended the call already.
            raise RequestError("the call ended without a request")
        return InferenceCall(
            session_token=request.session_token,
            prompt=request.prompt,
            model=request.model,
            max_tokens=request.max_tokens,
            temperature=round(request.temperature, 6),  # float32 on the wire: 0.7 arrives as 0.699999988
            options=dict(request.options) if request.options else {},
        )

    async def GetStatus(
        self,
        request: object,
        context: aio.ServicerContext[pb.AgentStatusRequest, pb.AgentStatusResponse],
    ) -> pb.AgentStatusResponse:
        """Answered from the last snapshot: nothing is measured or waited for here."""
        snapshot = self._snapshot()
        if not isinstance(request, pb.AgentStatusRequest):
            await context.abort(Code.INVALID_ARGUMENT, "the request is no AgentStatusRequest of titancompute.v1")
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


def _final_message(text: str, record: SessionRecord) -> pb.StreamResponse:
    message = pb.StreamResponse(content=text, token=text, done=True, created_at=time.time_ns() // 1_000_000)
    said = message.metadata
    for name, value in record.metadata().items():  # the constructor, or `update`, goes through Python's Mapping
        said[name] = value
    return message


UNREADABLE = object()


def _read_message(kind: type[Message], data: bytes) -> object:
    """The message, or UNREADABLE: grpc itself would answer UNKNOWN in words of its own, and log a traceback each."""
    try:
        return kind.FromString(data)
    except DecodeError:
        return UNREADABLE


def _add_agent_service(servicer: AgentServicer, switchboard: Switchboard) -> None:
    """Register the service's two methods.

    StreamInference takes one request and streams its answer, but grpc is told that it takes a stream and gives one
    message. On the wire all kinds are the same. Only so is the handler called before the request has come, and can
    bound how many calls wait for theirs; and only so does the last message leave in one step with the status (a step
    less of six for a short session). The messages before it the handler writes itself, as bytes: the context of such a
    call has no serializer.
    """
    handlers = {
        "StreamInference": grpc.stream_unary_rpc_method_handler(
            servicer.StreamInference,
            request_deserializer=lambda data: _read_message(pb.StreamRequest, data),
            response_serializer=pb.StreamResponse.SerializeToString,
        ),
        "GetStatus": grpc.unary_unary_rpc_method_handler(
            servicer.GetStatus,
            request_deserializer=lambda data: _read_message(pb.AgentStatusRequest, data),
            response_serializer=pb.AgentStatusResponse.SerializeToString,
        ),
    }
    switchboard.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))


def _log_bug(error: Exception) -> None:
    """Where and what kind, but not the error's text: it could quote the prompt."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    log.error("a session failed for an unforeseen reason", error=type(error).__name__, where=where)
