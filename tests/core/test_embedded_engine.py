"""The embedded engine: a real llama.cpp child with the shipped model, and a stand-in child for what seldom happens."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.assets_path import SELFTEST_MODEL_NAME, selftest_model_path
from core.engines import Prompt, TokenChunk
from core.engines.embedded import EmbeddedEngine, automatic_threads, find_engine_folder
from core.engines.http import EngineHttp
from core.engines.worker_launch import launch_worker
from core.errors import (
    EngineFailed,
    EngineNeedsAttention,
    EngineTimeout,
    EngineUnreachable,
    ModelNotFound,
    NotEnoughMemory,
    PromptTooLong,
)
from tests.core.engine_fixtures import requests_in_work

ROOT = Path(__file__).resolve().parents[2]
FAKE_WORKER = ROOT / "tests" / "fakes" / "fake_engine_worker.py"


def ask(text: str = "hello", *, max_tokens: int = 20, model: str = SELFTEST_MODEL_NAME) -> Prompt:
    return Prompt(model=model, text=text, max_tokens=max_tokens)


async def collect(engine: EmbeddedEngine, prompt: Prompt) -> list[TokenChunk]:
    async with aclosing(engine.stream(prompt)) as pieces:
        return [piece async for piece in pieces]


async def take_rest(pieces: AsyncIterator[TokenChunk]) -> None:
    async for piece in pieces:
        assert not piece.done


class FakeClient:
    """A client of a stand-in child, which speaks no HTTP: answers with one piece, or waits for the child's end."""

    gate: asyncio.Event

    def __init__(self, base_url: str, api_key: str) -> None:
        self.url, self.is_closed = base_url, False

    async def stream(self, prompt: Prompt) -> AsyncGenerator[TokenChunk, None]:
        yield TokenChunk(text="one", tokens=1)
        if prompt.text == "break":
            raise EngineFailed("the connection broke")
        if prompt.text == "wait":
            await self.gate.wait()
        yield TokenChunk(done=True, finish_reason="stop")

    async def close(self) -> None:
        self.is_closed = True


class Naps:
    """A sleep that notes its length and doesn't wait."""

    def __init__(self) -> None:
        self.lengths_s: list[float] = []

    async def __call__(self, length_s: float) -> None:
        self.lengths_s.append(length_s)
        await asyncio.sleep(0)


@asynccontextmanager
async def real_engine(folder: Path | None = None, **changes: Any) -> AsyncIterator[EmbeddedEngine]:
    options: dict[str, Any] = {"extra_model_files": [selftest_model_path()], "context_tokens": 2048, "threads": 1}
    engine = EmbeddedEngine(folder, **{**options, **changes})
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()
        assert engine.worker_pid is None


@asynccontextmanager
async def fake_engine(folder: Path, *models: str, **changes: Any) -> AsyncIterator[EmbeddedEngine]:
    """An engine whose child is tests/fakes/fake_engine_worker.py; a model's name says what its child does."""
    for model in models:
        shutil.copy(selftest_model_path(), folder / f"{model}.gguf")
    FakeClient.gate = asyncio.Event()
    launch = partial(launch_worker, command=[sys.executable, "-I", str(FAKE_WORKER)])
    options: dict[str, Any] = {"launch": launch, "open_client": FakeClient, "sleep": Naps(), "draw": lambda: 1.0}
    engine = EmbeddedEngine(folder, **{**options, **changes})
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


def starts_of(folder: Path, model: str) -> int:
    path = folder / f"{model}.starts"
    return len(path.read_text().splitlines()) if path.exists() else 0


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what a real process does and nobody announces."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def kill_child(engine: EmbeddedEngine) -> int:
    pid = engine.worker_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


def has_come_back_or_given_up(engine: EmbeddedEngine, dead: int) -> bool:
    is_back = engine.worker_pid not in (None, dead) and not engine._supervisor.is_starting
    return is_back or engine.status.state == "attention"


async def test_start_loads_nothing_and_lists_what_is_there() -> None:
    async with real_engine() as engine:
        assert (engine.status.state, engine.worker_pid) == ("ready", None)
        (model,) = await engine.list_models()
        assert (model.name, model.is_selftest, model.quant) == (SELFTEST_MODEL_NAME, True, "F32")
        assert await engine.loaded_models() == ()
        await engine.check()


async def test_an_answer_comes_from_a_child_that_is_started_for_it() -> None:
    async with real_engine() as engine:
        pieces = await collect(engine, ask(max_tokens=50))
        again = await collect(engine, ask(max_tokens=50))
        status = engine.status
    text = "".join(piece.text for piece in pieces)
    assert len(text) >= 50
    assert text == "".join(piece.text for piece in again)  # temperature 0
    assert (pieces[-1].done, pieces[-1].finish_reason, pieces[-1].completion_tokens) == (True, "length", 50)
    assert status.version
    assert status.device in ("CPU (AVX2), 1 thread", "CPU (NEON), 1 thread") or "CPU" not in status.device


