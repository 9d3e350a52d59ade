"""The agent's server over real gRPC on loopback: admission, exits, limits, statuses, the wire, floods."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import core.errors
from core.agent_server import (
    EXTRA_CALLS,
    INTERNAL_WORDS,
    SIDE_CALLS,
    STATUS_CODES,
    AgentServer,
    ServerOptions,
    status_metadata,
    status_of,
)
from core.circuit_breaker import BreakerState
from core.engines import TokenChunk
from core.errors import (
    AgentError,
    EngineFailed,
    EngineProtocolError,
    EngineUnreachable,
    ModelNotFound,
    NotEnoughMemory,
    PortTakenError,
    PromptTooLong,
    SessionEnded,
    StorageError,
)
from core.inference import LAST_TEXT_CHARS, RequestLimits
from core.jwt_validator import TokenClaims
from core.sessions import EndReason
from core.snapshot import AgentSnapshot
from proto import titancompute_pb2 as pb
from tests.core.serving_fixtures import Client, Serving, listening, within_bound
from tests.fakes.fake_engine import FakeEngine, pieces_of
from tests.fakes.snapshots import busy_snapshot
from tests.fakes.tcp_relay import TcpRelay

Code = grpc.StatusCode
AT_ONCE_ANSWERS = 20  # of GetStatus, 0.5 ms each and more; measured: 0 or 1
SERVICE = "titancompute.v1.AgentService"


def held() -> tuple[FakeEngine, asyncio.Event]:
    """An engine that gives one token, then waits for the event."""
    gate = asyncio.Event()
    return FakeEngine([TokenChunk(text="a", tokens=1), gate, *pieces_of("b")]), gate


async def until_idle(serving: Serving) -> None:
    await within_bound(serving.admission.wait_idle())


# Admission


async def test_engine_never_has_more_than_max_jobs_of_100_racing_callers() -> None:
    gate = asyncio.Event()
    serving = Serving(FakeEngine([gate, *pieces_of("a")]), max_jobs=4, queue_size=96)
    async with listening(serving) as server, Client(server) as one, Client(server) as two:
        calls = [asyncio.ensure_future((one, two)[i % 2].outcome(serving.token())) for i in range(100)]
        await serving.engine.wait_open(4)
        gate.set()
        assert Counter(await asyncio.gather(*calls)) == {"OK": 100}
    assert serving.engine.high_water == 4
    assert len(serving.engine.prompts) == 100


async def test_callers_beyond_the_limit_are_refused_at_once_and_keep_their_token() -> None:
    engine, gate = held()
    serving = Serving(engine, max_jobs=3)
    async with listening(serving) as server, Client(server) as client:
        tokens = [serving.token() for _ in range(50)]
        calls = [asyncio.ensure_future(client.outcome(token)) for token in tokens]
        while sum(call.done() for call in calls) < 47:
            await asyncio.wait([call for call in calls if not call.done()], return_when=asyncio.FIRST_COMPLETED)
        refused = [token for token, call in zip(tokens, calls, strict=True) if call.done()]
        assert {call.result() for call in calls if call.done()} == {"RESOURCE_EXHAUSTED"}
        gate.set()
        assert Counter(await asyncio.gather(*calls)) == {"OK": 3, "RESOURCE_EXHAUSTED": 47}
        assert await client.outcome(refused[0]) == "OK"
        assert await client.outcome(refused[0]) == "UNAUTHENTICATED"
    assert serving.engine.high_water == 3


@pytest.mark.parametrize("queue_size", [0, 99])
async def test_of_100_racing_copies_of_one_token_exactly_one_passes(queue_size: int) -> None:
    gate = asyncio.Event()
    serving = Serving(FakeEngine([gate, *pieces_of("a")]), max_jobs=1, queue_size=queue_size)
    async with listening(serving) as server, Client(server) as one, Client(server) as two:
        token = serving.token()
        calls = [asyncio.ensure_future((one, two)[i % 2].outcome(token)) for i in range(100)]
        await serving.engine.wait_open(1)
        while sum(call.done() for call in calls) < (99 if queue_size == 0 else 98):
            await asyncio.wait([call for call in calls if not call.done()], return_when=asyncio.FIRST_COMPLETED)
        gate.set()
        outcomes = Counter(await asyncio.gather(*calls))
    assert outcomes["OK"] == 1
    assert len(serving.engine.prompts) == 1
    assert set(outcomes) <= {"OK", "UNAUTHENTICATED", "RESOURCE_EXHAUSTED"}


@pytest.mark.parametrize(
    "wrong",
    [{"options": {"num_gpu": "1"}}, {"prompt": ""}, {"model": "other"}, {"temperature": 9.0}, {"max_tokens": -1}],
)
async def test_token_refused_for_another_check_is_not_burnt(wrong: dict[str, object]) -> None:
    serving = Serving()
    async with listening(serving) as server, Client(server) as client:
        token = serving.token()
        assert await client.outcome(token, **wrong) in ("INVALID_ARGUMENT", "PERMISSION_DENIED")
        assert serving.engine.prompts == []
        assert await client.outcome(token) == "OK"


# Exits: the slot comes back, after the engine's stream is closed


@pytest.mark.parametrize("way", ["cancel", "deadline", "disconnect", "reset"])
async def test_client_that_leaves_ends_the_engine_work_at_once_and_frees_the_slot(way: str) -> None:
    """At once in events: before another client has had some answers. What only a timer (0.5 s) or the next token
    noticed would take hundreds; here no token comes, and the sessions' own clock stands still."""
    engine, _ = held()
    serving = Serving(engine, max_jobs=1)
    async with (
        listening(serving) as server,
        TcpRelay(server.ports[0]) as relay,
        Client(relay.port) as leaving,
        Client(server) as next_one,
    ):
        await next_one.stub.GetStatus(pb.AgentStatusRequest())  # connected
        call = leaving.ask(serving.token(), timeout=0.5 if way == "deadline" else None)
        assert (await call.read()).content == "a"
        if way == "cancel":
            call.cancel()
        elif way == "disconnect":
            await leaving.channel.close(None)
        elif way == "reset":
            relay.reset()
        else:
            with pytest.raises(aio.AioRpcError, match="Deadline"):
                await call.read()
        answers = 0
        while not engine.closed_streams:
            await next_one.stub.GetStatus(pb.AgentStatusRequest())
            answers += 1
            assert answers < AT_ONCE_ANSWERS
        await until_idle(serving)
        assert engine.cancelled_streams == 1
        assert [record.end_reason for record in serving.ended] == [EndReason.CLIENT_GONE]
        engine.script = pieces_of("x")
        assert await next_one.outcome(serving.token()) == "OK"


