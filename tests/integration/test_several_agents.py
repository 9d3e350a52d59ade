"""The seed's block: three agents of one machine, started with `&` in one home."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import socket
import sys
from pathlib import Path

from core.paths import profile_paths
from tests.fakes.agent_process import ROOT, child_environment, run_titan
from tests.fakes.fake_ollama import FakeOllama
from tests.fakes.faulty_coordinator import FaultyCoordinator
from tests.integration.client import OK, client_of, token_of, within
from tests.integration.settings import TINY, ollama

BLOCK = """
# Agent 1
AGENT_ID=agent-1 AGENT_PORT={0} {titan} run &

# Agent 2
AGENT_ID=agent-2 AGENT_PORT={1} {titan} run &

# Agent 3
AGENT_ID=agent-3 AGENT_PORT={2} {titan} run &

trap 'kill $(jobs -p); wait' TERM
wait
"""


async def test_three_agents_in_one_home_register_and_serve(home: Path) -> None:
    ports = _free_ports(3)
    names = ("agent-1", "agent-2", "agent-3")
    script = BLOCK.format(*ports, titan=f"{shlex.quote(sys.executable)} -m core")
    async with FaultyCoordinator() as coordinator, FakeOllama() as engine:
        settings = ollama(engine.url, COORDINATOR_ENDPOINT=coordinator.endpoint)
        del settings["AGENT_PORT"]
        shell = await asyncio.create_subprocess_exec(
            *("bash", "-c", script),
            cwd=ROOT,
            env=child_environment(home, **settings),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        reading = asyncio.create_task(shell.communicate())
        try:
            await within(coordinator.wait_until(lambda: {beat.agent_id for beat in coordinator.beats} >= set(names)))
            assert {record.registration.endpoint for record in coordinator.agents.values()} == {
                f"127.0.0.1:{port}" for port in ports
            }
            for name, port in zip(names, ports, strict=True):
                async with client_of(f"127.0.0.1:{port}") as client:
                    assert (await client.ask(token_of(coordinator, name, TINY))).code is OK
            code, out, err = await run_titan(home, "status", "--profile", "agent-2", "--json")
            assert code == 0, err
            status = json.loads(out)
            assert (status["agent_id"], status["totals"]["requests_processed"]) == ("agent-2", 1)
            code, out, err = await run_titan(home, "status", "--json", AGENT_ID="agent-3")
            assert json.loads(out)["agent_id"] == "agent-3", err
            shell.send_signal(signal.SIGTERM)
            await within(shell.wait())
        finally:
            if shell.returncode is None:
                os.killpg(shell.pid, signal.SIGKILL)  # our own session: the shell and its three agents
        _, err_text = await within(reading)
        assert err_text.count(b'"state":"stopped"') == 3
    places = [profile_paths(name, environ={"TITAN_HOME": str(home)}) for name in names]
    for paths in places:
        assert paths.log_file.exists()
        assert paths.spent_tokens_file.exists()
    assert len({paths.state_dir for paths in places}) == 3


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [taken.getsockname()[1] for taken in sockets]
    for taken in sockets:
        taken.close()
    return ports
