"""What becomes of an engine's error: a category, our own words, and nothing of what the engine, a prompt or an answer
said. Every fault here quotes all of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
import pytest
from grpc import aio
from hypothesis import given, settings
from hypothesis import strategies as st

from core.agent_server import ENGINE_WORDS, status_of
from core.engines import Engine, Prompt
from core.engines.embedded_client import ChildClient
from core.engines.engine_errors import Category, EngineVoice, category_of, category_of_log_line, error_of
from core.engines.ollama import OllamaEngine
from core.engines.ollama_wire import VOICE, error_text, read_lines
from core.engines.openai import OpenAIEngine
from core.engines.openai_wire import ChatReader, Flavour, SseReader, answer_error
from core.errors import AgentError, EngineError, EngineFailed, ModelError, NotEnoughMemory, RequestError
from tests.core.serving_fixtures import Client, Serving, listening
from tests.fakes.canary import assert_no_canary
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.fake_engine_server import FakeEngineServer, Fault
from tests.fakes.fake_ollama import FakeOllama
from tests.fakes.fake_openai import FakeOpenAI

PROMPT_CANARY = "prompt-zQ7vX-canary-of-a-stranger"
ANSWER_CANARY = "answer-kW3tY-canary-of-the-model"
MACHINE = "/home/alice-pL9mN/models/x.tmpl via http://10.0.0.7:11434"
QUOTING = f'{MACHINE}: denied: "{PROMPT_CANARY}" and "{ANSWER_CANARY}"'
CANARIES = (PROMPT_CANARY, ANSWER_CANARY, "alice-pL9mN/models", "10.0.0.7:11434")

CLIENT_SENTENCES = {words for _, words in ENGINE_WORDS if words} | {
    "the prompt does not fit the model's context",
    "this agent's engine refuses an option of the request",
}
ASKED = Prompt(model="tiny", text=PROMPT_CANARY, max_tokens=10)
SERVER = EngineVoice(name="the server")

# Phrases that decide, so that hypothesis comes to every branch, with text that must not come through.
PHRASES = st.sampled_from(
    [
        "out of memory",
        "exceeds the context length",
        'model "tiny" not found',
        "does not support chat",
        "Field 'top_k'",
        "CUDA error",
        "Failed to parse input at pos 0",
        "unable to load model",
        "no space left on device",
        "server busy",
        "canceled",
        "",
    ]
)
STATUSES = st.one_of(st.integers(300, 599), st.sampled_from([400, 401, 403, 404, 405, 407, 413, 422, 429, 500, 503]))
WORDS = st.builds("{} {} {}".format, PHRASES, st.just(QUOTING), PHRASES)
JSON = st.recursive(
    st.one_of(WORDS, st.none(), st.booleans(), st.integers(), st.text()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["error", "message", "detail", "type", "code", "object", QUOTING]), inner, max_size=4
        ),
    ),
    max_leaves=6,
)


def assert_says_nothing_foreign(error: AgentError) -> None:
    code, words = status_of(error)
    assert code is not grpc.StatusCode.OK
    assert words in CLIENT_SENTENCES
    for text in (error.detail, error.hint, error.category):
        assert not any(canary in text for canary in CANARIES)
    assert error.category in set(Category) or error.category in ("failed", "protocol broken", "context too long", "")


@settings(deadline=None)
@given(status=STATUSES, body=JSON, is_mid_answer=st.booleans())
def test_no_word_of_an_error_answer_comes_through(status: int, body: Any, is_mid_answer: bool) -> None:
    said = error_text(body)
    told = {"prompt": ASKED.text, "model": "tiny", "is_mid_answer": is_mid_answer}
    assert_says_nothing_foreign(error_of(VOICE, status, said, **told))  # type: ignore[arg-type]
    assert_says_nothing_foreign(answer_error(status, body, SERVER, prompt=ASKED, is_mid_answer=is_mid_answer))


@settings(deadline=None)
@given(body=JSON)
def test_no_word_of_an_error_in_the_stream_comes_through(body: Any) -> None:
    line = json.dumps({"error": body}).encode()
    in_lines = read_lines(line + b"\n", ASKED).error
    assert in_lines is not None
    assert_says_nothing_foreign(in_lines)
    if body is not None:
        in_events = ChatReader(ASKED, SERVER).read(SseReader().feed(b"data: " + line + b"\n\n")).error
        assert in_events is not None
        assert_says_nothing_foreign(in_events)


@settings(deadline=None)
@given(status=st.integers(400, 499), said=st.text(st.characters(max_codepoint=127), max_size=60))
def test_refusal_that_we_do_not_know_is_the_engines_fault(status: int, said: str) -> None:
    """Else a misconfigured proxy would blame the clients for ever, and the breaker would never open."""
    error = error_of(VOICE, status, f"{said} and nothing that we know", model="tiny", prompt="hello")
    if error.category == Category.UNKNOWN:
        assert type(error) is EngineFailed
    assert isinstance(error, EngineError) or error.category in (
        Category.CONTEXT,
        Category.OPTION,
        Category.MEMORY,
        Category.NO_CHAT,
        Category.MODEL_NOT_FOUND,
    )


@settings(deadline=None)
@given(status=STATUSES, said=WORDS)
def test_no_error_after_the_first_text_blames_the_client_or_withdraws_the_model(status: int, said: str) -> None:
    assert type(error_of(VOICE, status, said, model="tiny", prompt="x", is_mid_answer=True)) is EngineFailed


@settings(deadline=None)
@given(status=STATUSES, said=WORDS)
def test_owners_call_without_a_prompt_never_blames_a_client(status: int, said: str) -> None:
    """A stranger's session may wait for such a call (a model is loaded); the owner reads why it failed."""
    error = error_of(VOICE, status, said, model="tiny")
    assert not isinstance(error, RequestError)
    assert QUOTING[:100] in error.detail
    assert len(error.detail) < 450
    assert status_of(error)[1] in CLIENT_SENTENCES


