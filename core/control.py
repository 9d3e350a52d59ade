"""The running agent's local door, both sides: what `titan status`, `titan pause` and a second start say to it.

On unix it is a socket in a 0700 folder of ours: whoever can open it is the same user. On Windows it is a loopback port
and a random token, which stands in a file that only the user can read, and which every call must bring. The server
writes where its door is into the profile's state folder: a command may see another runtime folder than a service does.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import secrets
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol
from urllib.parse import quote

import grpc
import grpc.aio

from core.control_address import (
    Door,
    LoopbackDoor,
    UnixDoor,
    not_running,
    prepare_socket_folder,
    remove_address,
    remove_stale_socket,
    write_address,
)
from core.errors import AgentError, CommandRefused, ControlError, StorageError
from core.instance_lock import InstanceLock
from core.logs import get_logger
from core.snapshot import AgentSnapshot, SnapshotStore
from proto import control_pb2 as pb
from proto import control_pb2_grpc

TransportKind = Literal["unix", "loopback"]
DEFAULT_TRANSPORT: TransportKind = "loopback" if sys.platform == "win32" else "unix"
SNAPSHOT_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 30.0
_TOKEN_HEADER = "titan-control-token"  # noqa: S105 - the header's name, not a token
_OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", 16 * 1024 * 1024))

log = get_logger(__name__)


class Outcome(Protocol):
    """What a command did: one sentence, and data for `--json` (core.commands.CommandOutcome)."""

    @property
    def message(self) -> str: ...
    @property
    def result(self) -> Mapping[str, Any]: ...


class Commands(Protocol):
    """The owner's commands (core/commands.py). Raises AgentError when the answer is no."""

    async def execute(self, name: str, arguments: Mapping[str, str]) -> Outcome: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandReply:
    """A command's outcome as the client received it."""

    message: str
    result: dict[str, Any]


