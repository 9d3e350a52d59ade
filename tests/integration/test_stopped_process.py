"""A process that was stopped for a while, as a frozen virtual machine is: to its clocks that is a sleep."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from core.wake_watch import THRESHOLD_S, TICK_S
from tests.integration.client import OK, client_of, token_of
from tests.integration.running import ID, ollama_agent
from tests.integration.settings import TINY


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGSTOP is not Windows's")
async def test_agent_that_was_stopped_registers_again_and_serves(home: Path) -> None:
    async with ollama_agent(home, HEARTBEAT_INTERVAL="15") as (coordinator, _, agent):
        await agent.wait_event("Registered with")  # the door may tell "ready" before this line has come
        lines = len(agent.log)
        agent.send_signal(signal.SIGSTOP)
        await asyncio.sleep(THRESHOLD_S + TICK_S + 0.5)  # real time: another process's clocks
        agent.send_signal(signal.SIGCONT)
        await agent.wait_event("The machine slept", after=lines)
        await agent.wait_event("Registered with", after=lines)
        assert len(coordinator.registrations) >= 2
        await agent.wait_state("ready")
        async with client_of(agent.endpoint) as client:
            answer = await client.ask(token_of(coordinator, ID, TINY))
        assert answer.code is OK, answer.details
        assert await agent.stop() == 0