async def test_slot_comes_back_only_after_the_engine_stream_is_closed() -> None:
    engine, _ = held()
    engine.closing = asyncio.Event()
    serving = Serving(engine, max_jobs=1)
    async with listening(serving) as server, Client(server) as client:
        call = client.ask(serving.token())
        await call.read()
        call.cancel()
        while not engine.cancelled_streams:  # noqa: ASYNC110 - the engine is in its clean-up from here on
            await asyncio.sleep(0)
        assert serving.admission.running_jobs == 1
        assert await client.outcome(serving.token()) == "RESOURCE_EXHAUSTED"
        engine.closing.set()
        await until_idle(serving)
        engine.script = pieces_of("x")
        assert await client.outcome(serving.token()) == "OK"


SECRET = "http://10.0.0.7:11434 says: canary"
FAULTS: list[tuple[BaseException, str]] = [
    (EngineUnreachable(SECRET), "UNAVAILABLE"),
    (EngineFailed(SECRET), "INTERNAL"),
    (EngineProtocolError(SECRET), "INTERNAL"),
    (ModelNotFound(SECRET), "NOT_FOUND"),
    (NotEnoughMemory(SECRET), "RESOURCE_EXHAUSTED"),
    (PromptTooLong("the prompt does not fit"), "INVALID_ARGUMENT"),
    (StorageError(SECRET), "INTERNAL"),
    (RuntimeError(SECRET), "INTERNAL"),
]


