"""`titan demo` whole, and the self-test's own door: its tokens open nothing else, during and after."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import grpc
import pytest

from core import selftest
from core.agent import Agent
from core.config_load import load_settings
from core.local_coordinator import LocalCoordinator
from tests.fakes.agent_process import run_titan
from tests.fakes.fake_ollama import FakeOllama
from tests.fakes.faulty_coordinator import FaultyCoordinator
from tests.fakes.gguf_models import TinyModel, write_model
from tests.integration.client import OK, client_of, token_of, within
from tests.integration.settings import MODEL, TINY, ollama


async def test_demo_goes_the_whole_way_and_leaves_nothing(home: Path) -> None:
    scratch = home / "tmp"
    scratch.mkdir()
    code, out, err = await run_titan(
        home, "demo", "--max-tokens", "8", "--json", TMPDIR=str(scratch), AGENT_PORT="1", SUPPORTED_MODELS="other"
    )
    assert code == 0, err
    facts = json.loads(out)
    assert (facts["model"], facts["engine"], facts["completion_tokens"]) == (MODEL, "embedded", 8)
    assert facts["answer"]
    assert facts["tokens_per_second"] > 0
    assert facts["time_to_first_token_ms"] > 0
    assert facts["agent_endpoint"].startswith("127.0.0.1:")
    assert err == ""
    assert _everything_below(home) == ["tmp"]


async def test_demo_takes_the_named_file_and_looks_at_no_other_below_its_folder(home: Path) -> None:
    models = home / "models"
    (models / "a").mkdir(parents=True)
    write_model(models / "mine.gguf", TinyModel(name="mine", blocks=1, vocabulary=512))
    other = (models / "mine.gguf").read_bytes().replace(b"llama", b"lxxma")  # a model, but not for this engine
    (models / "a" / "mine.gguf").write_bytes(other)
    code, out, err = await run_titan(home, "demo", "--model", str(models / "mine.gguf"), "--max-tokens", "4", "--json")
    assert code == 0, err
    assert (json.loads(out)["model"], json.loads(out)["is_selftest_model"]) == ("mine", False)


async def test_demo_says_what_is_wrong_with_a_damaged_file(home: Path) -> None:
    (home / "broken.gguf").write_bytes(b"GUFF" * 100)
    code, _, err = await run_titan(home, "demo", "--model", str(home / "broken.gguf"))
    assert (code, "it does not begin as a GGUF file does" in err) == (1, True), err


async def test_ask_says_what_the_coordinator_says_when_there_is_no_agent(home: Path) -> None:
    async with FaultyCoordinator() as coordinator:
        code, out, err = await run_titan(home, "ask", "hello", "--coordinator", coordinator.endpoint, "--model", TINY)
    assert (code, out) == (1, "")
    assert "no agents available" in err


async def test_selftest_tokens_are_refused_at_the_public_door_during_and_after(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[LocalCoordinator] = []

    class Kept(LocalCoordinator):
        async def start(self) -> None:
            await super().start()
            made.append(self)

    monkeypatch.setattr(selftest, "LocalCoordinator", Kept)
    async with FaultyCoordinator() as coordinator, FakeOllama() as engine:
        environ = {"TITAN_HOME": str(home), **ollama(engine.url, COORDINATOR_ENDPOINT=coordinator.endpoint)}
        loaded = load_settings(environ={**environ, "AGENT_ID": "agent-1"})
        async with Agent(loaded) as agent:
            await within(coordinator.wait_for_calls("ReportHealth", 1))
            engine.pace()
            engine.let_through(1)
            endpoint = agent.report.endpoint
            during: list[grpc.StatusCode | None] = []
            pieces: list[str] = []
            async with client_of(endpoint) as client:
                testing = asyncio.create_task(selftest.run_self_test(agent, on_text=pieces.append))
                await within(engine.streaming.wait())
                assert agent.admission.running_jobs == 1
                token = token_of(made[0], "agent-1", TINY)
                during.append((await client.ask(token)).code)
                assert not testing.done()
                engine.let_through(100)
                end = await within(testing)
                assert end.metadata["model"] == TINY
                assert "".join(pieces) == "".join(engine.answer)
                during.append((await client.ask(token)).code)
                assert (await client.ask(token_of(coordinator, "agent-1", TINY))).code is OK
            assert during == [grpc.StatusCode.UNAUTHENTICATED] * 2


def _everything_below(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*")]