@pytest.mark.parametrize(
    ("status", "said", "category"),
    [
        (500, "llama runner process has terminated: CUDA error: out of memory", Category.MEMORY),
        (500, "llama runner process has terminated: exit status 2", Category.CRASHED),
        (500, "an error was encountered while running the model: CUDA error: device lost", Category.DEVICE),
        (500, "Failed to parse input at pos 0: <think>", Category.PARSER),
        (500, "unable to load model: /blobs/sha256-1", Category.MODEL_FILE),
        (500, "write /blobs/x: no space left on device", Category.DISK_FULL),
        (500, "open /blobs/x: permission denied", Category.FILE_ACCESS),
        (500, "Jinja Exception: Conversation roles must alternate", Category.TEMPLATE),
        (499, "request canceled", Category.CANCELLED),
        (503, "Loading model", Category.OVERLOADED),
        (403, "Forbidden", Category.UNAUTHORISED),
        (307, "", Category.REDIRECTED),
        (404, "404 page not found", Category.NO_SUCH_CALL),
        (404, 'model "tiny" not found, try pulling it first', Category.MODEL_NOT_FOUND),
        (404, 'model "small" not found', Category.NO_SUCH_CALL),
        (500, "runner: library libfoo.so not found", Category.UNKNOWN),
        (400, "stop must be a string", Category.OPTION),
        (400, "please stop that nonsense", Category.UNKNOWN),
    ],
)
def test_categories(status: int, said: str, category: Category) -> None:
    assert category_of(status, said, model="tiny:latest") is category


