"""The OpenAI engine against a fake in the forms of llama-server, vLLM, SGLang, LM Studio and an unknown server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engines import EngineModel, LoadedModel, Prompt, TokenChunk
from core.engines.engine_errors import EngineVoice
from core.engines.openai import OpenAIEngine
from core.engines.openai_wire import ChatReader, Flavour, SseReader, room_for_answer
from core.engines.options import SamplingOptions
from core.errors import (
    AgentError,
    ConfigError,
    EngineError,
    EngineFailed,
    EngineProtocolError,
    EngineRefusedRequest,
    EngineUnreachable,
    ModelNotFound,
    NotEnoughMemory,
    PromptTooLong,
    RequestError,
)
from tests.core.engine_fixtures import collect, collect_into, first_piece, text_of
from tests.fakes.fake_engine_server import Fault
from tests.fakes.fake_openai import TEMPLATE_TOKENS, FakeOpenAI

ALL = list(Flavour)
HONEST = [flavour for flavour in Flavour if flavour.refuses_long_prompts]

Serve = Callable[..., AbstractAsyncContextManager[tuple[FakeOpenAI, OpenAIEngine]]]


@asynccontextmanager
async def serve(
    flavour: Flavour = Flavour.LLAMA_CPP, **arguments: Any
) -> AsyncIterator[tuple[FakeOpenAI, OpenAIEngine]]:
    async with FakeOpenAI(flavour) as fake:
        engine = OpenAIEngine(fake.url, **arguments)
        try:
            yield fake, engine
        finally:
            await engine.close()


def ask(text: str = "hello", *, max_tokens: int = 100, options: SamplingOptions | None = None) -> Prompt:
    return Prompt(model="tiny", text=text, max_tokens=max_tokens, temperature=0.2, options=options or SamplingOptions())


# The address and the key


@pytest.mark.parametrize(
    ("text", "url", "prefix"),
    [
        ("localhost:8000", "http://localhost:8000", "/v1"),
        ("http://localhost:8000", "http://localhost:8000", "/v1"),
        ("http://localhost:8000/", "http://localhost:8000", "/v1"),
        ("http://localhost:8000/v1", "http://localhost:8000", "/v1"),
        ("http://localhost:8000/v1/", "http://localhost:8000", "/v1"),
        ("https://host/llm/v1", "https://host", "/llm/v1"),
        ("https://host/llm", "https://host", "/llm/v1"),
        ("https://host/v1/chat/completions", "https://host", "/v1"),
        (" https://[::1]:8000/v1 ", "https://[::1]:8000", "/v1"),
    ],
)
def test_the_address_is_taken_with_and_without_v1(text: str, url: str, prefix: str) -> None:
    engine = OpenAIEngine(text)
    assert (engine.base_url, engine._prefix) == (url, prefix)


@pytest.mark.parametrize(
    "text", ["", "  ", "ftp://host", "http://", "http://ho st", "localhost:port", "http://[::1", "http://host/v1?key=1"]
)
def test_what_is_no_address_is_a_settings_error(text: str) -> None:
    with pytest.raises(ConfigError, match="openai_base_url"):
        OpenAIEngine(text)


@pytest.mark.parametrize("key", ["two words", "new\nline", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_a_settings_error_without_the_key(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        OpenAIEngine("http://localhost", api_key=key)
    assert key not in caught.value.detail + caught.value.hint


async def test_the_key_goes_with_every_call() -> None:
    async with FakeOpenAI(api_key="k-123") as fake:
        engine = OpenAIEngine(fake.url, api_key="k-123")
        await engine.start()
        assert (await collect(engine, ask()))[-1].done
        assert {asked.headers["Authorization"] for asked in fake.asked} == {"Bearer k-123"}
        await engine.close()


@pytest.mark.parametrize("key", ["", "wrong-key"])
async def test_a_refused_key_says_which_setting_to_look_at(key: str) -> None:
    async with FakeOpenAI(api_key="right-key") as fake:
        engine = OpenAIEngine(fake.url, api_key=key, flavour=Flavour.LLAMA_CPP)
        for call in (engine.start(), collect(engine, ask())):
            with pytest.raises(EngineUnreachable) as caught:
                await call
            assert "openai_api_key" in caught.value.hint
            assert "wrong-key" not in caught.value.detail
        assert engine.status.state == "fault"
        await engine.close()


# The request


@pytest.mark.parametrize("flavour", ALL)
async def test_the_request_asks_for_exact_counts(flavour: Flavour) -> None:
    async with serve(flavour) as (fake, engine):
        await collect(engine, ask(max_tokens=6))
        body = fake.bodies("/v1/chat/completions")[0]
    switch: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": False}} if flavour in HONEST else {}
    if flavour is Flavour.LLAMA_CPP:
        switch["return_progress"] = True  # so that it notices a cancel while it computes a long prompt
    assert body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 6,
        "temperature": 0.2,
        **switch,
    }


@pytest.mark.parametrize(
    ("flavour", "penalty"),
    [
        (Flavour.LLAMA_CPP, "repeat_penalty"),
        (Flavour.VLLM, "repetition_penalty"),
        (Flavour.SGLANG, "repetition_penalty"),
    ],
)
async def test_options_go_out_under_the_servers_names(flavour: Flavour, penalty: str) -> None:
    options = SamplingOptions(
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        min_p=0.05,
        seed=7,
        stop=("END",),
        repeat_penalty=1.1,
        presence_penalty=0.1,
        frequency_penalty=0.2,
    )
    async with serve(flavour) as (fake, engine):
        await collect(engine, ask(options=options))
        body = fake.bodies("/v1/chat/completions")[0]
    expected = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.05,
        "seed": 7,
        "stop": ["END"],
        penalty: 1.1,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
    }
    assert {name: body.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("flavour", "options"),
    [
        (Flavour.GENERIC, SamplingOptions(top_k=40)),
        (Flavour.GENERIC, SamplingOptions(min_p=0.1)),
        (Flavour.GENERIC, SamplingOptions(repeat_penalty=1.1)),
        (Flavour.GENERIC, SamplingOptions(stop=("a", "b", "c", "d", "e"))),
        (Flavour.LM_STUDIO, SamplingOptions(min_p=0.1)),
    ],
)
async def test_an_option_that_the_server_cannot_honour_is_refused_not_dropped(
    flavour: Flavour, options: SamplingOptions
) -> None:
    async with serve(flavour) as (fake, engine):
        with pytest.raises(RequestError):
            await collect(engine, ask(options=options))
        assert not fake.bodies("/v1/chat/completions")


async def test_two_prompts_use_one_connection() -> None:
    async with serve() as (fake, engine):
        for _ in range(3):
            await collect(engine, ask())
        assert fake.connections == 1


async def test_a_prompt_is_never_sent_on_to_another_address() -> None:
    async with serve(flavour=Flavour.LLAMA_CPP) as (fake, engine), FakeOpenAI() as other:
        await engine.start()
        engine._prefix = "/moved"  # a route of the fake that redirects everything
        fake.moved_to = other.url
        with pytest.raises(EngineProtocolError):
            await collect(engine, ask())
        assert not other.asked


# The answer


@pytest.mark.parametrize("flavour", ALL)
async def test_an_answer_arrives_whole_with_the_servers_counts(flavour: Flavour) -> None:
    async with serve(flavour) as (fake, engine):
        pieces = await collect(engine, ask())
        assert text_of(pieces) == "".join(fake.answer)
        assert sum(piece.tokens for piece in pieces) == len(fake.answer)
        assert pieces[-1].done
        assert pieces[-1].prompt_tokens == TEMPLATE_TOKENS + 5
        assert pieces[-1].completion_tokens == len(fake.answer)


async def test_a_server_that_counts_nothing_gives_no_counts() -> None:
    async with serve() as (fake, engine):
        fake.counts_usage = False
        pieces = await collect(engine, ask())
        assert (pieces[-1].prompt_tokens, pieces[-1].completion_tokens) == (None, None)
        assert sum(piece.tokens for piece in pieces) == len(fake.answer)


async def test_reasoning_counts_as_tokens_but_is_never_content() -> None:
    async with serve() as (fake, engine):
        fake.thinking = ["secret", "thoughts"]
        pieces = await collect(engine, ask())
        assert text_of(pieces) == "".join(fake.answer)
        assert sum(piece.tokens for piece in pieces) == 2 + len(fake.answer)


async def test_each_token_is_given_on_as_it_arrives() -> None:
    async with serve() as (fake, engine):
        fake.pace()
        async with aclosing(engine.stream(ask())) as pieces:
            fake.let_through(1)  # the opening event, without text
            for text in fake.answer[:-1]:
                fake.let_through(1)
                assert await anext(pieces) == TokenChunk(text, 1)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("space", ["", " "])
@pytest.mark.parametrize("says_done", [True, False])
async def test_every_legal_form_of_events_is_read(line_end: str, space: str, says_done: bool) -> None:
    async with serve() as (fake, engine):
        fake.line_end, fake.space, fake.says_done, fake.with_comments = line_end, space, says_done, True
        assert text_of(await collect(engine, ask())) == "".join(fake.answer)


@pytest.mark.parametrize(
    ("finish", "expected"), [("stop", "stop"), ("length", "length"), ("eos", "stop"), ("content_filter", "stop")]
)
async def test_finish_reasons_are_stop_or_length(finish: str, expected: str) -> None:
    async with serve() as (fake, engine):
        fake.finish = finish
        assert (await collect(engine, ask()))[-1].finish_reason == expected


@pytest.mark.parametrize("finish", ["abort", "error", ""])
async def test_an_answer_that_the_server_gave_up_is_never_done(finish: str) -> None:
    async with serve() as (fake, engine):
        fake.finish = finish
        pieces: list[TokenChunk] = []
        with pytest.raises(EngineFailed):
            await collect_into(pieces, engine, ask())
        assert not any(piece.done for piece in pieces)


# Faults


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.ERROR_LINE, EngineFailed),
        (Fault.EARLY_END, EngineFailed),
        (Fault.GARBAGE, EngineProtocolError),
        (Fault.WRONG_SHAPE, EngineProtocolError),
        (Fault.RESET, EngineFailed),
        (Fault.RESET_AT_START, EngineFailed),
        (Fault.WRONG_TYPE, EngineProtocolError),
    ],
)
async def test_a_fault_ends_the_stream_with_an_error_and_never_as_done(fault: Fault, error: type[EngineError]) -> None:
    async with serve() as (fake, engine):
        await engine.start()
        fake.fault = fault
        pieces: list[TokenChunk] = []
        with pytest.raises(error) as caught:
            await collect_into(pieces, engine, ask())
        assert type(caught.value) is error
        assert not any(piece.done for piece in pieces)
        fake.fault = Fault.NONE
        assert (await collect(engine, ask()))[-1].done


@pytest.mark.parametrize("fault", [Fault.ERROR_LINE, Fault.EARLY_END, Fault.GARBAGE])
async def test_text_before_a_fault_is_given_on(fault: Fault) -> None:
    async with serve() as (fake, engine):
        await engine.start()
        fake.fault, fake.fault_after = fault, 3  # the opening event and two tokens
        pieces: list[TokenChunk] = []
        with pytest.raises(EngineError):
            await collect_into(pieces, engine, ask())
        assert text_of(pieces) == "Hello"


@pytest.mark.parametrize("fault", [Fault.HANG_AT_START, Fault.HANG_AFTER_HEADERS, Fault.HANG_MID])
async def test_a_cancel_closes_the_connection_within_100_ms(fault: Fault) -> None:
    async with serve() as (fake, engine):
        await engine.start()
        fake.fault = fault
        task = asyncio.create_task(collect(engine, ask()))
        await fake.streaming.wait()
        task.cancel()
        async with asyncio.timeout(0.1):
            await fake.disconnected.wait()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_no_server_says_which_address_was_tried() -> None:
    async with serve() as (fake, engine):
        await engine.start()
        await fake.stop()
        for call in (engine.check(), engine.load("tiny"), collect(engine, ask())):
            with pytest.raises(EngineUnreachable) as caught:
                await call
            assert fake.url in caught.value.detail
        assert engine.status.state == "fault"


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, {"error": {"message": "Field 'top_k' is wrong", "type": "invalid_request_error"}}, EngineRefusedRequest),
        (400, {"error": {"message": "too long", "code": "context_length_exceeded"}}, PromptTooLong),
        (400, {"object": "error", "message": "This model's maximum context length is 512 tokens."}, PromptTooLong),
        (
            400,
            {"error": "Trying to keep the first 900 tokens when context the overflows context window"},
            PromptTooLong,
        ),
        (404, {"error": {"message": "The model `tiny` does not exist.", "type": "NotFoundError"}}, ModelNotFound),
        (404, {"detail": "Not Found"}, EngineProtocolError),
        (
            404,
            {"error": {"message": "The model `other` does not exist.", "type": "NotFoundError"}},
            EngineProtocolError,
        ),
        (404, {"error": {"message": "no model of this name", "code": "model_not_found"}}, ModelNotFound),
        (400, {"error": {"message": "something new", "type": "invalid_request_error"}}, EngineFailed),
        (400, {"error": {"message": "refused", "code": True}}, EngineFailed),
        (429, {"error": {"message": "rate limit", "type": "rate_limit"}}, EngineError),
        (500, {"error": {"message": "CUDA out of memory", "type": "server_error"}}, NotEnoughMemory),
        (500, {"error": {"message": "boom", "type": "server_error"}}, EngineFailed),
        (500, "no object", EngineFailed),
        (503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, EngineError),
    ],
)
async def test_what_the_server_refuses_has_its_own_error(status: int, body: Any, error: type[AgentError]) -> None:
    async with serve() as (fake, engine):
        fake.error_answer = (status, body)
        with pytest.raises(error) as caught:
            await collect(engine, ask())
        assert type(caught.value) is error


async def test_an_error_that_quotes_the_prompt_is_withheld() -> None:
    async with serve() as (fake, engine):
        fake.error_answer = (500, {"error": {"message": "cannot render 'my secret canary is blue'"}})
        with pytest.raises(EngineFailed) as caught:
            await collect(engine, ask("say this: my secret canary is blue"))
        assert "canary" not in caught.value.detail


# Prompts that don't fit


@pytest.mark.parametrize("flavour", ALL)
async def test_a_prompt_past_the_context_is_refused_before_any_piece(flavour: Flavour) -> None:
    async with serve(flavour, context_tokens=512) as (_, engine):
        with pytest.raises(PromptTooLong):
            await first_piece(engine, ask("a b " * 400))


@pytest.mark.parametrize("flavour", [Flavour.LM_STUDIO, Flavour.GENERIC])
async def test_a_server_that_may_cut_silently_is_not_asked(flavour: Flavour) -> None:
    async with serve(flavour, context_tokens=512) as (fake, engine):
        with pytest.raises(PromptTooLong):
            await first_piece(engine, ask("ü" * 200))  # 400 bytes, and the template's share
        assert not fake.bodies("/v1/chat/completions")


@pytest.mark.parametrize("flavour", HONEST)
async def test_a_prompt_that_fits_is_answered_though_max_tokens_would_not_fit(flavour: Flavour) -> None:
    """max_tokens 0 is the owner's limit, which may be more than the model's whole context."""
    async with serve(flavour) as (fake, engine):
        pieces = await collect(engine, ask("x" * 100, max_tokens=4096))
        assert text_of(pieces) == "".join(fake.answer)


async def test_a_prompt_that_filled_the_context_is_never_ok() -> None:
    """The last guard: a server that counts as honest, and cuts all the same."""
    async with serve(Flavour.LLAMA_CPP) as (fake, engine):
        await engine.start()
        fake.refuses_long_prompts = False
        pieces: list[TokenChunk] = []
        with pytest.raises(PromptTooLong):
            await collect_into(pieces, engine, ask("x" * 2000))
        assert not any(piece.done for piece in pieces)


@pytest.mark.parametrize(
    ("message", "room"),
    [
        ("maximum context length is 2048 tokens. However, you requested 2100 tokens (100 in the messages, 2000", 1948),
        ("maximum context length is 512 tokens and your request has 12 input tokens", 500),
        ("maximum context length of 512 tokens. You requested a total of 612 tokens: 12 tokens from the input", 500),
        ("maximum context length is 512 tokens and your request has 512 input tokens", None),
        ("maximum context length is 512 tokens", None),
        ("something else", None),
        (
            "You passed 4 input tokens and requested 600 output tokens. The model's context length is only 512",
            254,
        ),
        (
            "maximum context length is 5000 tokens. However, your prompt contains at least 4400 input tokens",
            4644,
        ),
        (
            "You passed 511 input tokens and requested 2 output tokens. The model's context length is only 512",
            None,
        ),
    ],
)
def test_the_room_for_an_answer_is_read_from_the_refusal(message: str, room: int | None) -> None:
    assert room_for_answer({"error": {"message": message}}, prompt_bytes=100 if "at least" in message else 500) == room


async def test_a_vllm_that_counts_only_the_beginning_is_asked_again_until_the_answer_fits() -> None:
    async with serve(Flavour.VLLM) as (fake, engine):
        fake.counts_only_the_beginning = True
        pieces = await collect(engine, ask("x" * 450, max_tokens=4096))
        assert text_of(pieces) == "".join(fake.answer)
        assert 1 < len(fake.bodies("/v1/chat/completions")) <= 8


# Models


@pytest.mark.parametrize("flavour", ALL)
async def test_the_flavour_is_told_from_the_list_of_models(flavour: Flavour) -> None:
    async with serve(flavour) as (_, engine):
        await engine.start()
        assert engine.flavour is flavour
        assert engine.status.version == flavour.value


async def test_models_are_listed_with_what_the_server_tells() -> None:
    async with serve(Flavour.LLAMA_CPP) as (_, engine):
        assert await engine.list_models() == (EngineModel(name="tiny", size_bytes=435968, context_tokens=2048),)
    async with serve(Flavour.VLLM) as (_, engine):
        assert await engine.list_models() == (EngineModel(name="tiny", context_tokens=512),)
    async with serve(Flavour.LM_STUDIO) as (_, engine):
        assert await engine.list_models() == (EngineModel(name="tiny", quant="Q4_K_M", context_tokens=2048),)


async def test_only_a_server_that_says_so_holds_a_model() -> None:
    async with serve(Flavour.LM_STUDIO) as (_, engine):
        assert await engine.loaded_models() == (LoadedModel(name="tiny", context_tokens=512),)
    async with serve(Flavour.GENERIC) as (_, engine):
        assert await engine.loaded_models() == ()
        assert await engine.load("tiny") == LoadedModel(name="tiny")


async def test_something_that_is_no_openai_server_is_said_so() -> None:
    async with serve() as (_, engine):
        engine._prefix = "/nothing/here"
        with pytest.raises(EngineProtocolError, match="no such API"):
            await engine.start()


# Reading events


def _event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    return json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).encode()


STREAM = (
    b": hello\r\n\r\n"
    b"event: message\r\nid: 1\r\ndata: " + _event({"content": "wö"}) + b"\r\n\r\n"
    b"data:" + _event({"content": "rld"}) + b"\n\n"
    b'data: {"choices": [{"index": 0,\ndata: "delta": {"content": "!"}}]}\n\n'
    b"retry: 5\n\n"
    b"data: " + _event({}, "stop") + b"\n\n"
    b"data: [DONE]\n\n"
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_are_read_the_same_however_they_are_cut(cuts: list[int]) -> None:
    reader, chat, text = SseReader(), ChatReader(ask(), EngineVoice(name="engine")), ""
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in pairwise(edges):
        batch = chat.read(reader.feed(STREAM[start:end]))
        assert batch.error is None
        text += batch.text
    assert (text, chat.seen_tokens, chat.finish_reason, chat.is_done) == ("wörld!", 3, "stop", True)
    assert reader.end() == []


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    reader, chat = SseReader(), ChatReader(ask(), EngineVoice(name="engine"))
    try:
        batches = [chat.read(reader.feed(data)), chat.read(reader.end())]
    except EngineProtocolError:
        return
    assert all(batch.text == "" for batch in batches)  # no bytes of chance make an answer


@pytest.mark.parametrize(
    "data",
    [
        b'data: {"error": {"message": "boom", "code": 500}}\n\n',
        b'event: error\ndata: {"error": "boom"}\n\n',
        b'error: {"message": "boom", "code": 500}\n\n',
        b'{"error": {"message": "boom"}}\n\n',
        b'data: {"object": "error", "message": "boom"}\n\n',
    ],
)
def test_every_form_of_an_error_in_the_stream_is_an_error(data: bytes) -> None:
    batch = ChatReader(ask(), EngineVoice(name="engine")).read(SseReader().feed(data))
    assert type(batch.error) is EngineFailed
    assert batch.error.detail == "engine failed (500)"


def test_a_context_error_in_the_stream_is_prompt_too_long() -> None:
    data = b'data: {"error": {"type": "exceed_context_size_error", "message": "x", "code": 400}}\n\n'
    assert isinstance(ChatReader(ask(), EngineVoice(name="engine")).read(SseReader().feed(data)).error, PromptTooLong)


def test_an_event_without_an_end_is_refused() -> None:
    reader = SseReader()
    reader.feed(b"data: " + b"x" * 65536)
    with pytest.raises(EngineProtocolError):
        reader.feed(b"x" * (1 << 20))


def test_garbage_between_events_is_refused() -> None:
    with pytest.raises(EngineProtocolError):
        SseReader().feed(b"data: {}\n\n<html>\n\n")


def test_a_lone_surrogate_never_reaches_a_client() -> None:
    data = b'{"choices":[{"delta":{"content":"a\\ud83d"}}]}'
    assert ChatReader(ask(), EngineVoice(name="engine")).read([data]).text == "a\ufffd"