async def test_prompt_is_rendered_by_the_models_own_chat_template() -> None:
    async with real_engine() as engine:
        pieces = await collect(engine, ask("abcd"))
    assert pieces[-1].prompt_tokens == 7  # <|bos|> <|user|> a b c d <|assistant|>


async def test_slots_share_one_child_and_each_has_its_whole_context() -> None:
    async with real_engine(slots=3, context_tokens=512) as engine:
        pid_of = asyncio.create_task(collect(engine, ask(max_tokens=400)))
        answers = await asyncio.gather(pid_of, *(collect(engine, ask(max_tokens=400)) for _ in range(2)))
        (loaded,) = await engine.loaded_models()
    assert [pieces[-1].completion_tokens for pieces in answers] == [400, 400, 400]
    assert loaded.context_tokens == 512
    assert loaded.vram_mb == 0 or sys.platform == "darwin"


async def test_prompt_beyond_the_sessions_context_is_refused() -> None:
    async with real_engine(context_tokens=256, slots=4) as engine:
        with pytest.raises(PromptTooLong):
            await collect(engine, ask("x" * 300))
        assert (await collect(engine, ask("x" * 100)))[-1].done
        assert engine.status.state == "ready"


async def test_context_is_held_at_what_the_model_was_trained_for() -> None:
    async with real_engine(context_tokens=100_000) as engine:
        assert (await engine.load(SELFTEST_MODEL_NAME)).context_tokens == 2048


async def test_cancel_frees_the_slot_within_100_ms() -> None:
    async with real_engine(slots=1) as engine:
        await engine.load(SELFTEST_MODEL_NAME)
        has_begun = asyncio.Event()

        async def serve() -> None:
            async with aclosing(engine.stream(ask(max_tokens=2000))) as pieces:
                async for _ in pieces:
                    has_begun.set()
                    await asyncio.sleep(0.001)  # taken slowly, so that it cannot have ended by itself

        task = asyncio.create_task(serve())
        await has_begun.wait()
        assert await requests_in_work(engine) == 1
        task.cancel()
        async with asyncio.timeout(0.1):
            while await requests_in_work(engine):  # noqa: ASYNC110
                await asyncio.sleep(0.002)


async def test_unload_ends_the_child_and_its_memory_is_back() -> None:
    async with real_engine() as engine:
        await engine.load(SELFTEST_MODEL_NAME)
        pid = engine.worker_pid
        assert pid is not None
        await engine.unload("some-other-model")
        assert psutil.pid_exists(pid)
        await engine.unload(f"{SELFTEST_MODEL_NAME}:latest")
        assert not psutil.pid_exists(pid)
        assert await engine.loaded_models() == ()
        assert (await collect(engine, ask()))[-1].done  # and it comes back when it is needed


async def test_unload_ends_running_answers_with_the_reason() -> None:
    async with real_engine() as engine:
        async with aclosing(engine.stream(ask(max_tokens=2000))) as pieces:
            await anext(pieces)
            await engine.unload(SELFTEST_MODEL_NAME)
            with pytest.raises(EngineFailed, match="was unloaded"):
                await take_rest(pieces)
        assert engine.status.state == "ready"  # nobody's fault


async def test_crash_ends_its_answers_and_the_child_comes_back_by_itself() -> None:
    naps = Naps()
    async with real_engine(sleep=naps, draw=lambda: 0.0) as engine:
        async with aclosing(engine.stream(ask(max_tokens=2000))) as pieces:
            await anext(pieces)
            dead = kill_child(engine)
            with pytest.raises(EngineFailed, match="killed, perhaps because memory ran out"):
                await take_rest(pieces)
        await until(partial(has_come_back_or_given_up, engine, dead))
        assert (engine.status.state, engine.status.restarts) == ("fault", 1)
        assert (await collect(engine, ask()))[-1].done
        assert engine.status.state == "ready"  # a good answer clears it
    assert naps.lengths_s == [0.5]


async def test_no_word_of_a_prompt_or_an_answer_is_in_the_log() -> None:
    lines: list[str] = []
    async with real_engine(on_log=lines.append, context_tokens=256) as engine:
        answer = "".join(piece.text for piece in await collect(engine, ask("CANARY of a stranger", max_tokens=60)))
        with pytest.raises(PromptTooLong):
            await collect(engine, ask("CANARY " * 300))
        async with aclosing(engine.stream(ask("CANARY", max_tokens=200))) as pieces:
            await anext(pieces)
        key = engine._supervisor.running.process.api_key if engine._supervisor.running else ""
        # It is llama.cpp's log that we look at; it is written by a thread of the child's own, in its own time.
        await until(lambda: any("context too long" in line for line in lines))
    log = "\n".join(lines)
    assert "CANARY" not in log
    assert not any(answer[at : at + 10] in log for at in range(len(answer) - 10))
    assert key
    assert key not in log


