"""The Ollama engine against a fake that answers as the recorded transcripts do."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engines import EngineModel, LoadedModel, Prompt, PullProgress, TokenChunk
from core.engines.http import is_address
from core.engines.ollama import OllamaEngine
from core.engines.ollama_host import parse_ollama_host
from core.engines.ollama_shapes import OllamaShapes
from core.engines.ollama_wire import LineReader, is_honest_version, read_lines, read_plain
from core.engines.options import SamplingOptions
from core.errors import (
    AgentError,
    ConfigError,
    EngineError,
    EngineFailed,
    EngineProtocolError,
    EngineRefusedRequest,
    EngineUnreachable,
    ModelError,
    ModelNotFound,
    NotEnoughMemory,
    PromptTooLong,
    RequestError,
)
from core.model_manager import ModelManager
from tests.core.engine_fixtures import collect, collect_into, first_piece, text_of
from tests.fakes.fake_engine_server import Fault
from tests.fakes.fake_ollama import TEMPLATE_TOKENS, FakeOllama, tag


@pytest.fixture
async def fake() -> AsyncIterator[FakeOllama]:
    async with FakeOllama() as server:
        yield server


@pytest.fixture
async def engine(fake: FakeOllama) -> AsyncIterator[OllamaEngine]:
    engine = OllamaEngine(fake.url, context_tokens=1024, keep_alive="7m")
    yield engine
    await engine.close()


def ask(
    text: str = "hello", *, model: str = "tiny", max_tokens: int = 100, options: SamplingOptions | None = None
) -> Prompt:
    return Prompt(model=model, text=text, max_tokens=max_tokens, temperature=0.2, options=options or SamplingOptions())


# The request


async def test_the_request_carries_our_context_and_never_lets_ollama_cut(
    fake: FakeOllama, engine: OllamaEngine
) -> None:
    await collect(engine, ask(max_tokens=6))
    assert fake.bodies("/api/chat") == [
        {
            "model": "tiny",
            "messages": [{"role": "user", "content": "hello"}],
            "stream": True,
            "think": False,
            "truncate": False,
            "shift": False,
            "keep_alive": "7m",
            "options": {"num_ctx": 1024, "num_predict": 6, "temperature": 0.2},
        }
    ]


async def test_every_sampling_option_goes_out_under_ollamas_name_and_type(
    fake: FakeOllama, engine: OllamaEngine
) -> None:
    sent = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.05,
        "seed": 7,
        "repeat_penalty": 1.1,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
    }
    await collect(engine, ask(options=SamplingOptions(stop=("END",), **sent)))  # type: ignore[arg-type]
    options = fake.bodies("/api/chat")[0]["options"]
    assert options == {**sent, "stop": ["END"], "num_ctx": 1024, "num_predict": 100}


async def test_two_prompts_use_one_connection(fake: FakeOllama, engine: OllamaEngine) -> None:
    for _ in range(3):
        await collect(engine, ask())
    assert fake.connections == 1


async def test_a_load_sends_the_same_context_and_shift_as_a_prompt(fake: FakeOllama, engine: OllamaEngine) -> None:
    """Another value of either would make Ollama load the model again at the first prompt."""
    await engine.load("tiny")
    await collect(engine, ask())
    load, chat = fake.bodies("/api/generate")[0], fake.bodies("/api/chat")[0]
    for name in ("shift", "keep_alive"):
        assert load[name] == chat[name]
    assert load["options"]["num_ctx"] == chat["options"]["num_ctx"]
    assert "prompt" not in load


# The answer


async def test_an_answer_arrives_whole_with_ollamas_counts(fake: FakeOllama, engine: OllamaEngine) -> None:
    pieces = await collect(engine, ask())
    assert text_of(pieces) == "".join(fake.answer)
    assert sum(piece.tokens for piece in pieces) == len(fake.answer)
    last = pieces[-1]
    assert (last.done, last.finish_reason) == (True, "stop")
    assert (last.prompt_tokens, last.completion_tokens) == (TEMPLATE_TOKENS + 5, len(fake.answer))


async def test_an_answer_cut_by_the_limit_says_length(fake: FakeOllama, engine: OllamaEngine) -> None:
    pieces = await collect(engine, ask(max_tokens=2))
    assert text_of(pieces) == "Hello"
    assert pieces[-1].finish_reason == "length"


async def test_what_arrives_together_is_given_on_together(fake: FakeOllama, engine: OllamaEngine) -> None:
    fake.answer = [f"t{number} " for number in range(400)]
    fake.tokens_per_write = 400
    pieces = await collect(engine, ask(max_tokens=400))
    assert text_of(pieces) == "".join(fake.answer)
    assert sum(piece.tokens for piece in pieces) == 400
    assert len(pieces) < 20


async def test_a_line_that_arrives_in_two_halves_is_read_whole(fake: FakeOllama, engine: OllamaEngine) -> None:
    fake.splits_lines = True
    pieces = await collect(engine, ask())
    assert text_of(pieces) == "".join(fake.answer)
    assert len(pieces) > 2  # it did arrive in parts


async def test_each_token_is_given_on_as_it_arrives(fake: FakeOllama, engine: OllamaEngine) -> None:
    fake.pace()
    async with aclosing(engine.stream(ask())) as pieces:
        for text in fake.answer:
            fake.let_through(1)
            piece = await anext(pieces)
            assert piece.text == text


async def test_reasoning_counts_as_tokens_but_is_never_content(fake: FakeOllama, engine: OllamaEngine) -> None:
    fake.thinking = ["secret", "thoughts"]
    fake.pace()
    async with aclosing(engine.stream(ask())) as pieces:
        fake.let_through(1)
        assert await anext(pieces) == TokenChunk("", 1)
        fake.let_through(100)
        rest = [piece async for piece in pieces]
    assert text_of(rest) == "".join(fake.answer)
    assert 1 + sum(piece.tokens for piece in rest) == 2 + len(fake.answer)


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
async def test_a_fault_ends_the_stream_with_an_error_and_never_as_done(
    fake: FakeOllama, engine: OllamaEngine, fault: Fault, error: type[EngineError]
) -> None:
    fake.fault = fault
    pieces: list[TokenChunk] = []
    with pytest.raises(error) as caught:
        await collect_into(pieces, engine, ask())
    assert not any(piece.done for piece in pieces)
    assert type(caught.value) is error
    # and the next prompt is served
    fake.fault = Fault.NONE
    assert (await collect(engine, ask()))[-1].done


@pytest.mark.parametrize("tokens_per_write", [1, 31])
async def test_a_model_that_only_repeats_itself_is_no_fault_of_the_engine(
    fake: FakeOllama, engine: OllamaEngine, tokens_per_write: int
) -> None:
    """Ollama then ends the stream without a last line. Any client can ask for that, so it must not open the breaker."""
    fake.answer = ["one", "two", *["ha", " ha", "ha "] * 11]
    fake.fault, fake.fault_after, fake.tokens_per_write = Fault.EARLY_END, len(fake.answer), tokens_per_write
    with pytest.raises(RequestError, match="repeated"):
        await collect(engine, ask())


async def test_a_few_repetitions_do_not_excuse_an_early_end(fake: FakeOllama, engine: OllamaEngine) -> None:
    fake.answer = ["one", *["ha"] * 29]
    fake.fault, fake.fault_after = Fault.EARLY_END, len(fake.answer)
    with pytest.raises(EngineFailed):
        await collect(engine, ask())


@pytest.mark.parametrize("fault", [Fault.ERROR_LINE, Fault.EARLY_END, Fault.GARBAGE])
async def test_text_before_a_fault_is_given_on(fake: FakeOllama, engine: OllamaEngine, fault: Fault) -> None:
    fake.fault = fault
    pieces: list[TokenChunk] = []
    with pytest.raises(EngineError):
        await collect_into(pieces, engine, ask())
    assert text_of(pieces) == "Hello"


async def test_a_kept_connection_that_was_just_closed_is_no_error(fake: FakeOllama, engine: OllamaEngine) -> None:
    await collect(engine, ask())
    fake.fault, fake.fault_passes = Fault.RESET_AT_START, True
    assert text_of(await collect(engine, ask())) == "".join(fake.answer)


async def test_a_fault_in_one_answer_harms_no_other(fake: FakeOllama, engine: OllamaEngine) -> None:
    fake.pace()
    good = asyncio.create_task(collect(engine, ask()))
    await fake.streaming.wait()
    fake.fault = Fault.RESET_AT_START
    with pytest.raises(EngineFailed):
        await collect(engine, ask())
    fake.fault = Fault.NONE
    fake.let_through(100)
    assert (await good)[-1].done


@pytest.mark.parametrize("fault", [Fault.HANG_AT_START, Fault.HANG_AFTER_HEADERS, Fault.HANG_MID])
async def test_a_cancel_closes_the_connection_within_100_ms(
    fake: FakeOllama, engine: OllamaEngine, fault: Fault
) -> None:
    await engine.start()
    fake.fault = fault
    task = asyncio.create_task(collect(engine, ask()))
    await fake.streaming.wait()
    task.cancel()
    async with asyncio.timeout(0.1):
        await fake.disconnected.wait()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_line_about_memory_is_not_enough_memory() -> None:
    line = b'{"error":"CUDA error: out of memory"}\n'
    assert isinstance(read_lines(line, ask()).error, NotEnoughMemory)


async def test_no_ollama_says_how_to_start_it(fake: FakeOllama, engine: OllamaEngine) -> None:
    await engine.start()
    await fake.stop()
    for call in (engine.check(), engine.load("tiny"), engine.list_models(), collect(engine, ask())):
        with pytest.raises(EngineUnreachable) as caught:
            await call
        assert "ollama serve" in caught.value.hint
    assert engine.status.state == "fault"
    assert engine.status.detail


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [
        (400, "json: cannot unmarshal number into Go struct field", EngineFailed),
        (400, 'option "top_k" must be of type integer', EngineRefusedRequest),
        (405, "Method Not Allowed", EngineProtocolError),
        (407, "Proxy Authentication Required", EngineUnreachable),
        (401, "Unauthorized", EngineUnreachable),
        (413, "Request Entity Too Large", EngineFailed),
        (500, "runner: library libfoo.so not found", EngineFailed),
        (404, "404 page not found", EngineProtocolError),
        (404, "model 'another' not found", EngineProtocolError),
        (400, '"tiny" does not support chat', ModelError),
        (500, "model requires more system memory (9.1 GiB) than is available (4.2 GiB)", NotEnoughMemory),
        (500, "llama runner process has terminated: cudaMalloc failed: out of memory", NotEnoughMemory),
        (500, "the input length exceeds the context length", PromptTooLong),
        (400, "the prompt is longer than the context length currently available to the model", PromptTooLong),
        (500, "llama runner process has terminated: exit status 2", EngineFailed),
        (503, "server busy, please try again.  maximum pending requests exceeded", EngineError),
        (404, "model 'tiny' not found", ModelNotFound),
    ],
)
async def test_what_ollama_refuses_has_its_own_error(
    fake: FakeOllama, engine: OllamaEngine, status: int, message: str, error: type[AgentError]
) -> None:
    fake.error_answer = (status, {"error": message})
    with pytest.raises(error) as caught:
        await collect(engine, ask())
    assert type(caught.value) is error


async def test_an_error_body_of_any_form_is_an_engine_error(fake: FakeOllama, engine: OllamaEngine) -> None:
    bodies: tuple[Any, ...] = ({"error": {"message": "x"}}, [], None, "text", {"error": None})
    for body in bodies:
        fake.error_answer = (500, body)
        with pytest.raises(EngineFailed):
            await collect(engine, ask())


async def test_a_model_that_ollama_does_not_have_says_how_to_get_it(engine: OllamaEngine) -> None:
    with pytest.raises(ModelNotFound) as caught:
        await collect(engine, ask(model="nope"))
    assert caught.value.hint == "ollama pull nope"


async def test_an_error_that_quotes_the_prompt_is_withheld(fake: FakeOllama, engine: OllamaEngine) -> None:
    fake.error_answer = (500, {"error": "cannot render: my secret canary is what you sent"})
    with pytest.raises(EngineFailed) as caught:
        await collect(engine, ask("say this: my secret canary is blue"))
    assert "canary" not in caught.value.detail


@pytest.mark.parametrize("phrase", ["out of memory", "model 'tiny' not found", "does not support chat"])
@pytest.mark.parametrize("status", [400, 500])
async def test_a_prompt_quoted_in_an_error_cannot_withdraw_the_model(
    fake: FakeOllama, engine: OllamaEngine, phrase: str, status: int
) -> None:
    """A ModelError takes the model from everybody for ten minutes: no client may cause one by what it writes."""
    fake.error_answer = (status, {"error": f"cannot parse: {phrase}"})
    with pytest.raises(EngineFailed):
        await collect(engine, ask(f"tell me about: {phrase}"))


async def test_an_error_after_the_first_text_cannot_withdraw_the_model(fake: FakeOllama, engine: OllamaEngine) -> None:
    """It may quote the answer, and a client can ask for any answer."""
    fake.fault, fake.fault_line = Fault.ERROR_LINE, "Failed to parse input at pos 0: out of memory"
    with pytest.raises(EngineFailed) as caught:
        await collect(engine, ask())
    assert caught.value.category == "out of memory"


async def test_owner_reads_what_ollama_says_to_a_call_without_a_prompt(fake: FakeOllama, engine: OllamaEngine) -> None:
    fake.error_answer = (500, {"error": "unable to load model: /models/blob 7\n" + "x" * 10_000})
    with pytest.raises(EngineFailed) as caught:
        await engine.load("tiny")
    assert caught.value.category == "model file not usable"
    assert "unable to load model: /models/blob 7 xxx" in caught.value.detail
    assert len(caught.value.detail) < 400


async def test_a_broken_answer_is_in_no_traceback() -> None:
    """aiohttp's own errors quote the bytes that they could not read."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head + b"canary is no chunk size\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        engine = OllamaEngine(f"127.0.0.1:{port}")
        engine._version = "0.30.0"
        with pytest.raises(EngineError) as caught:
            await collect(engine, ask())
        assert "canary" not in "".join(traceback.format_exception(caught.value))
        await engine.close()


