"""The promise that nothing a client says or gets is ever written, through every path of the whole agent."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import grpc
import pytest

from core.agent import Agent
from core.app import run_agent
from core.config_load import load_settings
from core.inference import InferenceService
from tests.fakes.agent_process import AgentProcess
from tests.fakes.canary import assert_no_canary
from tests.fakes.fake_engine_server import FakeEngineServer, Fault
from tests.fakes.fake_ollama import FakeOllama
from tests.fakes.fake_openai import FakeOpenAI
from tests.fakes.faulty_coordinator import FaultyCoordinator
from tests.integration.client import OK, Client, client_of, token_of
from tests.integration.running import ID, embedded_agent, ollama_agent
from tests.integration.settings import EMBEDDED, MODEL, TINY, ollama, openai

CANARY = "qXv7-canary-Zw93kT-unlike-anything"
ANSWER = [CANARY[:7], CANARY[7:20], CANARY[20:], " the end"]
PROMPT_CANARY = "prompt-zQ7vX-canary-of-a-stranger"
ANSWER_CANARY = "answer-kW3tY-canary-of-the-model"
MACHINE = "/home/alice-pL9mN/models via 10.0.0.7:11434"
QUOTING = f'{MACHINE}: Failed to parse input at pos 0: "{ANSWER_CANARY}", asked: "{PROMPT_CANARY}"'
INTERNAL, INVALID = grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT


async def test_canary_in_prompt_answer_token_and_options_is_never_written(home: Path) -> None:
    settings = {"TITAN_LOG_LEVEL": "debug", "TITAN_MAX_PROMPT_BYTES": "2000", "MAX_CONCURRENT_JOBS": "1"}
    async with ollama_agent(home, **settings) as (coordinator, engine, agent):
        engine.answer = ANSWER
        async with client_of(agent.endpoint) as client:
            tokens = await _send_everywhere(engine, coordinator, client)
            await agent.wait_served(2)
            await agent.command("retry_engine")
            await agent.command("self_test")  # its answer is the canary too
            assert CANARY not in str(await agent.snapshot())
        assert await agent.stop() == 0
    places: list[Path | str | bytes] = [home, agent.out, agent.err]
    assert_no_canary(places, CANARY)
    for token in tokens:
        assert_no_canary(places, token.rpartition(".")[2])


async def _send_everywhere(engine: FakeOllama, coordinator: FaultyCoordinator, client: Client) -> list[str]:
    """Success, refusals of every kind, and engine errors that quote the request; returns the genuine tokens."""
    tokens = [token_of(coordinator, ID, TINY, client_id=CANARY) for _ in range(12)]
    unused = iter(tokens)

    served = await client.ask(next(unused), CANARY, options={"stop": CANARY})
    assert (served.code, served.text) == (OK, "".join(ANSWER))
    assert (await client.ask(CANARY, CANARY)).code is grpc.StatusCode.UNAUTHENTICATED
    assert (await client.ask(f"{CANARY}.{CANARY}.{CANARY}", CANARY)).code is grpc.StatusCode.UNAUTHENTICATED
    assert (await client.ask(tokens[0], CANARY)).code is grpc.StatusCode.UNAUTHENTICATED  # a second time
    for options in ({"temperature": CANARY}, {CANARY: "1"}, {"num_ctx": CANARY}):
        assert (await client.ask(next(unused), CANARY, options=options)).code is INVALID
    assert (await client.ask(next(unused), CANARY * 100)).code is INVALID  # over the limit
    assert (await client.ask(next(unused), CANARY, model=CANARY)).code is grpc.StatusCode.PERMISSION_DENIED
    other = token_of(coordinator, ID, CANARY)
    assert (await client.ask(other, CANARY)).code is grpc.StatusCode.NOT_FOUND

    engine.error_answer = (500, {"error": f"cannot parse {CANARY}: {CANARY}"})
    failed = await client.ask(next(unused), CANARY)
    assert failed.code is INTERNAL
    assert CANARY not in failed.details, "an engine's words stay here"
    engine.error_answer = None
    for fault in (Fault.GARBAGE, Fault.ERROR_LINE):
        engine.fault = fault
        broken = await client.ask(next(unused), CANARY)
        assert broken.code in (INTERNAL, grpc.StatusCode.UNAVAILABLE)  # three in a row: the breaker
    engine.fault = Fault.NONE
    return [*tokens, other]


@pytest.mark.parametrize("name", ["ollama", "openai"])
async def test_engine_that_quotes_prompt_and_answer_in_every_error_is_not_quoted(home: Path, name: str) -> None:
    engine: FakeEngineServer = FakeOllama() if name == "ollama" else FakeOpenAI()
    engine.answer, engine.fault_line = [ANSWER_CANARY[:9], ANSWER_CANARY[9:], " the end"], QUOTING
    async with engine, FaultyCoordinator() as coordinator:
        environ = ollama(engine.url) if name == "ollama" else openai(engine.url)
        environ |= {"COORDINATOR_ENDPOINT": coordinator.endpoint, "AGENT_ID": ID, "TITAN_LOG_LEVEL": "debug"}
        async with AgentProcess(home, **environ) as agent:
            await agent.wait_state("ready")
            async with client_of(agent.endpoint) as client:

                async def fail() -> None:
                    answer = await client.ask(token_of(coordinator, ID, TINY), PROMPT_CANARY)
                    assert answer.code in (INTERNAL, grpc.StatusCode.UNAVAILABLE)
                    for secret in (PROMPT_CANARY, ANSWER_CANARY, "alice", "10.0.0.7", "pos 0", engine.url):
                        assert secret not in answer.details
                    await agent.command("retry_engine")  # the breaker would refuse the fourth

                for engine.fault in (
                    Fault.ERROR_LINE,
                    Fault.GARBAGE,
                    Fault.WRONG_SHAPE,
                    Fault.BROKEN_HEAD,
                    Fault.RESET,
                ):
                    for engine.fault_after in (0, 2):
                        await fail()
                engine.fault = Fault.NONE
                for status in (400, 401, 405, 500, 503):
                    engine.error_answer = (status, {"error": QUOTING})
                    await fail()
                engine.error_answer = None
                assert (await client.ask(token_of(coordinator, ID, TINY), PROMPT_CANARY)).code is OK
            assert await agent.stop() == 0
            failures = [line for line in agent.log if line["event"] == "session failed"]
    assert len(failures) == 15
    assert {"answer not readable to it", "unauthorised", "overloaded"} <= {line["category"] for line in failures}
    assert {400, 401, 405, 500, 503} <= {line["status"] for line in failures}
    for canary in (PROMPT_CANARY, ANSWER_CANARY, MACHINE):
        assert_no_canary([home, agent.out, agent.err], canary)


async def test_canary_in_a_prompt_whose_engine_crashes_is_never_written(home: Path) -> None:
    """The real llama.cpp, at its most talkative, killed in the middle of the answer to it."""
    async with embedded_agent(home, TITAN_LOG_LEVEL="debug") as (coordinator, agent):
        async with client_of(agent.endpoint) as client:
            prompt = f"{CANARY} " * 3
            first = await client.ask(token_of(coordinator, ID, MODEL), prompt, max_tokens=60)
            assert first.code is OK
            assert (await client.ask(token_of(coordinator, ID, MODEL), CANARY * 200)).code is INVALID  # does not fit
            token = token_of(coordinator, ID, MODEL)
            async with client.streaming(token, prompt, max_tokens=1500) as (answer, task):
                (engine,) = agent.children()
                engine.kill()
                await task
                assert answer.code is INTERNAL
            assert (await client.ask(token_of(coordinator, ID, MODEL), prompt)).code is OK, "started again"
        assert await agent.stop() == 0
    assert_no_canary([home, agent.out, agent.err], CANARY)
    assert len(first.text) >= 12
    assert_no_canary([home, agent.out, agent.err], first.text)


def test_canary_in_an_unforeseen_exception_is_never_written(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A bug in the handler itself: its traceback is logged, the values in it are not."""

    class Bug(Exception):
        """What a defect raises: its text and its arguments hold the prompt."""

    async def serve(self: object, call: object, send: object) -> None:
        raise Bug(f"cannot handle {CANARY}", CANARY)

    monkeypatch.setattr(InferenceService, "serve", serve)
    seen: list[str] = []

    def on_ready(agent: Agent) -> None:
        async def ask() -> None:
            async with client_of(agent.report.endpoint) as client:
                answer = await client.ask(CANARY, CANARY)
                seen.append(f"{answer.code} {answer.details}")
            signal.raise_signal(signal.SIGTERM)

        tasks.append(asyncio.get_running_loop().create_task(ask()))

    tasks: list[asyncio.Task[None]] = []
    environ = {"TITAN_HOME": str(home), "TITAN_LOG_LEVEL": "debug", "AGENT_ID": ID, **EMBEDDED}
    assert run_agent(load_settings(environ=environ), on_ready=on_ready) == 0
    written = capfd.readouterr()
    assert seen == ["StatusCode.INTERNAL internal error of this agent"]
    assert "Bug" in written.err
    assert_no_canary([home, written.out, written.err], CANARY)