async def test_unknown_model_is_not_found() -> None:
    async with real_engine() as engine:
        with pytest.raises(ModelNotFound, match=r"no model file nothing\.gguf"):
            await engine.load("nothing")


async def test_model_put_there_after_the_start_is_found(tmp_path: Path) -> None:
    async with real_engine(tmp_path) as engine:
        shutil.copy(selftest_model_path(), tmp_path / "new.gguf")
        assert (await engine.load("new")).name == "new"


async def test_damaged_file_is_not_offered_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(selftest_model_path().read_bytes()[:-100_000])
    lines: list[str] = []
    async with real_engine(tmp_path, on_log=lines.append) as engine:
        assert [model.name for model in await engine.list_models()] == [SELFTEST_MODEL_NAME]
        with pytest.raises(ModelNotFound, match=r"bad\.gguf cannot be used: the file is incomplete"):
            await engine.load("bad")
        assert engine.status.state == "ready"
    assert len([line for line in lines if "is not offered" in line]) == 1  # said once, not at each look


async def test_model_beyond_the_free_memory_is_refused_before_a_child_is_started() -> None:
    async with real_engine(free_ram_mb=lambda own_mb: 1, context_tokens=2048, slots=64) as engine:
        with pytest.raises(NotEnoughMemory, match=r"needs at least \d+ MB, for 1 session of 1,024 tokens; 1 MB may"):
            await engine.load(SELFTEST_MODEL_NAME)
        assert engine.worker_pid is None
        assert engine.status.state == "ready"


async def test_missing_package_is_a_clear_error() -> None:
    engine = EmbeddedEngine(None, find_engine=lambda: None)
    with pytest.raises(EngineUnreachable, match="not installed") as caught:
        await engine.start()
    assert "titancompute-agent[embedded]" in caught.value.hint
    assert engine.status.state == "fault"
    assert find_engine_folder() is not None  # this machine's tests need it


async def test_old_processor_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.engines.embedded.missing_cpu_features", lambda: ("AVX2",))
    engine = EmbeddedEngine(None)
    with pytest.raises(EngineUnreachable, match="lacks AVX2") as caught:
        await engine.start()
    assert "Ollama" in caught.value.hint


def test_automatic_threads_leave_a_core_to_the_owner() -> None:
    assert 1 <= automatic_threads() <= max(1, (os.cpu_count() or 2) - 1)


async def test_three_crashes_in_a_row_need_the_owner(tmp_path: Path) -> None:
    naps = Naps()
    async with fake_engine(tmp_path, "steady", sleep=naps) as engine:
        await engine.load("steady")
        for _ in range(3):
            dead = kill_child(engine)
            await until(partial(has_come_back_or_given_up, engine, dead))
        assert starts_of(tmp_path, "steady") == 3
        assert naps.lengths_s == [1.0, 2.0]
        with pytest.raises(EngineNeedsAttention, match=r"failed 3 times in a row; .* killed, perhaps"):
            await collect(engine, ask(model="steady"))
        with pytest.raises(EngineNeedsAttention):
            await engine.check()

        await engine.start()  # the owner acts
        assert engine.status.state == "ready"
        assert (await collect(engine, ask(model="steady")))[-1].done


async def test_a_good_answer_between_crashes_starts_the_count_again(tmp_path: Path) -> None:
    async with fake_engine(tmp_path, "steady") as engine:
        for crash in range(4):
            assert (await collect(engine, ask(model="steady")))[-1].done
            dead = kill_child(engine)
            await until(partial(has_come_back_or_given_up, engine, dead))
            assert starts_of(tmp_path, "steady") == crash + 2
        assert engine.status.state != "attention"


async def test_idle_child_that_dies_is_noticed(tmp_path: Path) -> None:
    async with fake_engine(tmp_path, "steady") as engine:
        await engine.load("steady")
        kill_child(engine)
        await until(lambda: engine.status.state == "fault")  # nobody asked it anything
        assert "the engine stopped" in engine.status.detail