# Prompts that don't fit


@pytest.mark.parametrize("version", ["0.0.0", "0.12.6", "0.20.0", "0.30.0", "0.32.15"])
async def test_a_prompt_past_the_context_is_refused_before_any_piece(
    fake: FakeOllama, engine: OllamaEngine, version: str
) -> None:
    fake.version = version
    with pytest.raises(PromptTooLong):
        await first_piece(engine, ask("a b " * 400))


async def test_an_ollama_that_cuts_silently_is_not_asked(fake: FakeOllama, engine: OllamaEngine) -> None:
    fake.version = "0.12.5"
    with pytest.raises(PromptTooLong) as caught:
        await first_piece(engine, ask("a b " * 400))
    assert "0.12.6" in caught.value.hint
    assert not fake.bodies("/api/chat")


async def test_an_ollama_that_shifts_silently_gets_room_for_the_answer(fake: FakeOllama, engine: OllamaEngine) -> None:
    fake.version = "0.5.0"
    await collect(engine, ask("x" * 500, max_tokens=4000))
    assert fake.bodies("/api/chat")[0]["options"]["num_predict"] == 1024 - 500 - 256


async def test_an_old_ollama_is_asked_once_what_the_model_was_trained_for(
    fake: FakeOllama, engine: OllamaEngine
) -> None:
    fake.version, fake.tags = "0.5.0", [tag("tiny:latest", context=None)]
    fake.model_info = {"llama.context_length": 512}
    for _ in range(2):
        with pytest.raises(PromptTooLong):
            await first_piece(engine, ask("x" * 400))
    assert len(fake.bodies("/api/show")) == 1


