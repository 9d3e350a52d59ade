"""`titan run` beside a coordinator of the tests' own, ready to serve."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.fakes.agent_process import AgentProcess
from tests.fakes.fake_ollama import FakeOllama
from tests.fakes.faulty_coordinator import FaultyCoordinator
from tests.integration.settings import EMBEDDED, ollama

ID = "agent-1"


@asynccontextmanager
async def embedded_agent(home: Path, **environ: str) -> AsyncIterator[tuple[FaultyCoordinator, AgentProcess]]:
    """With the engine that needs nobody, and `environ` over its settings."""
    async with (
        FaultyCoordinator() as coordinator,
        AgentProcess(
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
        async with AgentProcess(home, **ollama(engine.url, **settings)) as agent:
            await agent.wait_state("ready")
            yield coordinator, engine, agent
