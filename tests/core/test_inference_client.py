"""What a client is told when the coordinator or the agent says no, and when nobody is there to say anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from core.errors import CoordinatorUnreachable
from core.inference_client import AnswerEnd, AskError, Grant, Question, TlsChoice, request_token, stream_answer
from core.tls import ensure_self_signed
from proto import titancompute_pb2 as pb
from proto import titancompute_pb2_grpc as pb_grpc
from tests.core.serving_fixtures import Serving, listening
from tests.fakes.faulty_coordinator import FaultyCoordinator
from tests.fakes.tcp_relay import TcpRelay

QUESTION = Question(prompt="hello", model="tiny")


class ScriptedAgent(pb_grpc.AgentServiceServicer):
    """Sends its messages, then ends with its status."""

    def __init__(self, messages: list[pb.StreamResponse], code: grpc.StatusCode | None = None, words: str = "") -> None:
        self._messages, self._code, self._words = messages, code, words

    async def StreamInference(self, request: pb.StreamRequest, context: Any) -> AsyncIterator[pb.StreamResponse]:
        for message in self._messages:
            yield message
        if self._code is not None:
            await context.abort(self._code, self._words)

    async def GetStatus(self, request: pb.AgentStatusRequest, context: Any) -> pb.AgentStatusResponse:
        raise NotImplementedError


@asynccontextmanager
async def scripted(agent: ScriptedAgent) -> AsyncIterator[Grant]:
    server = grpc.aio.server()
    pb_grpc.add_AgentServiceServicer_to_server(agent, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield Grant(agent_id="agent-1", agent_endpoint=f"127.0.0.1:{port}", session_token="t")
    await server.stop(None)


async def collect(grant: Grant) -> list[str | AnswerEnd]:
    return [piece async for piece in stream_answer(grant, QUESTION, limit_s=10)]


async def test_pieces_come_as_they_are_and_the_end_has_the_figures() -> None:
    messages = [
        pb.StreamResponse(content="Hel", token="Hel"),
        pb.StreamResponse(content="lo", token="lo"),
        pb.StreamResponse(done=True, metadata={"tokens_per_second": "12.5", "prompt_tokens": ""}),
    ]
    async with scripted(ScriptedAgent(messages)) as grant:
        *pieces, end = await collect(grant)
    assert pieces == ["Hel", "lo"]
    assert isinstance(end, AnswerEnd)
    assert end.number("tokens_per_second") == 12.5
    assert end.number("prompt_tokens") is None
    assert end.time_to_first_token_ms is not None
    assert 0 < end.time_to_first_token_ms <= end.seconds * 1000


async def test_refusal_is_given_in_the_agents_own_words() -> None:
    """Also when they hold words that gRPC uses of a missing connection."""
    agent = ScriptedAgent([], grpc.StatusCode.UNAVAILABLE, "paused by the owner of the machine named box")
    async with scripted(agent) as grant:
        with pytest.raises(AskError, match="the agent said no: paused by the owner of the machine named box"):
            await collect(grant)


async def test_an_agent_that_dies_in_mid_answer_is_not_said_to_be_unreachable() -> None:
    class Endless(ScriptedAgent):
        async def StreamInference(self, request: pb.StreamRequest, context: Any) -> AsyncIterator[pb.StreamResponse]:
            yield pb.StreamResponse(content="Hel")
            await asyncio.Event().wait()

    async with scripted(Endless([])) as grant, TcpRelay(int(grant.agent_endpoint.rpartition(":")[2])) as relay:
        answer = stream_answer(replace(grant, agent_endpoint=f"127.0.0.1:{relay.port}"), QUESTION, limit_s=10)
        assert await anext(answer) == "Hel"
        relay.reset()
        with pytest.raises(AskError, match="ended the answer early"):
            await anext(answer)


async def test_answer_without_its_final_message_is_an_error() -> None:
    async with scripted(ScriptedAgent([pb.StreamResponse(content="Hel")])) as grant:
        with pytest.raises(AskError, match="ended the answer early"):
            await collect(grant)


async def test_agent_that_is_not_there_is_said_to_be_unreachable() -> None:
    async with scripted(ScriptedAgent([])) as grant:
        pass
    with pytest.raises(AskError, match="can't be reached") as error:
        await collect(grant)
    assert "PUBLIC_HOST" in error.value.hint


async def test_agent_that_speaks_tls_is_a_possible_reason_and_its_option_is_named(tmp_path: Path) -> None:
    material = ensure_self_signed("localhost", tmp_path / "agent.crt", tmp_path / "agent.key")
    async with listening(Serving(), tls=(material.private_key, material.certificate_chain)) as server:
        grant = Grant(agent_id="agent-1", agent_endpoint=f"localhost:{server.ports[0]}", session_token="t")
        with pytest.raises(AskError, match="can't be reached") as error:
            await collect(grant)
    assert "titan ask --agent-ca FILE" in error.value.hint


async def test_agent_that_speaks_no_tls_is_a_possible_reason(tmp_path: Path) -> None:
    material = ensure_self_signed("localhost", tmp_path / "agent.crt", tmp_path / "agent.key")
    ca_path = tmp_path / "ca.pem"
    ca_path.write_bytes(material.certificate_chain)
    tls = TlsChoice(enabled=True, ca_path=ca_path)
    async with scripted(ScriptedAgent([])) as grant:
        with pytest.raises(AskError, match="can't be reached") as error:
            async for _ in stream_answer(grant, QUESTION, tls=tls, limit_s=10):
                pass
    assert "it speaks no TLS" in error.value.hint


async def test_coordinator_without_agents_and_without_itself() -> None:
    coordinator = FaultyCoordinator()
    async with coordinator:
        with pytest.raises(AskError, match="said no: no agents available"):
            await request_token(coordinator.endpoint, QUESTION, client_id="c")
    with pytest.raises(CoordinatorUnreachable, match=r"can't be reached \(connection refused\)"):
        await request_token(coordinator.endpoint, QUESTION, client_id="c")


async def test_a_name_that_nobody_knows_is_told_in_our_words() -> None:
    with pytest.raises(CoordinatorUnreachable, match=r"can't be reached \(its name isn't found\)"):
        await request_token("no-such-coordinator.invalid:50051", QUESTION, client_id="c")


async def test_an_agent_asked_for_a_token_is_no_coordinator() -> None:
    async with scripted(ScriptedAgent([])) as grant:
        with pytest.raises(AskError, match=f"what answers at {grant.agent_endpoint} is no coordinator"):
            await request_token(grant.agent_endpoint, QUESTION, client_id="c")


async def test_prompt_never_goes_to_the_coordinator() -> None:
    prompts: list[str] = []

    async def answer(request: pb.InferenceRequest, _: Any) -> pb.InferenceResponse:
        prompts.append(request.prompt)
        return pb.InferenceResponse(agent_endpoint="127.0.0.1:1", session_token="t", agent_id="agent-1")

    handler = grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=pb.InferenceRequest.FromString,
        response_serializer=pb.InferenceResponse.SerializeToString,
    )
    service = pb.DESCRIPTOR.services_by_name["CoordinatorService"].full_name
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"RequestInference": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    grant = await request_token(f"127.0.0.1:{port}", Question(prompt="a secret"), client_id="c")
    await server.stop(None)
    assert grant.agent_endpoint == "127.0.0.1:1"
    assert "secret" not in prompts[0]
    assert prompts[0]