async def test_an_old_ollama_that_tells_nothing_is_taken_for_2048_tokens(fake: FakeOllama) -> None:
    fake.version, fake.model_info = "0.1.20", {}
    engine = OllamaEngine(fake.url, context_tokens=8192)
    with pytest.raises(PromptTooLong, match="2048"):
        await first_piece(engine, ask("x" * 3000))
    await engine.close()


async def test_a_prompt_that_filled_the_context_is_never_ok(fake: FakeOllama, engine: OllamaEngine) -> None:
    """The last guard: an Ollama that says it is new, and cuts all the same."""
    fake.trained_context = 64  # the fake cuts to this, and its count says so
    fake.tags = [tag("tiny:latest", context=64)]
    await engine.list_models()
    fake._knows_truncate = lambda: False  # type: ignore[method-assign]
    pieces: list[TokenChunk] = []
    with pytest.raises(PromptTooLong):
        await collect_into(pieces, engine, ask("x" * 200))
    assert not any(piece.done for piece in pieces)


async def test_an_update_of_ollama_is_noticed_by_the_next_check(fake: FakeOllama, engine: OllamaEngine) -> None:
    fake.version = "0.12.5"
    await engine.start()
    fake.version = "0.12.6"
    await engine.check()
    assert engine.status.version == "0.12.6"
    await collect(engine, ask("x" * 900))