@pytest.mark.parametrize("has_begun", [False, True])
@pytest.mark.parametrize(("fault", "code"), FAULTS, ids=lambda value: type(value).__name__)
async def test_engine_fault_ends_as_its_status_says_no_secret_and_frees_the_slot(
    fault: BaseException, code: str, has_begun: bool, caplog: pytest.LogCaptureFixture
) -> None:
    before = [TokenChunk(text="a", tokens=1)] if has_begun else []
    serving = Serving(FakeEngine([*before, fault]), max_jobs=1)
    async with listening(serving) as server, Client(server) as client:
        pieces: list[pb.StreamResponse] = []
        with pytest.raises(aio.AioRpcError) as failure:
            await client.collect(serving.token(), pieces)
        assert failure.value.code().name == code
        assert "canary" not in str(failure.value.details())
        assert "10.0.0.7" not in str(failure.value.details())
        assert [piece.done for piece in pieces] == [False] * len(before)
        await until_idle(serving)
        assert serving.engine.closed_streams == 1
        if isinstance(fault, RuntimeError | StorageError):
            assert failure.value.details() == INTERNAL_WORDS
        if isinstance(fault, RuntimeError):
            assert caplog.records
            assert "canary" not in str([vars(record) for record in caplog.records])


async def test_failing_session_harms_no_other() -> None:
    gate, failed = asyncio.Event(), asyncio.Event()
    engine = FakeEngine()
    engine.script_for = lambda prompt: (
        [TokenChunk(text="a", tokens=1), gate, *pieces_of("b")]
        if prompt.text == "good"
        else [failed, EngineFailed("broken")]
    )
    serving = Serving(engine, max_jobs=2)
    async with listening(serving) as server, Client(server) as client:
        good = asyncio.ensure_future(client.answer(serving.token(), prompt="good"))
        bad = asyncio.ensure_future(client.outcome(serving.token(), prompt="bad"))
        await engine.wait_open(2)
        failed.set()
        assert await bad == "INTERNAL"
        gate.set()
        assert "".join(piece.content for piece in await good) == "ab"


# Limits in time


@pytest.mark.parametrize(
    ("has_begun", "seconds", "code", "counts"),
    [
        (False, 121.0, "DEADLINE_EXCEEDED", True),
        (True, 31.0, "DEADLINE_EXCEEDED", True),
        (True, 601.0, "DEADLINE_EXCEEDED", False),
    ],
)
async def test_silent_engine_or_endless_session_is_ended(
    has_begun: bool, seconds: float, code: str, counts: bool
) -> None:
    engine = FakeEngine([*([TokenChunk(text="a", tokens=1)] if has_begun else []), asyncio.Event()])
    serving = Serving(engine, max_jobs=1)
    async with listening(serving) as server, Client(server) as client:
        call = client.ask(serving.token())
        await engine.wait_open(1)
        if has_begun:
            await call.read()
            while serving.admission.sessions[0].writing_since is not None:  # noqa: ASYNC110 - the server's own turn
                await asyncio.sleep(0)
        if seconds > 600:
            serving.admission.sessions[0].last_token_at = serving.clock.monotonic() + 599
        await serving.pass_limit(seconds - 2)
        assert serving.admission.running_jobs == 1
        await serving.pass_limit(2)
        assert (await call.code()).name == code
        await until_idle(serving)
        assert engine.cancelled_streams == 1
        # A first token counted as success and began the row anew: this fault is the first of a row either way.
        assert serving.breaker.faults_in_a_row == (1 if counts else 0)


def endless_flood() -> FakeEngine:
    engine = FakeEngine()

    def script(_: object) -> list[TokenChunk]:
        return [TokenChunk(text="x" * 65_536, tokens=1)] * 2_000

    engine.script_for = script
    return engine


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged, but for grpc.aio's wake-up socket that another test's loop has emptied (a BlockingIOError)."""
    return [record.getMessage() for record in caplog.records if "PollerCompletionQueue" not in record.getMessage()]


async def read_to_end(call: Any) -> None:
    while await call.read() is not aio.EOF:  # type: ignore[attr-defined]  # its stubs lack it
        pass


async def blocked_write(serving: Serving) -> None:
    """Until a session's write has waited for its client over many turns of the loop."""
    turns, last = 0, -1
    async with asyncio.timeout(20):
        while turns < 200:
            await asyncio.sleep(0.001)
            (session,) = serving.admission.sessions
            turns = turns + 1 if session.tokens == last and session.writing_since is not None else 0
            last = session.tokens