# What engines and drivers say when a load finds no memory, as public reports of it have it.
NO_MEMORY = (
    "model requires more system memory (5.6 GiB) than is available (3.2 GiB)",
    "model requires more gpu memory than is available",
    "model request too large for system",
    "memory layout cannot be allocated",
    "memory layout cannot be allocated with num_gpu = 26",
    "model failed to load, this may be due to resource limitations or an internal error, check ollama server logs",
    "llama runner process has terminated: signal: killed",
    "llama runner process has terminated: cudaMalloc failed: out of memory",
    "llama runner process has terminated: error loading model: unable to allocate backend buffer",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED",
    "CUDA error: out of memory",
    "ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfDeviceMemory",
    "ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfHostMemory",
    "ggml_vulkan: Device memory allocation of size 4294967296 failed.",
    "UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY",
    "hipErrorOutOfMemory",
    "Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)",
    "[metal::malloc] Attempting to allocate 9 bytes which is greater than the maximum allowed buffer size of 8 bytes.",
    "failed to allocate buffer for kv cache",
    "alloc_tensor_range: failed to allocate CUDA0 buffer of size 1048576",
    "ggml_aligned_malloc: insufficient memory (attempted to allocate 123.00 MB)",
    "mmap failed: Cannot allocate memory",
    "std::bad_alloc",
    "The paging file is too small for this operation to complete.",
    "Insufficient system resources exist to complete the requested service.",
    "MapViewOfFile failed: Not enough memory resources are available to process this command.",
)


@pytest.mark.parametrize("said", NO_MEMORY)
def test_failed_allocation_of_every_kind_is_the_models_and_not_the_engines_fault(said: str) -> None:
    """A smaller quantisation is tried, and the engine's other models stay offered."""
    assert category_of(500, said) is Category.MEMORY
    assert category_of_log_line(f"0.00.123.456 E {said}") is Category.MEMORY
    assert isinstance(error_of(VOICE, 500, said, model="tiny", prompt="hello"), NotEnoughMemory)


def test_runner_that_stops_in_the_middle_is_no_failed_allocation() -> None:
    said = "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error"
    assert category_of(500, said) is Category.CRASHED


# The whole way: a real engine behind the real server


@asynccontextmanager
async def ollama() -> AsyncIterator[tuple[FakeEngineServer, Engine]]:
    async with FakeOllama() as fake:
        yield fake, OllamaEngine(fake.url)


@asynccontextmanager
async def child() -> AsyncIterator[tuple[FakeEngineServer, Engine]]:
    """As the embedded engine speaks to its llama.cpp."""
    async with FakeOpenAI(api_key="key") as fake:
        yield fake, ChildClient(fake.url, "key")


def openai(flavour: Flavour) -> Callable[[], Any]:
    @asynccontextmanager
    async def engine() -> AsyncIterator[tuple[FakeEngineServer, Engine]]:
        async with FakeOpenAI(flavour) as fake:
            yield fake, OpenAIEngine(fake.url)

    return engine


ENGINES = {"ollama": ollama, "embedded": child} | {flavour.value: openai(flavour) for flavour in Flavour}
MID_FAULTS = (Fault.ERROR_LINE, Fault.GARBAGE, Fault.WRONG_SHAPE, Fault.BROKEN_CHUNK, Fault.RESET, Fault.EARLY_END)
START_FAULTS = (Fault.WRONG_TYPE, Fault.BROKEN_HEAD, Fault.RESET_AT_START)
ERROR_ANSWERS: tuple[tuple[int, Any], ...] = (
    *((status, {"error": QUOTING}) for status in (400, 401, 404, 405, 413, 418, 422, 429, 500, 503)),
    (400, {"error": {"message": QUOTING, "type": QUOTING, "code": QUOTING}}),
    (500, [QUOTING]),
    (500, QUOTING),
)


