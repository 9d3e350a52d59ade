"""`titan run` beside a coordinator of the tests' own, ready to serve."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.fakes.agent_process import AgentProcess, HastyAgentProcess
from tests.fakes.fake_ollama import FakeOllama
from tests.fakes.faulty_coordinator import FaultyCoordinator
from tests.integration.settings import EMBEDDED, ollama

ID = "agent-1"


@asynccontextmanager
async def embedded_agent(home: Path, **environ: str) -> AsyncIterator[tuple[FaultyCoordinator, AgentProcess]]:
    """With the engine that needs nobody, and `environ` over its settings."""
    async with (
        FaultyCoordinator() as coordinator,
        process_of(environ)(
            home, **{**EMBEDDED, "COORDINATOR_ENDPOINT": coordinator.endpoint, "AGENT_ID": ID, **environ}
        ) as agent,
    ):
        await agent.wait_state("ready")
        yield coordinator, agent


@asynccontextmanager
async def ollama_agent(home: Path, **environ: str) -> AsyncIterator[tuple[FaultyCoordinator, FakeOllama, AgentProcess]]:
    """With a fake Ollama, and `environ` over its settings."""
    async with FaultyCoordinator() as coordinator, FakeOllama() as engine:
        settings = {"COORDINATOR_ENDPOINT": coordinator.endpoint, "AGENT_ID": ID, **environ}
        async with process_of(environ)(home, **ollama(engine.url, **settings)) as agent:
            await agent.wait_state("ready")
            yield coordinator, engine, agent


def process_of(environ: Mapping[str, str]) -> type[AgentProcess]:
    """The program whose intervals may be shortened, where some are (tests/fakes/hasty_titan.py)."""
    return HastyAgentProcess if "HASTY" in environ else AgentProcess
