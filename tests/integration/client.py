"""A client of the network as the integration tests need one: every message, status and detail is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc

from core.local_coordinator import LocalCoordinator
from proto import titancompute_pb2 as pb
from proto import titancompute_pb2_grpc as pb_grpc

LIMIT_S = 20.0
OK = grpc.StatusCode.OK

Result = TypeVar("Result")


@dataclass
class Answer:
    """What a client got. `code` is OK only for an answer that ended with its final message."""

    pieces: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    code: grpc.StatusCode | None = None  # None while it streams
    details: str = ""

    @property
    def text(self) -> str:
        return "".join(self.pieces)


async def within(awaitable: Awaitable[Result]) -> Result:
    """What would wait for ever in a broken agent fails in time, and the agent's log is shown."""
    async with asyncio.timeout(LIMIT_S):
        return await awaitable


class Client:
    """One channel to one agent."""

    def __init__(self, endpoint: str) -> None:
        self.channel = grpc.aio.insecure_channel(endpoint, options=[("grpc.use_local_subchannel_pool", 1)])
        self.stub: Any = pb_grpc.AgentServiceStub(self.channel)

    async def ask(self, token: str, prompt: str = "hello", **fields: Any) -> Answer:
        """One request to its end."""
        answer = Answer()
        await self.ask_into(answer, token, prompt, **fields)
        return answer

    async def ask_into(self, answer: Answer, token: str, prompt: str, *, on_piece: Any = None, **fields: Any) -> None:
        fields.setdefault("max_tokens", 8)
        request = pb.StreamRequest(session_token=token, prompt=prompt, **fields)
        is_done = False
        call = self.stub.StreamInference(request, timeout=LIMIT_S)
        try:
            async for piece in call:
                if piece.content:
                    answer.pieces.append(piece.content)
                if piece.done:
                    is_done = True
                    answer.metadata = dict(piece.metadata)
                if on_piece is not None:
                    on_piece()
            answer.code = OK if is_done else grpc.StatusCode.UNKNOWN
        except grpc.aio.AioRpcError as error:
            answer.code, answer.details = error.code(), error.details() or ""
        finally:
            call.cancel()

    @asynccontextmanager
    async def streaming(self, token: str, prompt: str = "hello", **fields: Any) -> AsyncIterator[tuple[Answer, Any]]:
        """A request whose answer has begun: (the answer so far, the task that ends with it)."""
        answer, begun = Answer(), asyncio.Event()
        task = asyncio.create_task(self.ask_into(answer, token, prompt, on_piece=begun.set, **fields))
        waiting = asyncio.create_task(begun.wait())
        try:
            await asyncio.wait((task, waiting), timeout=LIMIT_S, return_when=asyncio.FIRST_COMPLETED)
            assert begun.is_set(), f"no answer began: {answer.code} {answer.details}"
            yield answer, task
        finally:
            waiting.cancel()
            task.cancel()
            await asyncio.wait((task, waiting))

    async def status(self) -> pb.AgentStatusResponse:
        response: pb.AgentStatusResponse = await self.stub.GetStatus(pb.AgentStatusRequest(), timeout=LIMIT_S)
        return response


@asynccontextmanager
async def client_of(endpoint: str) -> AsyncIterator[Client]:
    client = Client(endpoint)
    try:
        yield client
    finally:
        await client.channel.close(None)


def token_of(coordinator: LocalCoordinator, agent_id: str, model: str, **options: Any) -> str:
    return coordinator.issue_token(agent_id=agent_id, model=model, **options)
