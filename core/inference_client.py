"""Ask as a client would: a coordinator for a token, then the agent that it names."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from grpc import aio

from core.errors import AgentError, CoordinatorUnreachable
from core.network import DEFAULT_COORDINATOR_PORT, parse_endpoint
from core.reasons.of_network import kind_of_silence
from core.tls import load_authority
from proto import titancompute_pb2 as pb
from proto import titancompute_pb2_grpc as pb_grpc

TOKEN_LIMIT_S = 10.0
OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))

# How gRPC itself speaks of a connection that isn't there, in lower case.
_GRPC_WORDS = ("connect", "deadline exceeded", "dns resolution", "name resolution", "errors resolving", "socket closed")


class AskError(AgentError):
    """The coordinator or the agent said no, or wasn't there."""

    title = "No answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a coordinator gives a client: an agent and a token for one session on it."""

    agent_id: str
    agent_endpoint: str  # host:port
    session_token: str = field(repr=False)
    job_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a client asks. `model` "" means any model to the coordinator."""

    prompt: str = field(repr=False)
    model: str = ""
    max_tokens: int = 0
    temperature: float = 0.0
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerEnd:
    """How an answer ended, as the agent's final message says and as the client saw it."""

    metadata: Mapping[str, str]
    time_to_first_token_ms: float | None  # from sending the request; None when there was no text
    seconds: float

    def number(self, name: str) -> float | None:
        """A figure of the final message, None when it isn't there."""
        try:
            return float(self.metadata[name])
        except (KeyError, ValueError):
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsChoice:
    """How to reach an endpoint: in plaintext, or with TLS and, where it signed itself, its own certificate."""

    enabled: bool = False
    ca_path: Path | None = None

    def channel(self, endpoint: str) -> aio.Channel:
        if not self.enabled:
            return aio.insecure_channel(endpoint, options=OPTIONS)
        roots = None if self.ca_path is None else load_authority(self.ca_path)
        return aio.secure_channel(endpoint, grpc.ssl_channel_credentials(roots), options=OPTIONS)


PLAINTEXT = TlsChoice()


async def request_token(
    coordinator: str, question: Question, *, client_id: str, tls: TlsChoice = PLAINTEXT, limit_s: float = TOKEN_LIMIT_S
) -> Grant:
    """Ask the coordinator for an agent and a token.

    It insists on a prompt but needs none: it gets a placeholder, the agent gets the real one.

    Raises CoordinatorUnreachable, AskError, ConfigError.
    """
    endpoint = str(parse_endpoint(coordinator, default_port=DEFAULT_COORDINATOR_PORT))
    request = pb.InferenceRequest(
        client_id=client_id,
        model=question.model,
        prompt="(sent to the agent)",
        max_tokens=question.max_tokens,
        temperature=question.temperature,
        parameters=dict(question.options),
    )
    async with tls.channel(endpoint) as channel:
        try:
            reply = await pb_grpc.CoordinatorServiceStub(channel).RequestInference(request, timeout=limit_s)
        except aio.AioRpcError as error:
            raise _coordinator_error(endpoint, error) from None
    if not reply.agent_endpoint or not reply.session_token:
        raise AskError(
            f"the coordinator {endpoint} named no agent for the model {question.model or '(any)'}",
            hint="Ask later, or for another model: titan status on an agent shows what it offers.",
        )
    return Grant(
        agent_id=reply.agent_id,
        agent_endpoint=reply.agent_endpoint,
        session_token=reply.session_token,
        job_id=reply.job_id,
    )


async def stream_answer(
    grant: Grant, question: Question, *, tls: TlsChoice = PLAINTEXT, limit_s: float | None = None
) -> AsyncGenerator[str | AnswerEnd, None]:
    """The answer's pieces as they come, then one AnswerEnd. Raises AskError when the agent refuses or breaks off."""
    request = pb.StreamRequest(
        session_token=grant.session_token,
        model=question.model,
        prompt=question.prompt,
        max_tokens=question.max_tokens,
        temperature=question.temperature,
        stream=True,
        options=dict(question.options),
    )
    began = time.monotonic()
    first: float | None = None
    async with tls.channel(grant.agent_endpoint) as channel:
        call = pb_grpc.AgentServiceStub(channel).StreamInference(request, timeout=limit_s)
        try:
            async for piece in call:
                if piece.content:
                    first = first if first is not None else time.monotonic()
                    yield piece.content
                if piece.done:
                    yield AnswerEnd(
                        metadata=dict(piece.metadata),
                        time_to_first_token_ms=None if first is None else (first - began) * 1000,
                        seconds=time.monotonic() - began,
                    )
                    return
        except aio.AioRpcError as error:
            raise _agent_error(grant, tls, error, has_begun=first is not None) from None
        finally:
            call.cancel()
    raise _ended_early(grant)


def _coordinator_error(endpoint: str, error: aio.AioRpcError) -> AgentError:
    code = error.code()
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED) and not _is_told(error):
        return CoordinatorUnreachable(
            f"the coordinator {endpoint} can't be reached ({kind_of_silence(error.details() or '')})",
            hint="Check the address (--coordinator HOST:PORT) and that it runs.",
        )
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return AskError(
            f"what answers at {endpoint} is no coordinator", hint="Check the port (--coordinator HOST:PORT)."
        )
    return AskError(f"the coordinator {endpoint} said no: {error.details()} ({code.name})", hint="Ask again later.")


def _agent_error(grant: Grant, tls: TlsChoice, error: aio.AioRpcError, *, has_begun: bool) -> AskError:
    code = error.code()
    if code is grpc.StatusCode.UNAVAILABLE and not _is_told(error):
        if has_begun:
            return _ended_early(grant)
        return AskError(
            f"the agent {grant.agent_id or '?'} at {grant.agent_endpoint} can't be reached",
            hint=f"Its address may be wrong (PUBLIC_HOST), a firewall or router be in between, or {_other_way(tls)}",
        )
    return AskError(f"the agent said no: {error.details()} ({code.name})", hint="Ask the coordinator again.")


def _ended_early(grant: Grant) -> AskError:
    return AskError(f"the agent {grant.agent_endpoint} ended the answer early", hint="Ask again.")


def _other_way(tls: TlsChoice) -> str:
    """Nobody tells a client whether an agent speaks TLS."""
    if tls.enabled:
        return "it speaks no TLS, or has another certificate than the one given."
    return "it speaks TLS (titan ask --agent-ca FILE)."


def _is_told(error: aio.AioRpcError) -> bool:
    """Whether the peer itself answered, rather than gRPC for want of a connection."""
    details = (error.details() or "").lower()
    return bool(details) and not any(words in details for words in _GRPC_WORDS)
