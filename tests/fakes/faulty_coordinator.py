"""A coordinator with faults, on top of the one-machine coordinator: the rest behaves as the public one does."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import cache
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric import rsa

from core.local_coordinator import Context, CoordinatorServicer, LocalCoordinator
from core.token_signer import TokenSigner
from proto import titancompute_pb2 as pb


@cache
def test_signer(number: int) -> TokenSigner:
    """A key pair that is made once per test run; different numbers are different keys."""
    return TokenSigner(rsa.generate_private_key(65537, 2048))


test_signer.__test__ = False  # type: ignore[attr-defined]  # pytest must not collect it


class FaultyCoordinator(LocalCoordinator):
    """Switch faults on and off while it runs; look at what was asked of it.

    hang/release: a method accepts and doesn't answer (released later, it was only slow).
    stop_acks: beats are taken and never acknowledged, as on a half-open connection.
    refuse/refuse_with: registrations are answered "error", or fail with a gRPC status.
    forget: the agent's heartbeats were missed. forget_always: no registration helps.
    drain: a graceful stop, which waits for open streams, as a coordinator's does on SIGTERM.
    restart: gone and back on the same port, with a new key unless told otherwise.
    """

    def __init__(self, **options: Any) -> None:
        self._key_number = 0
        options.setdefault("signer", test_signer(0))
        super().__init__(**options)
        self.calls: Counter[str] = Counter()
        self.registrations: list[pb.AgentRegistration] = []
        self.beats: list[pb.HealthUpdate] = []
        self.deadlines_s: dict[str, float | None] = {}  # what was left of the caller's limit, by method
        self.refusal: str | None = None
        self.refusal_code: grpc.StatusCode | None = None
        self.stop_acks = False
        self.forget_always = False
        self.open_streams = 0
        self._hung: dict[str, asyncio.Event] = {}
        self._changed = asyncio.Event()

    def hang(self, *methods: str) -> None:
        for method in methods:
            self._hung[method] = asyncio.Event()

    def release(self, *methods: str) -> None:
        for method in methods:
            self._hung.pop(method).set()

    def refuse(self, message: str) -> None:
        self.refusal = message

    def refuse_with(self, code: grpc.StatusCode | None) -> None:
        self.refusal_code = code

    def forget(self, agent_id: str) -> None:
        self.registry.forget(agent_id)

    async def drain(self, grace_s: float = 60.0) -> None:
        """Stop listening and send GOAWAY; returns once every call has ended by itself (or after the grace)."""
        server, self._server = self._server, None
        assert server is not None
        await server.stop(grace_s)
        await self.stop()

    async def restart(self, *, new_key: bool = True) -> None:
        await self.stop()
        await self.come_back(new_key=new_key)

    async def come_back(self, *, new_key: bool = True) -> None:
        """Start again after `stop()`, on the same port."""
        if new_key:
            self._key_number += 1
            self._signer = test_signer(self._key_number)
        await self.start()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Until the condition holds; it is looked at after every call and beat."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def wait_for_calls(self, method: str, count: int) -> None:
        await self.wait_until(lambda: self.calls[method] >= count)

    async def enter(self, method: str, context: Context) -> None:
        """Count a call, and hang it when told so."""
        self.calls[method] += 1
        self.deadlines_s[method] = context.time_remaining()
        self.note_change()
        if method in self._hung:
            await self._hung[method].wait()

    def note_change(self) -> None:
        self._changed.set()

    def _make_servicer(self) -> CoordinatorServicer:
        return _FaultyServicer(
            self,
            self._registry,
            self.signer,
            heartbeat_interval_s=self._heartbeat_interval_s,
            token_lifetime_s=self._token_lifetime_s,
            wall=self._wall,
            monotonic=self._monotonic,
        )


class _FaultyServicer(CoordinatorServicer):
    def __init__(self, faults: FaultyCoordinator, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._faults = faults

    async def RegisterAgent(self, request: pb.AgentRegistration, context: Context) -> pb.RegistrationResponse:
        self._faults.registrations.append(request)
        await self._faults.enter("RegisterAgent", context)
        if self._faults.refusal_code is not None:
            await context.abort(self._faults.refusal_code, "refused by a test")
        if self._faults.refusal is not None:
            return pb.RegistrationResponse(status="error", message=self._faults.refusal)
        return await super().RegisterAgent(request, context)

    async def GetPublicKey(self, request: pb.PublicKeyRequest, context: Context) -> pb.PublicKeyResponse:
        await self._faults.enter("GetPublicKey", context)
        return await super().GetPublicKey(request, context)

    async def RequestInference(self, request: pb.InferenceRequest, context: Context) -> pb.InferenceResponse:
        await self._faults.enter("RequestInference", context)
        return await super().RequestInference(request, context)

    async def QuerySystemStatus(self, request: pb.StatusRequest, context: Context) -> pb.SystemStatus:
        await self._faults.enter("QuerySystemStatus", context)
        return await super().QuerySystemStatus(request, context)

    async def ReportHealth(
        self, request_iterator: AsyncIterator[pb.HealthUpdate], context: Context
    ) -> AsyncIterator[pb.HealthAck]:
        await self._faults.enter("ReportHealth", context)
        self._faults.open_streams += 1
        try:
            async for update in request_iterator:
                if self._faults.forget_always:
                    self._faults.forget(update.agent_id)
                ack = self._take_beat(update)
                self._faults.beats.append(update)
                self._faults.note_change()
                if not self._faults.stop_acks:
                    yield ack
        finally:
            self._faults.open_streams -= 1
            self._faults.note_change()
