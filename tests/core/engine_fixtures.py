"""What the engine tests share, and the cases that the one contract test runs over: one per engine.

A case is an engine that is ready to serve, with what a test must know of the server behind it. To add one, write an
async context manager that yields an EngineCase, and name it in ENGINE_CASES.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass

from core.assets_path import SELFTEST_MODEL_NAME, selftest_model_path
from core.engines import Engine, Prompt, TokenChunk
from core.engines.embedded import EmbeddedEngine
from core.engines.http import EngineHttp, read_limited
from core.engines.ollama import OllamaEngine
from core.engines.openai import OpenAIEngine
from core.engines.openai_wire import Flavour
from tests.fakes.fake_engine_server import FakeEngineServer, Fault
from tests.fakes.fake_ollama import FakeOllama
from tests.fakes.fake_openai import FakeOpenAI


@dataclass
class EngineCase:
    """One engine, started, and the server behind it."""

    engine: Engine
    model: str  # as `list_models` names it
    alias: str  # another spelling of the same model, for load and unload
    context_tokens: int  # per session; a prompt of more bytes than this, times two, never fits
    endless_tokens: int  # max_tokens of an answer that a test cancels
    hold: Callable[[], None]  # from now on an answer goes on until it is cancelled
    wait_idle: Callable[[], Awaitable[None]]  # returns once the engine works on no prompt
    break_server: Callable[[], Awaitable[None]]  # the server dies; the engine is not told
    can_unload: bool = True


def _case_of(fake: FakeEngineServer, engine: Engine, model: str, alias: str, context_tokens: int) -> EngineCase:
    def hold() -> None:
        fake.fault = Fault.HANG_MID

    async def wait_idle() -> None:
        await fake.disconnected.wait()

    return EngineCase(
        engine=engine,
        model=model,
        alias=alias,
        context_tokens=context_tokens,
        endless_tokens=100,
        hold=hold,
        wait_idle=wait_idle,
        break_server=fake.stop,
    )


@asynccontextmanager
async def ollama_case() -> AsyncIterator[EngineCase]:
    async with FakeOllama() as fake:
        engine = OllamaEngine(fake.url, context_tokens=512)
        await engine.start()
        yield _case_of(fake, engine, "tiny:latest", "tiny", 512)
        await engine.close()


@asynccontextmanager
async def openai_case() -> AsyncIterator[EngineCase]:
    async with FakeOpenAI(Flavour.VLLM, api_key="key") as fake:
        engine = OpenAIEngine(f"{fake.url}/v1", api_key="key")
        await engine.start()
        case = _case_of(fake, engine, "tiny", "tiny", 512)
        case.can_unload = False  # the API has no such call
        yield case
        await engine.close()


@asynccontextmanager
async def embedded_case() -> AsyncIterator[EngineCase]:
    """A real llama.cpp child with the shipped random-weights model; 1,900 tokens take it a third of a second."""
    engine = EmbeddedEngine(None, extra_model_files=[selftest_model_path()], context_tokens=2048, threads=1)
    await engine.start()

    async def wait_idle() -> None:
        while await requests_in_work(engine):  # noqa: ASYNC110 (llama.cpp has to be asked)
            await asyncio.sleep(0.002)

    async def break_server() -> None:
        pid = engine.worker_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    yield EngineCase(
        engine=engine,
        model=SELFTEST_MODEL_NAME,
        alias=f"{SELFTEST_MODEL_NAME}:latest",
        context_tokens=2048,
        endless_tokens=1900,
        hold=lambda: None,
        wait_idle=wait_idle,
        break_server=break_server,
    )
    await engine.close()


async def requests_in_work(engine: EmbeddedEngine) -> int:
    """How many prompts the embedded engine's llama.cpp itself says that it works on."""
    running = engine._supervisor.running
    assert running is not None
    key = {"Authorization": f"Bearer {running.process.api_key}"}
    http = EngineHttp(f"http://127.0.0.1:{running.ready.port}", engine="llama.cpp", remedy="", headers=key)
    try:
        answer = await http._open_client().ask("GET", "/metrics")
        text = (await read_limited(answer, 1 << 20)).decode()
        answer.close()
    finally:
        await http.close()
    (line,) = (line for line in text.splitlines() if line.startswith("llamacpp:requests_processing "))
    return int(float(line.split()[1]))


EngineCaseFactory = Callable[[], AbstractAsyncContextManager[EngineCase]]

ENGINE_CASES: dict[str, EngineCaseFactory] = {
    "ollama": ollama_case,
    "openai": openai_case,
    "embedded": embedded_case,
}


async def collect(engine: Engine, prompt: Prompt) -> list[TokenChunk]:
    """All pieces of an answer."""
    pieces: list[TokenChunk] = []
    await collect_into(pieces, engine, prompt)
    return pieces


async def collect_into(pieces: list[TokenChunk], engine: Engine, prompt: Prompt) -> None:
    """All pieces of an answer, the ones before an error included."""
    async with aclosing(engine.stream(prompt)) as stream:
        async for piece in stream:
            pieces.append(piece)


def text_of(pieces: list[TokenChunk]) -> str:
    return "".join(piece.text for piece in pieces)


async def first_piece(engine: Engine, prompt: Prompt) -> TokenChunk:
    async with aclosing(engine.stream(prompt)) as stream:
        return await anext(stream)


async def cancelled(task: asyncio.Task[object]) -> bool:
    """Cancel `task` and wait for its end; whether it ended by the cancel."""
    task.cancel()
    await asyncio.wait([task])
    return task.cancelled()