@pytest.mark.parametrize(
    ("version", "is_honest"),
    [
        ("0.0.0", True),
        ("0.12.6", True),
        ("0.12.6-rc1", True),
        ("0.13", True),
        ("v1.0.0", True),
        ("0.30.0+dirty", True),
        ("0.12.5", False),
        ("0.9.12", False),
        ("0.1.48", False),
        ("", False),
        ("dev", False),
    ],
)
def test_versions_that_honour_truncate(version: str, is_honest: bool) -> None:
    assert is_honest_version(version) is is_honest


# Models


async def test_models_are_listed_with_size_quant_and_context(engine: OllamaEngine) -> None:
    assert await engine.list_models() == (
        EngineModel(name="tiny:latest", size_bytes=442815, quant="Q4_K_M", context_tokens=2048),
    )


async def test_cloud_and_embedding_models_are_not_listed(fake: FakeOllama, engine: OllamaEngine) -> None:
    fake.tags = [
        tag("big:cloud", remote_host="https://ollama.com:443", remote_model="big"),
        tag("embed:latest", capabilities=["embedding"]),
        tag("tiny:latest"),
    ]
    assert [model.name for model in await engine.list_models()] == ["tiny:latest"]


async def test_an_old_ollama_lists_no_capabilities(fake: FakeOllama, engine: OllamaEngine) -> None:
    old, embedding = tag("tiny:latest", context=None), tag("nomic:latest", context=None)
    del old["capabilities"], embedding["capabilities"]
    embedding["details"]["family"] = "nomic-bert"
    fake.tags = [old, embedding]
    models = await engine.list_models()
    assert [(model.name, model.context_tokens) for model in models] == [("tiny:latest", None)]