async def test_client_that_takes_nothing_is_ended_and_holds_nothing_of_ours() -> None:
    engine = endless_flood()
    serving = Serving(engine, max_jobs=1)
    async with listening(serving) as server, Client(server) as lazy, Client(server) as next_one:
        call = lazy.ask(serving.token(), timeout=None)
        await call.read()
        await blocked_write(serving)
        await serving.pass_limit(29)
        assert serving.admission.running_jobs == 1
        await serving.pass_limit(2)
        await until_idle(serving)
        assert engine.open_streams == 0
        assert [record.end_reason for record in serving.ended] == [EndReason.SLOW_CLIENT]
        engine.script_for = None
        assert await next_one.outcome(serving.token()) == "OK"
        with pytest.raises(aio.AioRpcError, match="took no data"):  # it takes what was on its way, and learns why
            await within_bound(read_to_end(call))
        assert await call.code() is Code.DEADLINE_EXCEEDED
    assert serving.breaker.faults_in_a_row == 0


async def test_server_stops_although_a_client_takes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    serving = Serving(endless_flood(), max_jobs=1)
    async with listening(serving) as server, Client(server) as lazy:
        call = lazy.ask(serving.token(), timeout=None)
        await call.read()
        await blocked_write(serving)
        serving.admission.end_all(EndReason.STOPPING)
        await until_idle(serving)
        await within_bound(server.stop(0))
    assert events(caplog) == []


async def test_client_that_leaves_while_its_write_is_blocked_is_no_fault_of_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = endless_flood()
    serving = Serving(engine, max_jobs=1)
    async with listening(serving) as server, Client(server) as lazy:
        call = lazy.ask(serving.token(), timeout=None)
        await call.read()
        await blocked_write(serving)
        call.cancel()
        await until_idle(serving)
    assert [record.end_reason for record in serving.ended] == [EndReason.CLIENT_GONE]
    assert events(caplog) == []


# Errors


def all_errors() -> list[type[AgentError]]:
    found = [AgentError]
    for kind in found:
        found.extend(sub for sub in kind.__subclasses__() if sub.__module__ == "core.errors")
    return found


SERVED = ("TokenError", "AdmissionError", "RequestError", "SessionEnded", "ModelError", "EngineError")


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_and_only_those_for_clients_tell_their_detail(kind: type[AgentError]) -> None:
    error: AgentError
    if kind is SessionEnded:
        error = SessionEnded(EndReason.PAUSED, "canary")
    elif kind is core.errors.ConfigError:
        error = core.errors.ConfigError(["canary"])
    else:
        error = kind("canary")
    code, words = status_of(error)
    assert code is not Code.OK
    is_for_clients = issubclass(kind, tuple(getattr(core.errors, name) for name in SERVED))
    assert any(issubclass(kind, listed) for listed, _ in STATUS_CODES) == is_for_clients
    assert is_for_clients or (code, words) == (Code.INTERNAL, INTERNAL_WORDS)
    assert not issubclass(kind, core.errors.EngineError) or "canary" not in words


@pytest.mark.parametrize("reason", list(EndReason))
def test_every_way_to_end_a_session_has_a_status(reason: EndReason) -> None:
    code, words = status_of(SessionEnded(reason, "ended"))
    late = reason in (EndReason.SESSION_LIMIT, EndReason.SLOW_CLIENT)
    assert (code, words) == (Code.DEADLINE_EXCEEDED if late else Code.UNAVAILABLE, "ended")


async def test_paused_agent_answers_unavailable() -> None:
    serving = Serving()
    async with listening(serving) as server, Client(server) as client:
        serving.closed_because = "this agent is paused by its owner"
        token = serving.token()
        with pytest.raises(aio.AioRpcError, match="paused by its owner") as refusal:
            await client.answer(token)
        assert refusal.value.code() is Code.UNAVAILABLE
        serving.closed_because = ""
        assert await client.outcome(token) == "OK"


# The wire


