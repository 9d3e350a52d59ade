"""One request without a wire: the order of the checks, what reaches the engine, what is recorded, what is logged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from core.engines import Prompt, TokenChunk
from core.errors import (
    AtCapacity,
    EngineFailed,
    EngineTimeout,
    ModelNotOffered,
    NotEnoughMemory,
    NotServing,
    OtherModel,
    PromptTooLong,
    RequestError,
    SessionEnded,
    TokenReplayed,
)
from core.inference import ClientGone, InferenceCall, SessionRecord
from core.sessions import EndReason
from tests.core.serving_fixtures import Serving
from tests.fakes.fake_engine import FakeEngine, pieces_of
from tests.fakes.session_records import ended


async def ready(serving: Serving) -> Serving:
    await serving.models.refresh()
    return serving


async def serve(serving: Serving, sent: list[str] | None = None, **fields: object) -> SessionRecord:
    async def send(text: str) -> None:
        if sent is not None:
            sent.append(text)

    call: dict[str, object] = {"session_token": serving.token(), "prompt": "Hello"} | fields
    last_text, record = await serving.service.serve(InferenceCall(**call), send)  # type: ignore[arg-type]
    if last_text:
        await send(last_text)
    return record


async def test_token_is_spent_before_the_engine_is_asked_and_once() -> None:
    serving = await ready(Serving())
    happened = serving.door.happened

    def script(_: object) -> list[object]:
        happened.append("asked")
        return list(pieces_of("a"))

    serving.engine.script_for = script  # type: ignore[assignment]
    token = serving.token()
    await serve(serving, session_token=token)
    with pytest.raises(TokenReplayed):
        await serve(serving, session_token=token)
    assert happened == ["spent", "asked"]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"prompt": ""}, RequestError),
        ({"prompt": "x" * 300_000}, PromptTooLong),
        ({"model": "other"}, OtherModel),
        ({"options": {"keep_alive": "1"}}, RequestError),
        ({"temperature": float("nan")}, RequestError),
        ({"max_tokens": -1}, RequestError),
    ],
)
async def test_bad_request_spends_nothing_and_never_reaches_the_engine(
    fields: dict[str, Any], error: type[Exception]
) -> None:
    serving = await ready(Serving())
    with pytest.raises(error):
        await serve(serving, None, **fields)
    assert serving.door.happened == []
    assert serving.engine.prompts == []
    assert [type(refusal) for refusal in serving.refused] == [error]
    assert serving.ended == []


async def test_token_for_a_model_that_is_not_offered_is_refused_unspent() -> None:
    serving = await ready(Serving(FakeEngine(models=("tiny:latest", "huge:latest"))))
    with pytest.raises(ModelNotOffered):
        await serve(serving, session_token=serving.token("huge"))
    assert serving.door.happened == []


async def test_one_model_engine_refuses_another_model_unspent_while_it_serves() -> None:
    gate = asyncio.Event()
    engine = FakeEngine([gate, *pieces_of("a")], models=("tiny", "other"))
    engine.serves_one_model = True
    serving = await ready(Serving(engine, supported=("tiny", "other"), max_jobs=3))
    first = asyncio.create_task(serve(serving))
    await engine.wait_open(1)
    token = serving.token("other")
    with pytest.raises(AtCapacity):
        await serve(serving, session_token=token)
    assert serving.admission.running_jobs == 1
    assert serving.door.happened == ["spent"]
    same = asyncio.create_task(serve(serving))
    gate.set()
    await asyncio.gather(first, same)
    assert (await serve(serving, session_token=token)).model == "other"


async def test_paused_agent_refuses_unspent() -> None:
    serving = await ready(Serving())
    serving.closed_because = "paused"
    with pytest.raises(NotServing):
        await serve(serving)
    assert serving.door.happened == []


async def test_record_of_an_answer() -> None:
    serving = await ready(Serving())
    gate = asyncio.Event()
    serving.engine.script = [gate, *pieces_of("a", "b")]
    sent: list[str] = []
    serving_one = asyncio.create_task(serve(serving, sent))
    await serving.engine.wait_open(1)
    await serving.clock.advance(0.5)
    gate.set()
    record = await serving_one
    assert sent == ["a", "b"]
    assert serving.ended == [record]
    assert record.end_reason is EndReason.COMPLETED
    assert record.metadata() == {
        "prompt_tokens": "7",
        "completion_tokens": "2",
        "tokens_per_second": "4.00",
        "time_to_first_token_ms": "500.0",
        "finish_reason": "stop",
        "model": "tiny",
        "engine": "fake",
    }


async def test_engine_that_says_no_counts_gets_ours() -> None:
    script = [TokenChunk(text="ab", tokens=2), TokenChunk(tokens=3), TokenChunk(done=True, finish_reason="stop")]
    serving = await ready(Serving(FakeEngine(script)))
    sent: list[str] = []
    record = await serve(serving, sent)
    assert sent == ["ab"]  # reasoning counts as tokens, and is no content
    assert (record.prompt_tokens, record.completion_tokens) == (None, 5)
    assert record.metadata()["prompt_tokens"] == ""


async def test_engine_that_ignores_the_limit_is_stopped() -> None:
    serving = await ready(Serving(FakeEngine([TokenChunk(text="x", tokens=1)] * 100)))
    sent: list[str] = []
    record = await serve(serving, sent, max_tokens=5)
    # One piece more: an engine that keeps the limit ends with its own last piece, and some count more than they send.
    assert (len(sent), record.finish_reason) == (6, "length")
    assert serving.engine.closed_streams == 1


async def test_exact_answer_at_the_limit_keeps_the_engines_own_end() -> None:
    serving = await ready(Serving(FakeEngine(pieces_of("a", "b"))))
    record = await serve(serving, max_tokens=2)
    assert record.finish_reason == "stop"


@pytest.mark.parametrize("reason", [EndReason.OWNER_STOPPED, EndReason.PAUSED, EndReason.STOPPING])
async def test_session_ended_by_us_says_why(reason: EndReason) -> None:
    serving = await ready(Serving(FakeEngine([asyncio.Event()])))
    session = asyncio.create_task(serve(serving))
    await serving.engine.wait_open(1)
    assert serving.admission.end_all(reason) == 1
    with pytest.raises(SessionEnded) as ended:
        await session
    assert ended.value.reason is reason
    assert [record.end_reason for record in serving.ended] == [reason]
    assert serving.breaker.faults_in_a_row == 0


async def test_silent_engine_is_an_engine_fault() -> None:
    serving = await ready(Serving(FakeEngine([asyncio.Event()])))
    session = asyncio.create_task(serve(serving))
    await serving.engine.wait_open(1)
    await serving.pass_limit(121)
    with pytest.raises(EngineTimeout):
        await session
    assert serving.breaker.faults_in_a_row == 1
    assert [record.end_reason for record in serving.ended] == [EndReason.FIRST_TOKEN_TIMEOUT]


async def test_client_that_is_gone_is_no_fault() -> None:
    serving = await ready(Serving())

    async def send(_: str) -> None:
        raise ClientGone

    with pytest.raises(ClientGone):
        await serving.service.serve(InferenceCall(session_token=serving.token(), prompt="x"), send)
    assert [record.end_reason for record in serving.ended] == [EndReason.CLIENT_GONE]
    assert (serving.breaker.faults_in_a_row, serving.admission.running_jobs) == (0, 0)


async def test_bug_is_a_fault_of_ours_and_gives_the_slot_back() -> None:
    serving = await ready(Serving(FakeEngine([ZeroDivisionError()])))
    with pytest.raises(ZeroDivisionError):
        await serve(serving)
    assert [record.end_reason for record in serving.ended] == [EndReason.FAULT]
    assert (serving.breaker.faults_in_a_row, serving.admission.running_jobs) == (0, 0)


async def test_model_that_cannot_be_loaded_is_not_offered_any_more() -> None:
    serving = await ready(Serving(FakeEngine([NotEnoughMemory("needs 9 GB")])))
    with pytest.raises(NotEnoughMemory):
        await serve(serving)
    assert serving.models.offered == ()
    assert "9 GB" in serving.models.problem
    assert await serving.models.refresh()  # the coordinator must hear of it


async def test_two_clients_look_different_and_neither_name_is_shown() -> None:
    gate = asyncio.Event()
    serving = await ready(Serving(FakeEngine([gate, *pieces_of("a")])))
    tokens = [serving.token(client_id=name) for name in ("alice", "bob")]
    tasks = [asyncio.create_task(serve(serving, session_token=token)) for token in tokens]
    await serving.engine.wait_open(2)
    clients = {view.client for view in serving.admission.views()}
    gate.set()
    await asyncio.gather(*tasks)
    assert len(clients) == 2
    assert not clients & {"alice", "bob"}


def test_repr_of_a_call_shows_neither_token_nor_prompt() -> None:
    assert "canary" not in repr(InferenceCall(session_token="canary", prompt="canary"))


async def test_failed_session_is_logged_with_its_category_and_status(caplog: pytest.LogCaptureFixture) -> None:
    error = EngineFailed("the engine failed (500)", hint="Restart it.")
    error.category, error.engine_status = "crashed", 500
    serving = await ready(Serving(FakeEngine([error])))
    with pytest.raises(EngineFailed):
        await serve(serving)
    (fields,) = [vars(record)["event_fields"] for record in caplog.records]
    assert fields == {
        "error": "EngineFailed",
        "model": "tiny:latest",
        "category": "crashed",
        "status": 500,
        "detail": "the engine failed (500)",
        "hint": "Restart it.",
    }


async def test_engine_is_read_to_its_own_end_so_that_its_connection_is_kept() -> None:
    """An engine clears up after its last piece; whoever leaves there makes it close the connection."""
    ends: list[str] = []

    class TidyEngine(FakeEngine):
        async def stream(self, prompt: Prompt) -> AsyncGenerator[TokenChunk, None]:
            try:
                yield TokenChunk("a", 1, True, "stop", 1, 1)
                ends.append("tidied")
            finally:
                ends.append("closed")

    serving = await ready(Serving(TidyEngine()))
    assert (await serve(serving)).finish_reason == "stop"
    assert ends == ["tidied", "closed"]


async def test_speed_is_that_of_generation_without_the_wait_for_the_first_token() -> None:
    serving = await ready(Serving())
    gates = [asyncio.Event(), asyncio.Event()]
    serving.engine.script = [gates[0], TokenChunk("a", 3), gates[1], *pieces_of("b")[:1], TokenChunk("c", 4, True)]
    task = asyncio.create_task(serve(serving))
    await serving.engine.wait_open(1)
    await serving.clock.advance(60)  # the model is loaded, the prompt is read
    gates[0].set()
    async with asyncio.timeout(20):
        while serving.admission.views()[0].tokens == 0:  # noqa: ASYNC110 - a turn of the loop or two
            await asyncio.sleep(0)
    await serving.clock.advance(0.5)
    gates[1].set()
    record = await task
    assert record.completion_tokens == 8
    assert record.tokens_per_second == 10.0  # 5 tokens came after the first 3, in half a second


@pytest.mark.parametrize(
    ("span_s", "first_tokens", "speed"),
    [(0.049, 1, 5.0), (0.05, 1, 180.0), (1.0, 10, 5.0), (0.0, 0, 5.0)],
)
def test_speed_over_too_short_a_span_is_that_of_the_whole_session(
    span_s: float, first_tokens: int, speed: float
) -> None:
    record = ended(completion_tokens=10, seconds=2.0, seconds_since_first_token=span_s, first_tokens=first_tokens)
    assert record.tokens_per_second == pytest.approx(speed)