async def test_model_that_cannot_be_loaded_fails_each_try_and_then_needs_the_owner(tmp_path: Path) -> None:
    async with fake_engine(tmp_path, "damaged") as engine:
        for _ in range(2):
            with pytest.raises(EngineFailed, match="error loading model: tensor is not within the file") as caught:
                await engine.load("damaged")
            assert not isinstance(caught.value, EngineNeedsAttention)
        with pytest.raises(EngineNeedsAttention, match="tensor is not within the file"):
            await engine.load("damaged")
        with pytest.raises(EngineNeedsAttention):
            await engine.load("damaged")
        assert starts_of(tmp_path, "damaged") == 3


async def test_load_that_hangs_is_given_up(tmp_path: Path) -> None:
    async with fake_engine(tmp_path, "silent", load_limit_s=0.2) as engine:
        with pytest.raises(EngineTimeout, match="not loaded within"):
            await engine.load("silent")
        assert engine.worker_pid is None


async def test_unload_ends_a_load_that_is_under_way(tmp_path: Path) -> None:
    async with fake_engine(tmp_path, "silent") as engine:
        loading = asyncio.create_task(engine.load("silent"))
        await until(lambda: starts_of(tmp_path, "silent") == 1)
        pid = engine.worker_pid
        await engine.unload("silent")
        with pytest.raises(EngineFailed, match="unloaded while it loaded"):
            await loading
        assert pid is not None
        assert not psutil.pid_exists(pid)
        assert engine.status.state == "ready"


async def test_a_callers_cancel_does_not_end_a_load_that_others_wait_for(tmp_path: Path) -> None:
    async with fake_engine(tmp_path, "steady") as engine:
        first = asyncio.create_task(collect(engine, ask(model="steady")))
        second = asyncio.create_task(collect(engine, ask(model="steady")))
        await until(lambda: engine._supervisor.is_starting)
        first.cancel()
        assert (await second)[-1].done
        assert starts_of(tmp_path, "steady") == 1


async def test_another_model_waits_for_the_last_answer_and_then_takes_the_child(tmp_path: Path) -> None:
    async with fake_engine(tmp_path, "steady", "other") as engine:
        answering = asyncio.create_task(collect(engine, ask("wait", model="steady")))
        await until(lambda: bool(engine._supervisor.running and engine._supervisor.running.users))
        switching = asyncio.create_task(collect(engine, ask(model="other")))
        for _ in range(20):
            await asyncio.sleep(0)
        assert engine.process is not None
        assert not engine.process.was_ended
        FakeClient.gate.set()
        assert (await answering)[-1].done
        assert (await switching)[-1].done
        assert [model.name for model in await engine.loaded_models()] == ["other"]


async def test_error_from_a_living_child_is_passed_on_as_it_is(tmp_path: Path) -> None:
    async with fake_engine(tmp_path, "steady") as engine:
        with pytest.raises(EngineFailed, match="the connection broke"):
            await collect(engine, ask("break", model="steady"))
        assert engine.worker_pid is not None


async def test_child_that_no_longer_answers_is_ended_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def times_out(*_: object, **__: object) -> None:
        raise EngineTimeout("no answer in 5 s")

    monkeypatch.setattr(EngineHttp, "call", times_out)
    async with fake_engine(tmp_path, "steady") as engine:
        await engine.load("steady")
        stuck = engine.worker_pid
        with pytest.raises(EngineFailed, match="no longer answered"):
            await engine.check()
        await until(lambda: engine.worker_pid not in (None, stuck))
        await until(lambda: not engine._supervisor.is_starting)
        assert engine.status.restarts == 1


async def test_close_while_it_waits_to_start_again_leaves_no_child(tmp_path: Path) -> None:
    async with fake_engine(tmp_path, "steady", sleep=asyncio.sleep) as engine:
        await engine.load("steady")
        kill_child(engine)
        await until(lambda: engine._supervisor.is_starting)
    assert engine.worker_pid is None
    assert starts_of(tmp_path, "steady") == 1


@pytest.mark.parametrize("cause", ["a session that left", "a crash"])
async def test_what_loads_for_nobody_is_told_and_can_be_stopped(tmp_path: Path, cause: str) -> None:
    """A pause in that moment has to find it: nobody holds it, and it isn't in memory yet."""
    async with fake_engine(tmp_path, "steady", "silent", sleep=asyncio.sleep) as engine:
        name = "silent" if cause == "a session that left" else "steady"
        assert engine.in_the_making == ()
        if cause == "a crash":
            await engine.load(name)
            assert engine.in_the_making == ()
            kill_child(engine)
        else:
            session = asyncio.create_task(collect(engine, ask(model=name)))
            await until(lambda: starts_of(tmp_path, name) == 1)
            session.cancel()
        await until(lambda: engine.in_the_making == (name,))
        assert await engine.loaded_models() == ()
        await engine.unload(name)
        assert (engine.in_the_making, engine.worker_pid, starts_of(tmp_path, name)) == ((), None, 1)
