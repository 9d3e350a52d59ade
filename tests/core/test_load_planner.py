"""How the embedded engine fits a load into memory: chosen, failed, stepped down, and up again. Real llama.cpp where
its own words matter."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from core.config_load import load_settings
from core.engines import Prompt
from core.engines.embedded import EmbeddedEngine
from core.engines.load_planner import FORGET_FAILURE_S, LoadPlanner
from core.engines.load_room import lendable_ram_mb
from core.engines.model_files import ModelFile
from core.engines.worker_launch import engine_worker_command, launch_worker
from core.errors import NotEnoughMemory
from core.load_ladder import rung_of
from core.quantization import size_at
from core.unloadable import RETRY_WITH_ROOM_S
from tests.fakes.gguf_models import TinyModel, write_model
from tests.fakes.llama_8b import LLAMA_8B, PARAMETERS_8B
from tests.fakes.manual_clock import ManualClock

FILE = ModelFile(
    name="llama-8b",
    path=Path("/models/llama-8b.gguf"),
    size_bytes=size_at(PARAMETERS_8B, "Q4_K_M"),
    quant="Q4_K_M",
    context_tokens=131072,
    shape=LLAMA_8B,
)


class Room:
    """What is free for models, of which the owner lends no more than so much; a test changes it."""

    def __init__(self, mb: int, budget_mb: int = 1 << 30) -> None:
        self.mb, self.budget_mb = mb, budget_mb

    def __call__(self, own_mb: int) -> int:
        return min(self.mb + own_mb, self.budget_mb)


def planner(room: Room, clock: ManualClock | None = None, **changes: Any) -> tuple[LoadPlanner, list[str]]:
    lines: list[str] = []
    options: dict[str, Any] = {"sessions": 4, "context_tokens": 4096, "platform": "linux"}
    clock = clock or ManualClock()
    return LoadPlanner(room_mb=room, on_log=lines.append, monotonic=clock.monotonic, **{**options, **changes}), lines


def need_mb(sessions: int, context_tokens: int = 4096) -> int:
    made, _ = planner(Room(0))
    return rung_of(
        LLAMA_8B, FILE.size_bytes, made.wanted(FILE).smaller(sessions=sessions, context_tokens=context_tokens)
    ).need_mb


def test_with_room_the_owner_s_wish_is_met_without_a_word() -> None:
    made, lines = planner(Room(20_000))
    rung = made.choose(FILE)
    assert (rung.plan.sessions, rung.plan.context_tokens) == (4, 4096)
    assert (made.note, lines) == ("", [])


def test_context_is_held_at_what_the_model_was_trained_for() -> None:
    made, _ = planner(Room(20_000))
    assert made.choose(replace(FILE, context_tokens=2048)).plan.context_tokens == 2048


async def test_smallest_load_that_failed_is_tried_again_by_who_has_waited() -> None:
    """Nothing smaller is left, so else it would be refused for ten minutes with all memory free."""
    room, clock = Room(need_mb(1, 1024)), ManualClock()
    made, _ = planner(room, clock)
    made.choose(FILE)
    assert not made.step_down(FILE)
    room.mb = 20_000
    with pytest.raises(NotEnoughMemory):
        made.choose(FILE)
    await clock.advance(RETRY_WITH_ROOM_S)
    assert made.choose(FILE).plan.sessions == 4


def test_short_memory_means_fewer_sessions_and_a_reason() -> None:
    made, lines = planner(Room(need_mb(2)))
    assert made.choose(FILE).plan.sessions == 2
    assert made.note == f"2 sessions instead of 4: {need_mb(2):,} MB may be used for models now."
    assert lines == [f"llama-8b is loaded with 2 sessions instead of 4: it needs {need_mb(2)} MB of {need_mb(2)} MB"]


def test_refusal_has_the_numbers_of_the_least_and_the_remedy() -> None:
    made, _ = planner(Room(4000))
    with pytest.raises(NotEnoughMemory) as refused:
        made.choose(FILE)
    assert refused.value.detail == (
        f"llama-8b needs at least {need_mb(1, 1024):,} MB, for 1 session of 1,024 tokens; "
        "4,000 MB may be used for models now"
    )
    assert "max_concurrent_jobs" in refused.value.hint


async def test_failed_load_is_stepped_down_from_and_forgotten_after_ten_minutes() -> None:
    clock = ManualClock()
    made, lines = planner(Room(20_000), clock)
    made.choose(FILE)
    assert made.step_down(FILE)
    assert f"did not fit although {need_mb(4)} MB seemed free" in lines[-1]
    assert made.choose(FILE).plan.sessions == 2
    assert made.step_down(FILE)
    assert made.choose(FILE).plan.sessions == 1
    await clock.advance(FORGET_FAILURE_S + 1)
    assert made.choose(FILE).plan.sessions == 4


def test_what_the_smallest_load_takes_is_known_from_the_first_choice_on() -> None:
    made, _ = planner(Room(20_000))
    assert made.least_mb is None
    made.choose(FILE)
    assert made.least_mb == need_mb(1, 1024)


def test_at_the_bottom_there_is_no_step_down() -> None:
    made, _ = planner(Room(need_mb(1, 1024)))
    made.choose(FILE)
    assert not made.step_down(FILE)
    with pytest.raises(NotEnoughMemory):
        made.choose(FILE)


def test_load_goes_up_again_only_with_room_to_spare() -> None:
    room = Room(need_mb(1))
    made, _ = planner(room)
    made.choose(FILE)
    room.mb, held_mb = 0, need_mb(1)  # it has taken all; what it holds counts as free
    assert not made.can_step_up(FILE, held_mb)
    room.mb = need_mb(2) - need_mb(1)
    assert not made.can_step_up(FILE, held_mb)  # it would just fit, and come down at the next breath
    room.mb = int(need_mb(2) * 1.1) + 1 - need_mb(1)
    assert made.can_step_up(FILE, held_mb)
    room.mb = need_mb(4) - need_mb(1)  # not enough for four with a tenth to spare: for two it is
    assert made.can_step_up(FILE, held_mb)


def test_load_that_takes_all_that_is_lent_does_not_go_up_however_much_is_free() -> None:
    made, _ = planner(Room(60_000, budget_mb=need_mb(2)))
    assert made.choose(FILE).plan.sessions == 2
    assert not made.can_step_up(FILE, held_mb=need_mb(2))


def test_mapped_weights_that_count_as_free_already_are_not_counted_twice() -> None:
    weights_mb = FILE.size_bytes >> 20
    room = Room(need_mb(2))
    made, _ = planner(room)
    made.choose(FILE)
    room.mb = weights_mb + 1  # what it took beside its weights is gone; they are the system's cache
    assert not made.can_step_up(FILE, held_mb=need_mb(2) - weights_mb)


async def test_load_that_was_made_anew_for_nothing_stays_as_it_is_for_ten_minutes() -> None:
    room, clock = Room(need_mb(1)), ManualClock()
    made, _ = planner(room, clock)
    made.choose(FILE)
    wrong_mb = need_mb(4)  # a measurement that says more comes back than does
    assert made.can_step_up(FILE, wrong_mb)
    assert made.choose(FILE).plan.sessions == 1
    assert not made.can_step_up(FILE, wrong_mb)
    await clock.advance(FORGET_FAILURE_S + 1)
    assert made.can_step_up(FILE, wrong_mb)


def test_load_that_is_as_wanted_never_goes_up() -> None:
    room = Room(20_000)
    made, _ = planner(room)
    made.choose(FILE)
    assert not made.can_step_up(FILE, held_mb=need_mb(4))


# With the real engine

WIDE = TinyModel(
    name="wide", blocks=8, width=256, heads=8, kv_heads=8, head_width=128, feed_forward=512
)  # 32 KiB a token


@asynccontextmanager
async def engine_with(
    folder: Path, command: list[str], **changes: Any
) -> AsyncIterator[tuple[EmbeddedEngine, list[str]]]:
    lines: list[str] = []
    options: dict[str, Any] = {"context_tokens": 8192, "slots": 8, "threads": 1, "free_ram_mb": lambda own_mb: 20_000}
    engine = EmbeddedEngine(
        folder, launch=partial(launch_worker, command=command), on_log=lines.append, **{**options, **changes}
    )
    await engine.start()
    try:
        yield engine, lines
    finally:
        await engine.close()


async def answer(engine: EmbeddedEngine, model: str) -> str:
    prompt = Prompt(model=model, text="hello", max_tokens=4)
    async with aclosing(engine.stream(prompt)) as pieces:
        async for piece in pieces:
            if piece.done:
                return piece.finish_reason
    raise AssertionError("no end came")


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="limits a process's memory with util-linux's prlimit")
async def test_real_failed_allocation_is_recognised_and_stepped_down_from_until_it_loads(tmp_path: Path) -> None:
    """The child may have 1.5 GB of addresses; eight sessions want 2 GB of keys and values."""
    write_model(tmp_path / "wide.gguf", WIDE)
    command = ["prlimit", "--as=1500000000", *engine_worker_command()]
    async with engine_with(tmp_path, command) as (engine, lines):
        loaded = await engine.load("wide")
        assert loaded.sessions in (1, 2, 4)
        assert loaded.note.startswith(f"{loaded.sessions} session")
        assert loaded.note.endswith("instead of 8: more was tried, and the system had no memory for it.")
        assert any("did not fit although" in line for line in lines)
        assert engine.status.state == "ready"
        assert await answer(engine, "wide") in ("stop", "length")


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="limits a process's memory with util-linux's prlimit")
async def test_real_weights_that_cannot_be_mapped_are_refused_for_want_of_memory(tmp_path: Path) -> None:
    """190 MB of weights in a child of which the program itself takes most of its 500 MB."""
    heavy = replace(WIDE, width=1024, feed_forward=2048, vocabulary=64_000)
    write_model(tmp_path / "wide.gguf", heavy)
    async with engine_with(tmp_path, ["prlimit", "--as=500000000", *engine_worker_command()]) as (engine, _):
        with pytest.raises(NotEnoughMemory, match="Cannot allocate memory"):
            await engine.load("wide")
        assert engine.status.restarts == 0


async def test_child_that_is_killed_while_it_loads_counts_as_out_of_memory(tmp_path: Path) -> None:
    write_model(tmp_path / "wide.gguf", WIDE)
    script = tmp_path / "killed.py"
    script.write_text("import os, signal, sys; sys.stdin.readline(); os.kill(os.getpid(), signal.SIGKILL)")
    async with engine_with(tmp_path, [sys.executable, "-I", os.fspath(script)], slots=2) as (engine, lines):
        with pytest.raises(NotEnoughMemory):
            await engine.load("wide")
        assert len([line for line in lines if "did not fit" in line]) == 5  # 2 and 1 sessions, then less context
        assert engine.status.state == "ready"


async def test_real_load_that_came_down_goes_up_while_nobody_is_served(tmp_path: Path) -> None:
    write_model(tmp_path / "wide.gguf", WIDE)
    room = Room(250)  # two of eight sessions: 64 MiB of keys and values each
    async with engine_with(tmp_path, engine_worker_command(), context_tokens=2048, free_ram_mb=room) as (engine, lines):
        assert (await engine.load("wide")).sessions == 2
        pid = engine.worker_pid
        room.mb = 4000
        prompt = Prompt(model="wide", text="hello", max_tokens=2)
        async with aclosing(engine.stream(prompt)) as pieces:
            await anext(pieces)
            await engine.check()
            assert engine.worker_pid == pid  # somebody is served
        await engine.check()
        loaded = await engine.load("wide")  # waits for the load that has begun
        assert (loaded.sessions, loaded.note) == (8, "")
        assert engine.worker_pid != pid
        assert any("loaded again: there is room" in line for line in lines)
        await engine.check()
        assert (await engine.load("wide")).sessions == 8
        assert engine.status.restarts == 0


async def test_real_load_that_takes_all_that_is_lent_is_left_alone(tmp_path: Path) -> None:
    """It went down and up again each half minute for ever: what it held was added to what the owner lends."""
    write_model(tmp_path / "wide.gguf", WIDE)
    lent = load_settings(overrides={"ram_budget_mb": 250}).settings
    room = lendable_ram_mb(lambda: lent)
    async with engine_with(tmp_path, engine_worker_command(), context_tokens=2048, free_ram_mb=room) as (engine, _):
        assert (await engine.load("wide")).sessions == 2
        pid = engine.worker_pid
        for _ in range(2):
            await engine.check()
            assert (await engine.load("wide")).sessions == 2
        assert engine.worker_pid == pid


async def test_real_split_model_is_one_that_loads_and_needs_what_all_its_files_do(tmp_path: Path) -> None:
    write_model(tmp_path / "wide.gguf", WIDE, tensors_per_file=30)
    files = [tmp_path / f"wide-{part:05}-of-00003.gguf" for part in (1, 2, 3)]
    async with engine_with(tmp_path, engine_worker_command(), context_tokens=1024, slots=1) as (engine, _):
        (model,) = await engine.list_models()
        assert (model.name, model.size_bytes) == ("wide", sum(path.stat().st_size for path in files))
        assert model.shape is not None
        assert await answer(engine, "wide") in ("stop", "length")
