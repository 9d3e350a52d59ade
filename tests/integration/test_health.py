"""`titan health` against a running agent: what a container's health check and a load balancer see."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from tests.fakes.agent_process import run_titan
from tests.integration.running import embedded_agent


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


async def test_health_follows_the_agent_from_ready_over_paused_to_gone(home: Path) -> None:
    async with embedded_agent(home) as (_, agent):
        await agent.wait_state("ready")
        code, out, _ = await run_titan(home, "health", "--address", agent.endpoint)
        assert (code, out) == (0, f"serving ({agent.endpoint})\n")

        await agent.command("pause")
        await agent.wait_state("paused")
        code, out, _ = await run_titan(home, "health", "--json", "--address", agent.endpoint)
        assert (code, json.loads(out)["status"]) == (1, "NOT_SERVING")

        endpoint = agent.endpoint
        assert await agent.stop() == 0
    code, out, err = await run_titan(home, "health", "--address", endpoint)
    assert (code, out) == (1, "")
    assert "doesn't answer" in err


async def test_health_finds_port_and_certificate_in_the_settings(home: Path) -> None:
    environ = {"AGENT_PORT": free_port(), "TITAN_TLS_SELF_SIGNED": "true"}
    async with embedded_agent(home, **environ) as (_, agent):
        await agent.wait_state("ready")
        code, out, err = await run_titan(home, "health", **environ, AGENT_ID=agent.paths.profile)
        assert (code, out) == (0, f"serving (127.0.0.1:{environ['AGENT_PORT']})\n"), err
        code, _, _ = await run_titan(home, "health", "--address", f"127.0.0.1:{environ['AGENT_PORT']}")
        assert code == 1  # plaintext to a TLS port