@pytest.mark.parametrize("name", ENGINES)
async def test_nothing_of_prompt_answer_or_engine_is_logged_or_told(
    name: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    told: list[str] = []
    async with ENGINES[name]() as (fake, engine):
        fake.answer = [ANSWER_CANARY[:8], ANSWER_CANARY[8:], " the end"]
        fake.fault_line = QUOTING
        serving = Serving(cast(FakeEngine, engine), supported=("tiny",))
        async with listening(serving) as server, Client(server) as client:

            async def fail() -> None:
                with pytest.raises(aio.AioRpcError) as caught:
                    await client.answer(serving.token(), prompt=PROMPT_CANARY)
                told.append(caught.value.details() or "")
                told.append(str(caught.value.trailing_metadata()))
                serving.breaker.reset()
                serving.models._unloadable.clear()

            for fault in (*MID_FAULTS, *START_FAULTS):
                for fake.fault_after in (0, 2):
                    fake.fault = fault
                    await fail()
            fake.fault = Fault.NONE
            for fake.error_answer in ERROR_ANSWERS:
                await fail()
            fake.error_answer = None
            assert (await client.answer(serving.token(), prompt=PROMPT_CANARY))[-1].done
        await engine.close()
    assert set(told[::2]) <= CLIENT_SENTENCES
    failed = [vars(record)["event_fields"] for record in caplog.records if record.msg == "%s"]
    assert len(failed) > 10  # it is our log that we look at
    written = "\n".join(str(vars(record)) + record.getMessage() for record in caplog.records)
    captured = capfd.readouterr()
    for canary in CANARIES:
        assert_no_canary([written, *told, captured.out, captured.err], canary)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("status", [400, 405, 407, 413, 418])
async def test_engine_that_refuses_everything_opens_the_breaker(name: str, status: int) -> None:
    async with ENGINES[name]() as (fake, engine):
        serving = Serving(cast(FakeEngine, engine), supported=("tiny",))
        async with listening(serving) as server, Client(server) as client:
            fake.error_answer = (status, {"error": "no"})
            for _ in range(3):
                assert await client.outcome(serving.token()) in ("INTERNAL", "UNAVAILABLE")
            assert serving.breaker.state == "open"
            assert serving.models.offered == ("tiny",)
        await engine.close()


async def test_only_a_404_for_this_model_withdraws_it() -> None:
    async with ollama() as (fake, engine):
        serving = Serving(cast(FakeEngine, engine), supported=("tiny",))
        async with listening(serving) as server, Client(server) as client:
            for fake.error_answer in (
                (500, {"error": "runner: library libfoo.so not found"}),
                (404, {"error": "404 page not found"}),
            ):
                assert await client.outcome(serving.token()) == "INTERNAL"
                assert serving.models.offered == ("tiny",)
            fake.error_answer = (404, {"error": "model 'tiny' not found"})
            assert await client.outcome(serving.token()) == "NOT_FOUND"
            assert serving.models.offered == ()
        await engine.close()


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "embedded"])
async def test_sessions_in_a_row_use_one_connection_to_the_engine(name: str) -> None:
    """The end of an answer's HTTP body comes after its last line: who leaves in between loses the connection."""
    async with ENGINES[name]() as (fake, engine):
        serving = Serving(cast(FakeEngine, engine), supported=("tiny",))
        async with listening(serving) as server, Client(server) as client:
            fake.ends_late = True
            before = fake.connections
            for _ in range(4):
                assert await client.outcome(serving.token()) == "OK"
        await engine.close()
        assert fake.connections == before


async def test_breaker_hears_nothing_of_a_refused_option() -> None:
    async with openai(Flavour.VLLM)() as (fake, engine):
        serving = Serving(cast(FakeEngine, engine), supported=("tiny",))
        async with listening(serving) as server, Client(server) as client:
            fake.error_answer = (400, {"error": {"message": "top_k must be -1 or at least 1"}})
            for _ in range(4):
                with pytest.raises(aio.AioRpcError, match="refuses an option of the request") as caught:
                    await client.answer(serving.token())
                assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert serving.breaker.faults_in_a_row == 0
        await engine.close()


def test_model_error_keeps_its_place_in_the_tree() -> None:
    error = error_of(VOICE, 400, "tiny does not support chat", model="tiny", prompt="hello")
    assert type(error) is ModelError
    assert error.engine_status == 400
