"""What every engine promises (core.engines.Engine), tested on all of them. Their own tests are in their own files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from core.engines import Prompt, TokenChunk
from core.engines.options import SamplingOptions
from core.errors import EngineError, ModelNotFound, PromptTooLong
from tests.core.engine_fixtures import ENGINE_CASES, EngineCase, collect, collect_into, first_piece


@pytest.fixture(params=sorted(ENGINE_CASES))
async def case(request: pytest.FixtureRequest) -> AsyncIterator[EngineCase]:
    async with ENGINE_CASES[request.param]() as case:
        yield case


def ask(case: EngineCase, text: str = "hello", *, max_tokens: int = 4) -> Prompt:
    return Prompt(model=case.model, text=text, max_tokens=max_tokens)


async def test_it_is_ready_after_start(case: EngineCase) -> None:
    assert case.engine.status.state == "ready"
    await case.engine.check()


async def test_its_models_are_listed_by_the_name_that_serves(case: EngineCase) -> None:
    assert case.model in [model.name for model in await case.engine.list_models()]


async def test_an_answer_ends_with_exactly_one_done_piece(case: EngineCase) -> None:
    pieces = await collect(case.engine, ask(case))
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert pieces[-1].finish_reason in ("stop", "length")


async def test_max_tokens_are_obeyed_and_counted(case: EngineCase) -> None:
    pieces = await collect(case.engine, ask(case, max_tokens=3))
    assert pieces[-1].finish_reason == "length"
    assert pieces[-1].completion_tokens == 3
    assert sum(piece.tokens for piece in pieces) == 3
    assert pieces[-1].prompt_tokens is not None
    assert pieces[-1].prompt_tokens > 0


async def test_nothing_repeats_what_came_before(case: EngineCase) -> None:
    short = "".join(piece.text for piece in await collect(case.engine, ask(case, max_tokens=2)))
    long = "".join(piece.text for piece in await collect(case.engine, ask(case, max_tokens=4)))
    assert long.startswith(short)


async def test_sampling_options_are_taken(case: EngineCase) -> None:
    options = SamplingOptions(top_p=0.9, top_k=10, min_p=0.01, seed=1, repeat_penalty=1.1, stop=("\u0001",))
    prompt = Prompt(model=case.model, text="hello", max_tokens=3, temperature=0.5, options=options)
    assert (await collect(case.engine, prompt))[-1].done


async def test_a_prompt_that_does_not_fit_is_refused_before_any_piece(case: EngineCase) -> None:
    pieces: list[TokenChunk] = []
    with pytest.raises(PromptTooLong):
        await collect_into(pieces, case.engine, ask(case, "a b " * case.context_tokens))
    assert pieces == []
    assert (await collect(case.engine, ask(case)))[-1].done


async def test_a_cancel_ends_the_engines_work_within_100_ms(case: EngineCase) -> None:
    case.hold()
    has_begun = asyncio.Event()

    async def serve() -> None:
        async with aclosing(case.engine.stream(ask(case, max_tokens=case.endless_tokens))) as pieces:
            async for _ in pieces:
                has_begun.set()

    task = asyncio.create_task(serve())
    await has_begun.wait()
    task.cancel()
    async with asyncio.timeout(0.1):
        await case.wait_idle()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_answer_that_is_not_taken_to_its_end_ends_the_work_too(case: EngineCase) -> None:
    case.hold()
    await first_piece(case.engine, ask(case, max_tokens=case.endless_tokens))
    async with asyncio.timeout(0.1):
        await case.wait_idle()


async def test_several_prompts_are_served_at_once(case: EngineCase) -> None:
    answers = await asyncio.gather(*(collect(case.engine, ask(case)) for _ in range(4)))
    assert all(pieces[-1].done for pieces in answers)


async def test_load_brings_a_model_into_memory_and_unload_gives_it_back(case: EngineCase) -> None:
    loaded = await case.engine.load(case.alias)
    assert loaded.name == case.model
    assert case.model in [model.name for model in await case.engine.loaded_models()]
    await case.engine.unload(case.alias)
    assert not case.can_unload or await case.engine.loaded_models() == ()


async def test_unloading_what_is_not_loaded_is_no_error(case: EngineCase) -> None:
    await case.engine.unload("no-such-model")


async def test_loading_an_unknown_model_is_model_not_found(case: EngineCase) -> None:
    with pytest.raises(ModelNotFound):
        await case.engine.load("no-such-model")


async def test_a_server_that_dies_mid_answer_is_an_error_and_never_done(case: EngineCase) -> None:
    case.hold()
    pieces: list[TokenChunk] = []
    has_begun = asyncio.Event()

    async def serve() -> None:
        async with aclosing(case.engine.stream(ask(case, max_tokens=case.endless_tokens))) as stream:
            async for piece in stream:
                pieces.append(piece)
                has_begun.set()

    task = asyncio.create_task(serve())
    await has_begun.wait()
    await case.break_server()
    with pytest.raises(EngineError):
        await task
    assert not any(piece.done for piece in pieces)


async def test_close_may_be_called_twice_and_start_works_again(case: EngineCase) -> None:
    await case.engine.close()
    await case.engine.close()
    await case.engine.start()
    assert (await collect(case.engine, ask(case)))[-1].done