async def test_load_and_unload_and_what_is_in_memory(fake: FakeOllama, engine: OllamaEngine) -> None:
    assert await engine.loaded_models() == ()
    loaded = await engine.load("tiny")
    assert loaded == LoadedModel(name="tiny:latest", total_mb=8, vram_mb=0, context_tokens=1024)
    assert engine.status.device == "CPU"
    fake.size_vram = 8 << 20
    assert (await engine.loaded_models())[0].vram_mb == 8
    assert engine.status.device == "GPU"
    await engine.unload("tiny:latest")
    assert await engine.loaded_models() == ()


async def test_unloading_a_model_that_is_not_there_is_no_error(engine: OllamaEngine) -> None:
    await engine.unload("tiny")
    await engine.unload("nope")


async def test_loading_an_unknown_model_is_model_not_found(engine: OllamaEngine) -> None:
    with pytest.raises(ModelNotFound):
        await engine.load("nope")


async def test_something_that_is_not_ollama_is_said_so(fake: FakeOllama, engine: OllamaEngine) -> None:
    fake.version = None  # type: ignore[assignment]
    with pytest.raises(EngineProtocolError, match="not Ollama"):
        await engine.start()
    fake.tags = {"data": []}  # type: ignore[assignment]
    with pytest.raises(EngineProtocolError, match="not Ollama"):
        await engine.list_models()


async def test_a_download_reports_progress_and_ends_with_success(engine: OllamaEngine) -> None:
    progress = [step async for step in engine.pull("tiny")]
    assert progress[1] == PullProgress("pulling 3e23a8b34ece", 1000, 442815)
    assert progress[-1].status == "success"


