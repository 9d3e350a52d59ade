"""A give-back with a real Ollama, where one is installed (or TITAN_TEST_OLLAMA names one): ours leaves, yours stays.

It is started with a folder and a port of its own, and ended by its id; the model is this project's own of 0.4 MB.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from core.assets_path import selftest_model_path
from tests.fakes.agent_process import AgentProcess
from tests.fakes.faulty_coordinator import FaultyCoordinator
from tests.integration.client import OK, client_of, token_of
from tests.integration.running import ID
from tests.integration.settings import ollama

PROGRAM = os.environ.get("TITAN_TEST_OLLAMA") or shutil.which("ollama")
OURS, OWNERS = "ours:latest", "owners:latest"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="no Ollama: install it, or name its program in TITAN_TEST_OLLAMA"),
]


class RealOllama:
    def __init__(self, url: str) -> None:
        self.url = url

    async def ask(self, path: str, **body: object) -> dict[str, object]:
        limit = aiohttp.ClientTimeout(total=60)
        method = "POST" if body else "GET"
        async with (
            aiohttp.ClientSession(timeout=limit) as session,
            session.request(method, self.url + path, json=body or None) as response,
        ):
            response.raise_for_status()
            found: dict[str, object] = await response.json()
            return found

    async def loaded(self) -> list[str]:
        models = (await self.ask("/api/ps"))["models"]
        assert isinstance(models, list)
        return sorted(model["name"] for model in models)


@asynccontextmanager
async def real_ollama(folder: Path) -> AsyncIterator[RealOllama]:
    """With two models: one for the agent to offer, one that is the owner's. Not one model: two names of one are one."""
    assert PROGRAM is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "OLLAMA_HOST": address,
        "OLLAMA_MODELS": str(folder / "models"),
    }
    with (folder / "serve.log").open("wb") as written:
        server = await asyncio.create_subprocess_exec(PROGRAM, "serve", env=environ, stdout=written, stderr=written)
    made = RealOllama(f"http://{address}")
    try:
        await until_up(made)
        for number, name in enumerate((OURS, OWNERS)):
            model = folder / f"{number}.gguf"
            # Bytes behind the last tensor change the digest, and nothing else.
            model.write_bytes(selftest_model_path().read_bytes() + bytes(32 * number))
            (folder / "Modelfile").write_text(f"FROM {model}\n")
            create = (PROGRAM, "create", name, "-f", str(folder / "Modelfile"))
            creating = await asyncio.create_subprocess_exec(
                *create, env=environ, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
            )
            assert await asyncio.wait_for(creating.wait(), 60) == 0
        yield made
    finally:
        if server.returncode is None:
            server.terminate()  # ends its runners too
        await asyncio.wait_for(server.wait(), 20)


async def until_up(server: RealOllama) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await server.ask("/api/version")
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)
            else:
                return


async def test_what_a_session_loaded_leaves_and_what_the_owner_loaded_stays(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ollama"
    folder.mkdir()
    async with FaultyCoordinator() as coordinator, real_ollama(folder) as server:
        await server.ask("/api/generate", model=OWNERS, prompt="hi", stream=False, options={"num_predict": 1})
        assert await server.loaded() == [OWNERS]
        settings = {"COORDINATOR_ENDPOINT": coordinator.endpoint, "AGENT_ID": ID, "SUPPORTED_MODELS": "ours"}
        async with AgentProcess(home, **ollama(server.url, **settings)) as agent:
            await agent.wait_state("ready")
            async with client_of(agent.endpoint) as client:
                assert (await client.ask(token_of(coordinator, ID, "ours"))).code is OK
            assert await server.loaded() == [OURS, OWNERS]

            message, _ = await agent.command("take_back")
            assert f"unloaded {OURS}." in message
            assert f"Your own work keeps {OWNERS}, which stays." in message
            assert await server.loaded() == [OWNERS]

            await server.ask("/api/generate", model=OWNERS, keep_alive=0)
            await agent.command("resume")  # loads ours, and waits for a real token
            await agent.wait_state("ready")
            assert await server.loaded() == [OURS]
            message, result = await agent.command("take_back")
            assert await server.loaded() == []
            assert re.search(r"\d MB back in \d\.\d s", message), message  # alone there, its processes are told apart
            assert result["freed_mb"] > 0
            snapshot = await agent.snapshot()
            assert snapshot["give_back"]["last"]["ok"]
            assert snapshot["give_back"]["last"]["seconds"] < 5.0
            assert await agent.stop() == 0