async def test_pieces_and_final_message_have_the_contracts_form() -> None:
    serving = Serving(FakeEngine(pieces_of("Hel", "lo")))
    async with listening(serving) as server, Client(server) as client:
        *pieces, final = await client.answer(serving.token(), stream=False)
    assert [(piece.content, piece.token, piece.done) for piece in pieces] == [
        ("Hel", "Hel", False),
        ("lo", "lo", False),
    ]
    assert (final.content, final.token, final.done) == ("", "", True)
    assert all(piece.created_at > 1_600_000_000_000 for piece in (*pieces, final))
    assert dict(final.metadata) == {
        "prompt_tokens": "7",
        "completion_tokens": "2",
        "tokens_per_second": "0.00",
        "time_to_first_token_ms": "0.0",
        "finish_reason": "stop",
        "model": "tiny",
        "engine": "fake",
    }


async def test_text_that_comes_with_the_end_goes_out_with_the_final_message() -> None:
    """One message less, and one step less: the final one leaves together with the status."""
    serving = Serving(FakeEngine([TokenChunk("Hel", 1), TokenChunk("lo", 1, done=True, finish_reason="stop")]))
    async with listening(serving) as server, Client(server) as client:
        answer = await client.answer(serving.token())
    assert [(one.content, one.token, one.done) for one in answer] == [("Hel", "Hel", False), ("lo", "lo", True)]
    assert answer[-1].metadata["completion_tokens"] == "2"


async def test_long_text_that_comes_with_the_end_is_sent_while_the_session_lasts() -> None:
    """A client that takes nothing is ended within the owner's limit; after the session's end nobody would look."""
    text = "x" * (LAST_TEXT_CHARS + 1)
    serving = Serving(FakeEngine([TokenChunk(text, 1, done=True, finish_reason="stop")]))
    async with listening(serving) as server, Client(server) as client:
        answer = await client.answer(serving.token())
    assert [(len(one.content), one.done) for one in answer] == [(len(text), False), (0, True)]


async def test_request_reaches_the_engine_as_sent() -> None:
    serving = Serving()
    async with listening(serving) as server, Client(server) as client:
        options = {"top_k": "7", "stop": '["x"]', "seed": "3"}
        await client.answer(serving.token(), prompt="Grüße", temperature=0.7, max_tokens=5, options=options)
        await client.answer(serving.token(), model="tiny:latest")
    first, second = serving.engine.prompts
    assert (first.model, first.text, first.max_tokens, first.temperature) == ("tiny:latest", "Grüße", 5, 0.7)
    assert (first.options.top_k, first.options.stop, first.options.seed) == (7, ("x",), 3)
    assert second.max_tokens == 4096


async def test_prompt_over_the_owners_limit_is_refused_and_a_large_one_within_a_larger_limit_served() -> None:
    serving = Serving()
    async with listening(serving) as server, Client(server) as client:
        token = serving.token()
        assert await client.outcome(token, prompt="x" * 262_145) == "INVALID_ARGUMENT"
        assert await client.outcome(token, prompt="é" * 131_073) == "INVALID_ARGUMENT"
        assert await client.outcome(token, prompt="x" * 400_000) == "RESOURCE_EXHAUSTED"  # over the message limit
        assert await client.outcome(token, prompt="x" * 262_144) == "OK"
    large = Serving(request_limits=RequestLimits(max_prompt_bytes=400_000))
    async with listening(large, max_prompt_bytes=400_000) as server, Client(server) as client:
        assert await client.outcome(large.token(), prompt="x" * 300_000) == "OK"


# GetStatus, health, reflection


async def test_status_comes_from_the_snapshot_while_32_streams_run() -> None:
    engine, gate = held()
    serving = Serving(engine, max_jobs=32)
    async with listening(serving, snapshot=busy_snapshot) as server, Client(server) as client, Client(server) as other:
        calls = [asyncio.ensure_future(client.outcome(serving.token())) for _ in range(32)]
        await engine.wait_open(32)
        call = other.stub.GetStatus(pb.AgentStatusRequest())
        status = await call
        trailing = dict(await call.trailing_metadata())
        gate.set()
        assert Counter(await asyncio.gather(*calls)) == {"OK": 32}
    assert (status.agent_id, status.status, status.active_sessions) == ("agent-0123456789ab", "ready", 1)
    assert (status.free_vram_mb, status.free_ram_mb, status.total_requests_processed) == (2800, 20_000, 1200)
    assert status.model_loaded == "llama3.1:8b"
    assert trailing["titan-breaker"] == "closed"
    assert trailing["titan-max-jobs"] == "4"