async def test_a_download_that_fails_inside_a_200_is_an_error(fake: FakeOllama, engine: OllamaEngine) -> None:
    text = 'pull model manifest: Get "https://REGISTRY/v2/": dial tcp: lookup REGISTRY: no such host'
    fake.pull_lines = [{"status": "pulling manifest"}, {"error": text}]
    with pytest.raises(EngineFailed, match="no such host"):
        [step async for step in engine.pull("nosuchmodel-xyz")]


@pytest.mark.parametrize(
    ("said", "kind", "detail"),
    [
        ("pull model manifest: file does not exist", ModelNotFound, "no model nosuch:1b in Ollama's library"),
        ("pull model manifest: 412: The model requires a newer version of Ollama", EngineFailed, "too old for"),
        ("write /m: no space left on device", EngineFailed, "its disk is full"),
    ],
)
async def test_what_ollamas_library_says_is_told_in_plain_words(
    fake: FakeOllama, engine: OllamaEngine, said: str, kind: type[Exception], detail: str
) -> None:
    fake.pull_lines = [{"error": said}]
    with pytest.raises(kind, match=detail):
        [step async for step in engine.pull("nosuch:1b")]


async def test_a_download_that_just_stops_is_an_error(fake: FakeOllama, engine: OllamaEngine) -> None:
    fake.pull_lines = fake.pull_lines[:2]
    with pytest.raises(EngineFailed, match="early"):
        [step async for step in engine.pull("tiny")]


async def test_the_package_finds_no_ollama_either(fake: FakeOllama, engine: OllamaEngine) -> None:
    await fake.stop()
    with pytest.raises(EngineUnreachable) as caught:
        [step async for step in engine.pull("tiny")]
    assert "ollama serve" in caught.value.hint


async def test_capabilities_come_from_show(engine: OllamaEngine) -> None:
    assert await engine.capabilities("tiny") == ("completion",)
    with pytest.raises(ModelNotFound):
        await engine.capabilities("nope")


async def test_a_model_that_makes_embeddings_alone_cannot_answer(fake: FakeOllama, engine: OllamaEngine) -> None:
    """The manager asks by the method's name, since other engines have no such question: nothing else would miss it."""
    models = ModelManager(engine=engine, supported=("tiny",))
    assert await models.can_answer("tiny")
    fake.capabilities = ["embedding"]
    assert not await models.can_answer("tiny")
    fake.capabilities = None  # an old Ollama doesn't say
    assert await models.can_answer("tiny")


# Reading lines


def _line(content: str) -> bytes:
    event = {"model": "m", "created_at": "t", "message": {"role": "assistant", "content": content}, "done": False}
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


@given(st.lists(st.integers(0, 600), max_size=12))
def test_lines_are_whole_however_they_are_cut(cuts: list[int]) -> None:
    sent = b"".join(_line(text) for text in ("one", "wörld", "", "x" * 50)) + b"the beginning of"
    reader, edges = LineReader(), [0, *sorted(cuts), len(sent)]
    batches = [reader.feed(sent[start:end]) for start, end in pairwise(edges)]
    assert all(batch == b"" or batch.endswith(b"\n") for batch in batches)
    assert b"".join(batches) + reader.rest == sent


def test_a_line_without_an_end_is_refused() -> None:
    reader = LineReader()
    reader.feed(b"x" * 1000)
    with pytest.raises(EngineProtocolError):
        reader.feed(b"x" * (1 << 20))


@pytest.mark.parametrize("content", ["plain", "", 'quote " and \\ and \n\t', "wörld 🎉", "\\u003cb\\u003e", "}},{"])
def test_the_cheap_path_reads_what_the_whole_parser_reads(content: str) -> None:
    lines = _line(content) + _line("x")
    batch = read_lines(lines, ask())
    assert read_plain(lines) == (content + "x", batch.tokens)
    assert batch.text == content + "x"


@pytest.mark.parametrize(
    "extra",
    [
        b'{"error":"boom"}\n',
        b"garbage\n",
        b"\n",
        b'{"model":"m","created_at":"t","message":{"role":"assistant","content":"bad \\x"},"done":false}\n',
        b'x{"model":"m","created_at":"t","message":{"role":"assistant","content":"a"},"done":false}\n',
        b'{"model":"m","created_at":"t","message":{"role":"assistant","content":"a"},"done":true}\n',
        b'{"model":"m","created_at":"t","message":{"role":"assistant","content":"a","thinking":"b"},"done":false}\n',
        b'{"model":"m","created_at":"t","message":{"role":"assistant","content":"\xff"},"done":false}\n',
    ],
)
def test_the_cheap_path_leaves_every_other_line_to_the_whole_parser(extra: bytes) -> None:
    assert read_plain(_line("a") + extra) is None


