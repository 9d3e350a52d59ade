"""One connection to a coordinator: its calls with their deadlines, in our own values and errors.

A link is used once. When it breaks, a new one is opened, so gRPC's own back-off (up to two minutes) never delays ours.
Dead connections are found by unanswered beats: the public coordinator drops a client that pings to find out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

from core.coordinator_types import Health, Registration
from core.deadlines import Sleep, cancel_all, within
from core.errors import CoordinatorError, CoordinatorUnreachable, RegistrationRefused
from core.network import is_loopback_endpoint
from proto import titancompute_pb2 as pb
from proto import titancompute_pb2_grpc as pb_grpc

CALL_LIMIT_S = 5.0
ACK_LIMIT_S = 5.0
_MAX_REPLY_BYTES = 256 * 1024  # a key is under 1 KB; nothing a coordinator says to an agent is big
_MAX_REASON_CHARACTERS = 200
_CLOSED_HERE = "it was closed here"

_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]
_ACCEPTED = frozenset({"success", "ok"})
_FORGOTTEN = frozenset({"error", "forgotten"})
# The coordinator was reached and said no; every other code means that nobody sensible answered.
_REFUSALS = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


@dataclass(frozen=True, slots=True)
class BeatAnswer:
    """What one beat brought back."""

    is_known: bool  # False: the coordinator has forgotten us
    message: str
    rtt_ms: float


class Link:
    """A channel and the three calls that an agent makes on it. Open it inside a running loop; close it always."""

    def __init__(
        self,
        endpoint: str,
        *,
        tls: bool,
        ca_pem: bytes | None,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
        sleep: Sleep,
    ) -> None:
        self._endpoint = endpoint
        self._tls = tls
        self._wall = wall
        self._monotonic = monotonic
        self._sleep = sleep
        options = _channel_options(endpoint)
        target = f"dns:///{endpoint}"  # with the scheme, or a host called "unix" would be taken for one
        if tls:
            credentials = grpc.ssl_channel_credentials(root_certificates=ca_pem)
            self._channel = grpc.aio.secure_channel(target, credentials, options=options)
        else:
            self._channel = grpc.aio.insecure_channel(target, options=options)
        self._stub: Any = pb_grpc.CoordinatorServiceStub(self._channel)
        self._health: HealthStream | None = None
        self._is_closed = False

    async def register(self, registration: Registration) -> int:
        """Register; returns the heartbeat interval asked for, in seconds (0: none).

        Raises RegistrationRefused when the coordinator said no, CoordinatorUnreachable when nothing came in 5 s.
        """
        request = pb.AgentRegistration(
            agent_id=registration.agent_id,
            endpoint=registration.endpoint,
            total_vram_mb=registration.total_vram_mb,
            total_ram_mb=registration.total_ram_mb,
            max_jobs=registration.max_jobs,
            supported_models=registration.supported_models,
            capabilities=dict(registration.capabilities),
        )
        answer = await self._call("RegisterAgent", self._stub.RegisterAgent, request)
        if answer.status.lower() not in _ACCEPTED:
            said = _shorten(answer.message or answer.status or "no reason given")
            raise RegistrationRefused(f"The coordinator at {self._endpoint} refused this agent: {said}")
        return int(answer.heartbeat_interval_seconds)

    async def fetch_key(self) -> str:
        """The coordinator's public key as PEM text. Raises CoordinatorError within 5 s."""
        answer = await self._call("GetPublicKey", self._stub.GetPublicKey, pb.PublicKeyRequest())
        if not answer.public_key_pem:
            raise CoordinatorError(f"The coordinator at {self._endpoint} sent an empty public key")
        return str(answer.public_key_pem)

    @property
    def health(self) -> HealthStream | None:
        """The health stream, once a beat has opened it."""
        return self._health

    async def beat(self, agent_id: str, health: Health, *, last_rtt_ms: float | None) -> BeatAnswer:
        """Send one beat and wait for its ack, 5 s at most. Raises CoordinatorUnreachable: the link is then dead."""
        if self._is_closed:
            raise self.broken(_CLOSED_HERE)
        if self._health is None:
            self._health = HealthStream(self._stub.ReportHealth(), self._channel)
        stream = self._health  # close() may take it away while we wait
        update = pb.HealthUpdate(
            agent_id=agent_id,
            free_vram_mb=health.free_vram_mb,
            free_ram_mb=health.free_ram_mb,
            running_jobs=health.running_jobs,
            queued_jobs=health.queued_jobs,
            cpu_percent=health.cpu_percent,
            rtt_ms=last_rtt_ms or 0.0,
            timestamp=int(self._wall() * 1000),
        )
        sent_at_s = self._monotonic()
        try:
            ack = await within(ACK_LIMIT_S, stream.exchange(update), self._sleep)
        except TimeoutError:
            raise self.unreachable(f"a heartbeat was not acknowledged within {ACK_LIMIT_S:g} s") from None
        except ConnectionError as error:
            raise self.broken(stream.end_reason or str(error)) from error
        rtt_ms = (self._monotonic() - sent_at_s) * 1000
        return BeatAnswer(is_known=ack.status.lower() not in _FORGOTTEN, message=_shorten(ack.message), rtt_ms=rtt_ms)

    async def end_health(self) -> None:
        """End the health stream, if there is one; the next beat opens a new one."""
        stream, self._health = self._health, None
        if stream is not None:
            await stream.close()

    async def close(self) -> None:
        """End every call on this link, those of other tasks too: they raise CoordinatorUnreachable. May be repeated."""
        self._is_closed = True
        await self.end_health()
        await self._channel.close(None)

    def broken(self, reason: str) -> CoordinatorUnreachable:
        """The error for a connection that worked and ended."""
        return CoordinatorUnreachable(
            f"The connection to the coordinator at {self._endpoint} ended: {reason}",
            hint="Nothing to do: the agent connects again by itself.",
        )

    def unreachable(self, reason: str) -> CoordinatorUnreachable:
        """The error for a link that gives no (sensible) answer, with what the owner can do about it."""
        hint = f"Check that the coordinator is running and that coordinator_endpoint ({self._endpoint}) is right."
        if self._tls:
            hint += " With coordinator_tls its certificate must be signed by coordinator_ca or a public authority."
        return CoordinatorUnreachable(f"No answer from the coordinator at {self._endpoint}: {reason}", hint=hint)

    async def _call(self, name: str, method: Any, request: Any) -> Any:
        # Two limits: gRPC's tells the server, the raced one obeys the injected clock.
        async def work() -> Any:
            return await method(request, timeout=CALL_LIMIT_S)

        try:
            return await within(CALL_LIMIT_S, work(), self._sleep)
        except TimeoutError:
            raise self.unreachable(f"{name} took longer than {CALL_LIMIT_S:g} s") from None
        except (ConnectionError, grpc.aio.UsageError) as error:
            raise self.broken(_CLOSED_HERE) from error
        except grpc.aio.AioRpcError as error:
            if error.code() in _REFUSALS:
                detail = f"The coordinator at {self._endpoint} refused {name}: {_describe(error)}"
                raise RegistrationRefused(detail) from error
            raise self.unreachable(_describe(error)) from error