class ControlServer:
    """Serve the door. Start and stop it on the agent's loop, and only while holding the profile's lock."""

    def __init__(
        self,
        *,
        socket: Path,
        address_file: Path,
        store: SnapshotStore,
        commands: Commands,
        lock: InstanceLock,
        transport: TransportKind = DEFAULT_TRANSPORT,
    ) -> None:
        self._socket = socket
        self._address_file = address_file
        self._lock = lock
        self._transport = transport
        self._token = secrets.token_urlsafe(32) if transport == "loopback" else ""
        self._service = _ControlService(store, commands, self._token)
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Open the door and publish where it is. Raises StorageError when there is no safe place for it."""
        if not self._lock.is_held:
            raise RuntimeError("the control door needs the profile's lock: another agent's socket could be removed")
        server = grpc.aio.server(options=(*_OPTIONS, ("grpc.so_reuseport", 0)))
        control_pb2_grpc.add_ControlServiceServicer_to_server(self._service, server)
        door = self._bind(server)
        await server.start()
        self._server = server
        if isinstance(door, UnixDoor):
            self._socket.chmod(0o600)
        await asyncio.to_thread(write_address, self._address_file, door)

    async def stop(self, grace_s: float = 1.0) -> None:
        """End the watchers, let running calls answer for `grace_s`, and close the door. May be called twice."""
        server, self._server = self._server, None
        if server is None:
            return
        remove_address(self._address_file)
        self._service.end_watchers()
        await server.stop(grace_s)
        if self._transport == "unix":
            with contextlib.suppress(OSError):
                self._socket.unlink()

    async def __aenter__(self) -> ControlServer:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _bind(self, server: grpc.aio.Server) -> Door:
        try:
            if self._transport == "loopback":
                return LoopbackDoor(server.add_insecure_port("127.0.0.1:0"), self._token)
            prepare_socket_folder(self._socket)
            remove_stale_socket(self._socket)
            server.add_insecure_port(_unix_target(str(self._socket)))
        except RuntimeError as error:  # grpc's word for an address that cannot be bound
            raise StorageError(
                f"The control door cannot be opened at {self._socket}",
                hint="Set TITAN_HOME to a folder with a shorter path, on a local disk.",
            ) from error
        return UnixDoor(str(self._socket))


class _ControlService(control_pb2_grpc.ControlServiceServicer):
    def __init__(self, store: SnapshotStore, commands: Commands, token: str) -> None:
        self._store = store
        self._commands = commands
        self._token = token.encode()
        self._watchers: set[asyncio.Event] = set()
        self._is_closing = False

    def end_watchers(self) -> None:
        self._is_closing = True
        for changed in self._watchers:
            changed.set()

    async def GetSnapshot(
        self, request: pb.SnapshotRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.SnapshotReply:
        await self._check_token(context)
        return pb.SnapshotReply(snapshot_json=self._store.current.to_json())

    async def WatchSnapshots(
        self, request: pb.SnapshotRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.SnapshotReply]:
        """Now, and then each change. A slow reader gets the newest value, never a backlog."""
        await self._check_token(context)
        changed = asyncio.Event()

        def on_change(_: AgentSnapshot) -> None:
            changed.set()

        unsubscribe, end_watch = self._store.subscribe(on_change), self._store.watch()
        self._watchers.add(changed)
        try:
            while True:
                changed.clear()
                yield pb.SnapshotReply(snapshot_json=self._store.current.to_json())
                if self._is_closing:
                    return
                await changed.wait()
        finally:
            self._watchers.discard(changed)
            unsubscribe()
            end_watch()

    async def Execute(self, request: pb.CommandRequest, context: grpc.aio.ServicerContext[Any, Any]) -> pb.CommandReply:
        await self._check_token(context)
        try:
            outcome = await self._commands.execute(request.name, dict(request.arguments))
        except AgentError as error:
            log.info("command refused", command=request.name, reason=error)
            return pb.CommandReply(ok=False, message=error.detail, hint=error.hint)
        except Exception:  # the RPC edge: logged, and the caller gets no internals
            log.exception("command failed", command=request.name)
            return pb.CommandReply(ok=False, message="The agent failed on it", hint="`titan logs` shows why.")
        log.info("command done", command=request.name)
        return pb.CommandReply(ok=True, message=outcome.message, result_json=json.dumps(dict(outcome.result)))

    async def _check_token(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        if not self._token:
            return
        given = dict(context.invocation_metadata() or ()).get(_TOKEN_HEADER, "")
        if not hmac.compare_digest(str(given).encode(), self._token):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the control token is missing or wrong")


class ControlClient:
    """Speak with the running agent. An async context manager; snapshots are plain dicts of AgentSnapshot's JSON.

    Every call raises AgentNotRunning when nobody is behind the door, and ControlError when it doesn't answer.
    """

    def __init__(self, door: Door) -> None:
        self._door = door

    async def __aenter__(self) -> ControlClient:
        door = self._door
        target = _unix_target(door.path) if isinstance(door, UnixDoor) else f"127.0.0.1:{door.port}"
        self._metadata = ((_TOKEN_HEADER, door.token),) if isinstance(door, LoopbackDoor) else ()
        self._channel = grpc.aio.insecure_channel(target, options=_OPTIONS)
        self._stub: control_pb2_grpc.ControlServiceAsyncStub = control_pb2_grpc.ControlServiceStub(self._channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close(None)

    async def snapshot(self, timeout_s: float = SNAPSHOT_TIMEOUT_S) -> dict[str, Any]:
        with _translated(timeout_s):
            reply = await self._stub.GetSnapshot(pb.SnapshotRequest(), timeout=timeout_s, metadata=self._metadata)
        return _read_snapshot(reply)

    async def watch(self) -> AsyncGenerator[dict[str, Any], None]:
        """The snapshot now and after each change, until the agent stops. No deadline."""
        call = self._stub.WatchSnapshots(pb.SnapshotRequest(), metadata=self._metadata)
        try:
            with _translated(None):
                async for reply in call:
                    yield _read_snapshot(reply)
        finally:
            call.cancel()  # leaving the loop alone would keep the agent watching

    async def execute(
        self, name: str, arguments: Mapping[str, str] | None = None, *, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> CommandReply:
        """Do one of the owner's commands. Raises CommandRefused with the agent's reason and hint."""
        request = pb.CommandRequest(name=name, arguments=dict(arguments or {}))
        with _translated(timeout_s):
            reply = await self._stub.Execute(request, timeout=timeout_s, metadata=self._metadata)
        if not reply.ok:
            raise CommandRefused(reply.message, hint=reply.hint)
        return CommandReply(message=reply.message, result=json.loads(reply.result_json or "{}"))


def _unix_target(path: str) -> str:
    return f"unix:{quote(path)}"  # grpc reads it as a URI


def _read_snapshot(reply: pb.SnapshotReply) -> dict[str, Any]:
    snapshot: dict[str, Any] = json.loads(reply.snapshot_json)
    return snapshot


@contextlib.contextmanager
def _translated(timeout_s: float | None) -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise _error_of(error, timeout_s) from error


def _error_of(error: grpc.aio.AioRpcError, timeout_s: float | None) -> ControlError:
    match error.code():
        case grpc.StatusCode.UNAVAILABLE:
            return not_running()
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return ControlError(
                f"The agent runs but doesn't answer within {timeout_s:g} s", hint="`titan logs` may show why."
            )
        case grpc.StatusCode.UNAUTHENTICATED:
            return ControlError("The agent refused our control token", hint="Run the command as the agent's user.")
        case _:
            return ControlError(f"The agent answered {error.code().name}", hint="Is it of the same version as `titan`?")