async def test_status_of_another_agent_is_not_found() -> None:
    serving = Serving()
    async with listening(serving, snapshot=busy_snapshot) as server, Client(server) as client:
        ours = await client.stub.GetStatus(pb.AgentStatusRequest(agent_id="agent-0123456789ab"))
        assert ours.agent_id == "agent-0123456789ab"
        with pytest.raises(aio.AioRpcError) as failure:
            await client.stub.GetStatus(pb.AgentStatusRequest(agent_id="agent-2"))
        assert failure.value.code() is Code.NOT_FOUND


def test_unmeasured_memory_is_no_crash_and_metadata_is_ascii() -> None:
    for key, value in status_metadata(AgentSnapshot()):
        assert key.islower()
        assert value.isascii()


async def health_of(client: Client, service: str = SERVICE) -> int:
    stub = health_pb2_grpc.HealthStub(client.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    return int(answer.status)


async def test_health_says_serving_only_when_told() -> None:
    serving = Serving()
    async with listening(serving) as server, Client(server) as client:
        for is_serving in (False, True, False):
            if is_serving or await health_of(client) == health_pb2.HealthCheckResponse.SERVING:
                await server.set_serving(is_serving)
            for name in ("", SERVICE):
                expected = "SERVING" if is_serving else "NOT_SERVING"
                assert await health_of(client, name) == health_pb2.HealthCheckResponse.ServingStatus.Value(expected)


async def test_reflection_lists_the_services_and_describes_streaming() -> None:
    serving = Serving()
    async with listening(serving) as server, Client(server) as client:
        stub = reflection_pb2_grpc.ServerReflectionStub(client.channel)
        asked = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
        ]
        services, files = [answer async for answer in stub.ServerReflectionInfo(iter(asked))]
    names = {service.name for service in services.list_services_response.service}
    assert names == {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    assert b"StreamRequest" in files.file_descriptor_response.file_descriptor_proto[0]


# Floods


async def test_one_connection_has_at_most_64_streams() -> None:
    engine, gate = held()
    serving = Serving(engine, max_jobs=100)
    async with listening(serving) as server, Client(server) as client, Client(server) as other:
        calls = [asyncio.ensure_future(client.outcome(serving.token())) for _ in range(80)]
        await engine.wait_open(64)
        assert await health_of(other) == health_pb2.HealthCheckResponse.NOT_SERVING
        assert engine.open_streams == 64
        gate.set()
        outcomes = Counter(await asyncio.gather(*calls))
    assert engine.high_water == 64
    # When all 64 end in one moment, grpc's protection against resets refuses some that waited in the client.
    assert set(outcomes) <= {"OK", "UNAVAILABLE"}
    assert outcomes["OK"] >= 64


async def test_strangers_connections_are_limited_and_those_that_are_left_are_free_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each takes one of the files that this process may open: without a limit none is left to write the pause with."""
    monkeypatch.setattr("core.agent_server.MAX_CONNECTIONS", 5)
    serving = Serving(FakeEngine())
    async with listening(serving) as server:
        opened = [await asyncio.open_connection("127.0.0.1", server.ports[0]) for _ in range(12)]
        async with asyncio.timeout(10):
            while sum(reader.at_eof() or reader.exception() is not None for reader, _ in opened) < 7:
                for reader, _ in opened:
                    with contextlib.suppress(TimeoutError, OSError):
                        await asyncio.wait_for(reader.read(1024), 0.01)
        for _, writer in opened:
            writer.close()
        async with asyncio.timeout(10):
            outcome = ""
            while outcome != "OK":
                async with Client(server) as client:
                    outcome = await client.outcome(serving.token())


async def test_health_and_status_answer_under_a_flood_of_1000_bad_tokens() -> None:
    serving = Serving(max_jobs=2)
    bad = serving.tokens.forged_token(model="tiny")
    engine, gate = held()
    serving.models.use_engine(engine)
    async with listening(serving) as server, Client(server) as watcher:
        good = asyncio.ensure_future(watcher.outcome(serving.token()))
        await engine.wait_open(1)
        flooding = [Client(server) for _ in range(16)]
        calls = [asyncio.ensure_future(client.outcome(bad)) for client in flooding for _ in range(63)]
        answers = 0
        while not all(call.done() for call in calls):
            await health_of(watcher)
            await watcher.stub.GetStatus(pb.AgentStatusRequest())
            answers += 1
        assert answers > 0
        outcomes = Counter(call.result() for call in calls)
        assert set(outcomes) <= {"UNAUTHENTICATED", "RESOURCE_EXHAUSTED"}
        gate.set()
        assert await good == "OK"
        for client in flooding:
            await client.channel.close(None)
    assert [len(engine.prompts), engine.high_water] == [1, 1]


async def test_calls_that_are_being_checked_are_limited_and_health_still_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serving = Serving(max_jobs=1)
    verify, key_is_here = serving.door.verify, asyncio.Event()

    async def wait_for_key(token: str) -> TokenClaims:
        await key_is_here.wait()
        return await verify(token)

    monkeypatch.setattr(serving.door, "verify", wait_for_key)
    async with listening(serving) as server, Client(server) as one, Client(server) as two:
        calls = [asyncio.ensure_future(client.outcome("x")) for client in (one, two) for _ in range(50)]
        while sum(call.done() for call in calls) < 100 - EXTRA_CALLS - 1:
            await asyncio.wait([call for call in calls if not call.done()], return_when=asyncio.FIRST_COMPLETED)
        assert await health_of(one) == health_pb2.HealthCheckResponse.NOT_SERVING
        key_is_here.set()
        outcomes = Counter(await asyncio.gather(*calls))
    assert outcomes == {"RESOURCE_EXHAUSTED": 100 - EXTRA_CALLS - 1, "UNAUTHENTICATED": EXTRA_CALLS + 1}


def half_open(client: Client) -> Any:
    """A call that sends its headers and nothing else."""
    start: Any = client.channel.stream_stream
    return start(f"/{SERVICE}/StreamInference")()


async def test_calls_without_a_request_keep_nobody_out() -> None:
    serving = Serving(max_jobs=1)
    async with listening(serving) as server, Client(server) as client:
        attackers = [Client(server) for _ in range(4)]
        calls = [half_open(attacker) for attacker in attackers for _ in range(60)]
        codes = [asyncio.ensure_future(call.code()) for call in calls]
        first, _ = await asyncio.wait(codes, return_when=asyncio.FIRST_COMPLETED, timeout=5)
        assert {code.result() for code in first} == {Code.RESOURCE_EXHAUSTED}
        assert await client.outcome(serving.token()) == "OK"
        for attacker in attackers:
            await attacker.channel.close(None)
        await asyncio.wait(codes)


async def test_call_that_ends_without_a_request_is_told_so() -> None:
    serving = Serving()
    async with listening(serving) as server, Client(server) as client:
        call = half_open(client)
        await call.done_writing()
        assert await within_bound(call.code()) is Code.INVALID_ARGUMENT
        assert await call.details() == "the call ended without a request"


GARBAGE = b"\xff\xff no protobuf"


async def test_bytes_that_are_no_request_are_refused_in_our_own_words(caplog: pytest.LogCaptureFixture) -> None:
    """grpc would answer UNKNOWN, and log a traceback for each."""
    serving = Serving()
    async with listening(serving) as server, Client(server) as client:
        channel: Any = client.channel
        streamed = channel.unary_stream(f"/{SERVICE}/StreamInference")
        with pytest.raises(aio.AioRpcError) as refused:
            await within_bound(streamed(GARBAGE).read())
        assert (refused.value.code(), refused.value.details()) == (
            Code.INVALID_ARGUMENT,
            "the request is no StreamRequest of titancompute.v1",
        )
        with pytest.raises(aio.AioRpcError) as refused:
            await channel.unary_unary(f"/{SERVICE}/GetStatus")(GARBAGE)
        assert refused.value.code() is Code.INVALID_ARGUMENT
        assert await client.outcome(serving.token()) == "OK"
    assert not caplog.records


async def test_call_without_a_request_is_ended_after_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.agent_server.REQUEST_LIMIT_S", 0.05)
    serving = Serving(max_jobs=1)
    async with listening(serving) as server, Client(server) as client:
        call = half_open(client)
        assert await within_bound(call.code()) is Code.INVALID_ARGUMENT
        assert await client.outcome(serving.token()) == "OK"


async def test_watches_beyond_the_limit_are_refused_and_sessions_are_served() -> None:
    serving = Serving(max_jobs=1)
    async with listening(serving) as server, Client(server) as client:
        watchers = [Client(server) for _ in range(4)]
        watches = [
            health_pb2_grpc.HealthStub(watcher.channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
            for watcher in watchers
            for _ in range(40)
        ]
        first = await asyncio.gather(*(watch.read() for watch in watches), return_exceptions=True)
        refused = [answer for answer in first if isinstance(answer, aio.AioRpcError)]
        assert len(refused) == 160 - SIDE_CALLS
        assert {error.code() for error in refused} == {Code.RESOURCE_EXHAUSTED}
        assert await client.outcome(serving.token()) == "OK"
        for watcher in watchers:
            await watcher.channel.close(None)


# The port


async def test_taken_port_is_an_error_before_anything_is_served() -> None:
    serving = Serving()
    async with listening(serving) as server:
        address = f"127.0.0.1:{server.ports[0]}"
        options = ServerOptions(addresses=(address,), max_calls=1, max_prompt_bytes=1000)
        second = AgentServer(service=serving.service, options=options, snapshot=AgentSnapshot)
        with pytest.raises(PortTakenError, match=address) as failure:
            await second.start()
        assert "AGENT_PORT" in failure.value.hint


def test_server_options_are_those_of_the_design() -> None:
    arguments = dict(ServerOptions(addresses=(), max_calls=1, max_prompt_bytes=262_144).channel_arguments())
    assert arguments["grpc.so_reuseport"] == 0
    assert arguments["grpc.max_concurrent_streams"] == 64
    assert arguments["grpc.keepalive_time_ms"] == 30_000
    assert arguments["grpc.keepalive_timeout_ms"] == 10_000
    assert arguments["grpc.max_receive_message_length"] == 262_144 + 65_536
    assert 64 <= arguments["grpc.max_allowed_incoming_connections"] <= 1024
    assert arguments["grpc.server_handshake_timeout_ms"] == 10_000
    assert arguments["grpc.max_connection_idle_ms"] == 300_000


async def test_self_signed_tls_serves_a_client_that_trusts_it(tmp_path: Path) -> None:
    from core.tls import ensure_self_signed

    material = ensure_self_signed("localhost", tmp_path / "agent.crt", tmp_path / "agent.key")
    serving = Serving()
    async with listening(serving, tls=(material.private_key, material.certificate_chain)) as server:
        credentials = grpc.ssl_channel_credentials(material.certificate_chain)
        target = f"localhost:{server.ports[0]}"
        client = Client(server)
        await client.channel.close(None)
        client.channel = aio.secure_channel(target, credentials, options=[("grpc.enable_http_proxy", 0)])
        client.stub = type(client.stub)(client.channel)
        async with client:
            assert await client.outcome(serving.token()) == "OK"
        async with Client(server) as plaintext:
            assert await plaintext.outcome(serving.token()) == "UNAVAILABLE"


async def test_breaker_opens_after_three_faults_and_burns_no_token_while_open() -> None:
    serving = Serving(FakeEngine([EngineFailed("broken")]))
    async with listening(serving) as server, Client(server) as client:
        for _ in range(3):
            assert await client.outcome(serving.token()) == "INTERNAL"
        assert serving.breaker.state is BreakerState.OPEN
        serving.engine.script = pieces_of("x")
        token = serving.token()
        assert await client.outcome(token) == "UNAVAILABLE"
        assert len(serving.engine.prompts) == 3
        await serving.clock.advance(31)
        assert await client.outcome(token) == "OK"
        assert serving.breaker.faults_in_a_row == 0
