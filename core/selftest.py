"""A real prompt through the whole local path: a throw-away server around the agent's own engine and admission.

It and the coordinator that signs for it listen on 127.0.0.1 only, with a key that the public door never hears of: a
token of theirs is refused there, during and after.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from core.agent import Agent
from core.agent_server import AgentServer, ServerOptions
from core.commands import CommandOutcome
from core.engines.names import find_model
from core.errors import ModelError, ModelNotFound
from core.inference_client import AnswerEnd, Grant, Question, stream_answer
from core.jwt_validator import JwtValidator, TokenClaims
from core.local_coordinator import LocalCoordinator
from core.replay_store import ReplayStore
from core.take_back import memory_as_found

PROMPT = "Say hello to the person who lends you this machine."
MAX_TOKENS = 64
LIMIT_S = 180.0  # the model may have to be loaded first


@dataclass(frozen=True, slots=True)
class SelfTestDoor:
    """Tokens of the throw-away coordinator, kept in memory only."""

    validator: JwtValidator
    spent: ReplayStore

    async def verify(self, token: str) -> TokenClaims:
        return self.validator.verify(token)

    def spend(self, claims: TokenClaims) -> None:
        self.spent.spend(claims.jti, claims.exp)


async def run_self_test(
    agent: Agent,
    *,
    model: str = "",
    prompt: str = PROMPT,
    max_tokens: int = MAX_TOKENS,
    on_text: Callable[[str], None] = lambda _: None,
) -> AnswerEnd:
    """Stream one answer through token → gRPC → engine. Raises the errors that a client would get, and ModelError.

    `model` "": the first one that is offered. While the agent is held for its setup, any that the engine has.
    """
    model = _tested_model(agent, model)
    async with _tried(agent, model), LocalCoordinator() as coordinator:
        validator = JwtValidator(agent.settings.agent_id)
        validator.set_key(coordinator.public_key_pem)
        server = AgentServer(
            service=agent.services.make(SelfTestDoor(validator, ReplayStore(None)), is_owner=True),
            options=ServerOptions(addresses=("127.0.0.1:0",), max_calls=1, max_prompt_bytes=64 * 1024),
            snapshot=lambda: agent.store.current,
        )
        await server.start()
        try:
            grant = Grant(
                agent_id=agent.settings.agent_id,
                agent_endpoint=f"127.0.0.1:{server.ports[0]}",
                session_token=coordinator.issue_token(agent_id=agent.settings.agent_id, model=model),
            )
            question = Question(prompt=prompt, max_tokens=max_tokens)
            async with aclosing(stream_answer(grant, question, limit_s=LIMIT_S)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, AnswerEnd):
                        return piece
                    on_text(piece)
        finally:
            await server.stop(0.5)
    raise AssertionError("stream_answer ends with an AnswerEnd or raises")


def _tested_model(agent: Agent, wanted: str) -> str:
    if wanted and agent.is_held:
        name = find_model(wanted, tuple(model.name for model in agent.models.models))
        if name is None:
            raise ModelNotFound(f"the engine has no model {wanted!r}")
        return name
    if not agent.models.offered:
        raise ModelError(agent.models.problem or "no model is offered", hint=agent.models.problem_hint)
    if not wanted:
        return agent.models.offered[0]
    name = find_model(wanted, agent.models.offered)
    if name is None:
        raise ModelError(f"{wanted!r} is not offered", hint="Offer it first.")
    return name


@asynccontextmanager
async def _tried(agent: Agent, model: str) -> AsyncIterator[None]:
    """Serve a model that isn't offered, while nothing is shared anyway."""
    before = agent.models.trials
    agent.models.trials = (model,) if agent.is_held else ()
    try:
        yield
    finally:
        agent.models.trials = before


async def self_test_outcome(agent: Agent, model: str = "") -> CommandOutcome:
    """The owner's self-test command: figures only, the text of the answer is dropped."""
    with memory_as_found(agent):
        end = await run_self_test(agent, model=model)
    speed = end.number("tokens_per_second") or 0.0
    first_ms = end.number("time_to_first_token_ms")
    first = "" if first_ms is None else f", first token after {first_ms:.0f} ms"
    model = end.metadata.get("model", "")
    message = f"A real prompt for {model} went through token, gRPC and engine: {speed:.1f} tokens/s{first}."
    return CommandOutcome(message, {**end.metadata, "seconds": round(end.seconds, 3)})