class HealthStream:
    """The one long-lived ReportHealth call: a beat out, an ack back, one at a time."""

    def __init__(self, call: Any, channel: grpc.aio.Channel) -> None:  # StreamStreamCall[HealthUpdate, HealthAck]
        self._call = call
        self._channel = channel
        self._acks: asyncio.Queue[pb.HealthAck | None] = asyncio.Queue()
        self.end_reason = ""  # why the stream ended; "" while it lives
        self.ended = asyncio.create_task(self._read_acks(), name="health-acks")
        self._watching = asyncio.create_task(self._watch_connection(), name="health-connection")

    async def exchange(self, update: pb.HealthUpdate) -> pb.HealthAck:
        """Raises ConnectionError when the stream has ended or ends before the ack."""
        while not self._acks.empty():  # acks that nobody asked for
            self._acks.get_nowait()
        if self.ended.done():
            raise ConnectionError(self.end_reason)
        try:
            await self._call.write(update)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise ConnectionError(self.end_reason or "the health stream is closed") from error
        ack = await self._acks.get()
        if ack is None:
            raise ConnectionError(self.end_reason)
        return ack

    async def close(self) -> None:
        await cancel_all(self.ended, self._watching)  # cancelling the read cancels the call

    async def _watch_connection(self) -> None:
        """End the stream when the coordinator wants to close the connection (GOAWAY).

        A graceful stop waits for open streams, and ours would never end: the public coordinator then goes on acking,
        deaf to new clients, for 30 s. The channel leaves READY at the GOAWAY, long before the stream breaks.
        """
        while (state := self._channel.get_state()) is not grpc.ChannelConnectivity.READY:
            await self._channel.wait_for_state_change(state)
        await self._channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        self.end_reason = self.end_reason or "the coordinator is closing it"
        self._call.cancel()

    async def _read_acks(self) -> None:
        # read() must not be cancelled between two acks (that would cancel the call), so one task does all the reading.
        try:
            while (ack := await self._call.read()) is not _EOF:
                self._acks.put_nowait(ack)
            self.end_reason = "the coordinator closed the health stream"
        except grpc.aio.AioRpcError as error:
            self.end_reason = _describe(error)
        finally:
            self.end_reason = self.end_reason or _CLOSED_HERE
            self._acks.put_nowait(None)


def _channel_options(endpoint: str) -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        # Every link connects afresh, with no memory of another link's failures.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 500),
        ("grpc.min_reconnect_backoff_ms", int(CALL_LIMIT_S * 1000)),
        ("grpc.max_reconnect_backoff_ms", 15_000),
        ("grpc.max_receive_message_length", _MAX_REPLY_BYTES),
        # Bandwidth probes are pings too, and some servers count them.
        ("grpc.http2.bdp_probe", 0),
    ]
    if is_loopback_endpoint(endpoint):
        options.append(("grpc.enable_http_proxy", 0))  # a proxy in the environment cannot reach this machine's loopback
    return options


def _describe(error: grpc.aio.AioRpcError) -> str:
    # "failed to connect to all addresses; last error: UNKNOWN: ipv4:…: Failed to connect …: Connection refused (111)"
    details = (error.details() or "").rsplit("last error: ", 1)[-1]
    return _shorten(f"{error.code().name}: {details}" if details else error.code().name)


def _shorten(text: str) -> str:
    """One line of bounded length: what a peer says ends up in a view and a log."""
    line = " ".join(text.split())
    return line if len(line) <= _MAX_REASON_CHARACTERS else line[: _MAX_REASON_CHARACTERS - 1] + "…"