def test_a_lone_surrogate_never_reaches_a_client() -> None:
    line = b'{"model":"m","created_at":"t","message":{"role":"assistant","content":"a\\ud83d"},"done":false}\n'
    assert read_plain(line) == ("a\ufffd", 1)
    assert read_lines(line, ask()).text == "a\ufffd"


# OLLAMA_HOST


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("localhost", "http://localhost:11434"),
        ("example.com", "http://example.com:11434"),
        ("example.com:56789", "http://example.com:56789"),
        (":56789", "http://127.0.0.1:56789"),
        ("http://example.com", "http://example.com:80"),
        ("https://example.com", "https://example.com:443"),
        ("https://example.com:8443", "https://example.com:8443"),
        ("http://localhost:11434/", "http://localhost:11434"),
        ("https://example.com/llm/", "https://example.com:443/llm"),
        ("example.com/llm", "http://example.com:11434/llm"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("http://0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("127.0.0.1", "http://127.0.0.1:11434"),
        ("::1", "http://[::1]:11434"),
        ("[::1]", "http://[::1]:11434"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("::", "http://[::1]:11434"),
        ("[::]:8080", "http://[::1]:8080"),
        ("http://[2001:db8::1]", "http://[2001:db8::1]:80"),
        ("example.com:66000", "http://example.com:11434"),
        ("https://example.com:-1", "https://example.com:443"),
        ("example.com:port", "http://example.com:11434"),
        ("  'localhost:1234' ", "http://localhost:1234"),
        ('"localhost:1234"', "http://localhost:1234"),
        ("ollama.com", "https://ollama.com:443"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(text: str, url: str) -> None:
    assert parse_ollama_host(text) == url


@pytest.mark.parametrize("text", ["tcp://localhost:11434", "a:b:c", "two words"])
def test_an_ollama_host_that_is_no_address_is_a_settings_error(text: str) -> None:
    with pytest.raises(ConfigError, match="OLLAMA_HOST"):
        OllamaEngine(text)


@given(st.text(max_size=30) | st.from_regex(r"(https?://)?[a-z0-9.:\[\]-]{0,20}(:\d{1,6})?(/\w*)?", fullmatch=True))
def test_any_ollama_host_is_an_address_or_a_settings_error(text: str) -> None:
    with suppress(ConfigError):
        engine = OllamaEngine(text)
        assert is_address(engine.base_url + "/api/chat")


# Shapes

INFO = {
    "general.architecture": "llama",
    "llama.block_count": 32,
    "llama.embedding_length": 4096,
    "llama.attention.head_count": 32,
    "llama.attention.head_count_kv": 8,
    "llama.vocab_size": 128256,
    "llama.context_length": 131072,
    "tokenizer.ggml.tokens": None,
}


async def test_shape_comes_from_show_and_is_asked_once(fake: FakeOllama, engine: OllamaEngine) -> None:
    fake.model_info = INFO
    for _ in range(2):
        (model,) = await engine.list_models()
        assert model.shape is not None
        assert (model.shape.full_keys, model.shape.vocabulary) == (32 * 8 * 128, 128256)
    assert len(fake.bodies("/api/show")) == 1


async def test_model_that_changed_is_asked_again(fake: FakeOllama, engine: OllamaEngine) -> None:
    await engine.list_models()
    fake.tags, fake.model_info = [tag("tiny:latest", size=999)], INFO
    (model,) = await engine.list_models()
    assert model.shape is not None


async def test_model_that_cannot_be_asked_is_listed_without_a_shape_and_not_asked_again(
    fake: FakeOllama, engine: OllamaEngine
) -> None:
    shapes = OllamaShapes(engine._show)
    for _ in range(2):
        (model,) = await shapes.add((EngineModel(name="gone:latest"),))
        assert (model.name, model.shape) == ("gone:latest", None)
    assert len(fake.bodies("/api/show")) == 1
