"""Times to the first token, through the whole agent and its real engine."""

from __future__ import annotations

from pathlib import Path

from core.paths import profile_paths
from tests.fakes.agent_process import run_titan
from tests.integration.client import OK, client_of, token_of
from tests.integration.running import ID, embedded_agent
from tests.integration.settings import MODEL


async def test_first_tokens_of_cold_and_warm_sessions_are_told_apart_and_shown(home: Path) -> None:
    async with embedded_agent(home) as (coordinator, agent), client_of(agent.endpoint) as client:
        for _ in range(3):
            answer = await client.ask(token_of(coordinator, ID, MODEL), max_tokens=4)
            assert answer.code is OK
        snapshot = await agent.wait_served(3)
        (found,) = snapshot["first_tokens"]
        assert (found["model"], found["cold_sessions"], found["warm_sessions"]) == (MODEL, 1, 2)
        assert found["cold_ms"] > found["warm_ms"] > 0  # it was loaded for the first one
        code, out, err = await run_titan(agent.home, "models", "--profile", ID)
        assert code == 0, err
        assert "when it is loaded first" in " ".join(out.split())
        assert await agent.stop() == 0
    assert (profile_paths(ID, environ={"TITAN_HOME": str(home)}).first_tokens_file).exists()
