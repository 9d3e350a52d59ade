"""The client of plain-http engines: connections kept, retried, limited, and closed at once when nobody listens."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from core.engines.stream_answer import ClosedEarly, NotConnected, NotHttp
from core.engines.stream_client import StreamClient
from core.event_loop import loop_factory
from tests.fakes.raw_http_server import RawHttpServer, answer_ok

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def client_of(server: RawHttpServer, **changes: Any) -> StreamClient:
    wanted: dict[str, Any] = {"headers": {"X-Key": "k"}, "connect_limit_s": 5.0, "idle_limit_s": 4.0, **changes}
    return StreamClient(wanted.pop("host", server.host), server.port, **wanted)


@pytest.fixture
async def server() -> AsyncIterator[RawHttpServer]:
    async with RawHttpServer() as server:
        yield server


@pytest.fixture
async def client(server: RawHttpServer) -> AsyncIterator[StreamClient]:
    client = client_of(server)
    yield client
    await client.close()


async def whole(client: StreamClient, body: bytes = b"{}") -> bytes:
    answer = await client.ask("POST", "/x", body)
    try:
        return await answer.read()
    finally:
        while not answer.is_at_end:
            await answer.read()
        answer.close()


async def hang(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def hang_after_head(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD)
    await asyncio.Event().wait()


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def test_a_request_is_sent_as_http_1_1_with_its_headers(server: RawHttpServer, client: StreamClient) -> None:
    assert await whole(client, b'{"a": 1}') == b"ok"
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /x HTTP/1.1"
    assert set(lines[1:]) == {b"Host: 127.0.0.1:%d" % server.port, b"Accept: */*", b"X-Key: k", b"Content-Length: 8"}
    assert body == b'{"a": 1}'


async def test_a_connection_serves_one_answer_after_another(server: RawHttpServer, client: StreamClient) -> None:
    for _ in range(3):
        await whole(client)
    assert server.connections == 1


async def test_answers_at_the_same_time_have_a_connection_each(server: RawHttpServer, client: StreamClient) -> None:
    await asyncio.gather(*(whole(client) for _ in range(5)))
    assert server.connections == 5


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_names_and_addresses_both_reach_the_server(server: RawHttpServer, host: str) -> None:
    client = client_of(server, host=host)
    assert await whole(client) == b"ok"
    await client.close()
    assert f"Host: {host}:{server.port}".encode() in server.requests[0]


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
async def test_an_ipv6_address_reaches_the_server() -> None:
    async with RawHttpServer("::1") as server:
        client = client_of(server)
        assert await whole(client) == b"ok"
        await client.close()
        assert b"Host: [::1]:" in server.requests[0]


async def test_a_connection_that_the_server_closed_while_idle_is_not_used(
    server: RawHttpServer, client: StreamClient
) -> None:
    async def answer_and_hang_up(writer: asyncio.StreamWriter) -> None:
        await answer_ok(writer)
        writer.close()

    server.respond = answer_and_hang_up
    for _ in range(2):
        await whole(client)
        await server.wait_open(0)
    assert server.connections == 2


async def test_a_retry_takes_a_new_connection_whatever_is_kept(server: RawHttpServer, client: StreamClient) -> None:
    await asyncio.gather(*(whole(client) for _ in range(3)))
    server.respond = hang_up
    with pytest.raises(ClosedEarly):
        await whole(client)
    assert server.connections == 3
    server.respond = answer_ok
    answer = await client.ask("POST", "/x", b"{}", is_retry=True)
    assert await answer.read() == b"ok"
    answer.close()
    assert server.connections == 4


async def test_garbage_closes_the_connection(server: RawHttpServer, client: StreamClient) -> None:
    async def speak_smtp(writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")

    server.respond = speak_smtp
    with pytest.raises(NotHttp):
        await whole(client)
    await server.wait_open(0)


async def test_bytes_that_nobody_asked_for_close_a_kept_connection(server: RawHttpServer) -> None:
    writers: list[asyncio.StreamWriter] = []

    async def answer_and_remember(writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await answer_ok(writer)

    client = client_of(server, idle_limit_s=1000.0)
    server.respond = answer_and_remember
    await whole(client)
    writers[0].write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    async with asyncio.timeout(10):
        await server.wait_open(0)
    assert await whole(client) == b"ok"
    assert server.connections == 2
    await client.close()


async def test_a_request_that_is_cancelled_before_its_answer_closes_its_connection(
    server: RawHttpServer, client: StreamClient
) -> None:
    server.respond = hang
    asking = asyncio.create_task(whole(client))
    await server.wait_requests(1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await server.wait_open(0)


async def test_an_answer_that_is_cancelled_midway_closes_its_connection(
    server: RawHttpServer, client: StreamClient
) -> None:
    server.respond = hang_after_head
    answer = await client.ask("POST", "/x")
    reading = asyncio.create_task(answer.read())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    answer.close()
    await server.wait_open(0)


async def test_a_slow_reader_holds_the_server_back(server: RawHttpServer, client: StreamClient) -> None:
    megabytes = 24
    sent = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(HEAD)
        for _ in range(megabytes * 16):
            writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            await writer.drain()
            sent += 65536
        writer.write(b"0\r\n\r\n")

    server.respond = flood
    answer = await client.ask("POST", "/x")
    before = -1
    while sent != before:  # until the server can't get rid of anything more
        before = sent
        for _ in range(200):
            await asyncio.sleep(0)
    assert sent < megabytes << 20
    received = 0
    while part := await answer.read():
        received += len(part)
        assert len(part) <= 1 << 20
    answer.close()
    assert received == megabytes << 20


async def test_idle_connections_are_closed_after_their_time(server: RawHttpServer) -> None:
    client = client_of(server, idle_limit_s=0.01)
    await asyncio.gather(*(whole(client) for _ in range(3)))
    await server.wait_open(0)
    assert await whole(client) == b"ok"
    await client.close()


async def test_without_an_idle_time_no_connection_is_kept(server: RawHttpServer) -> None:
    client = client_of(server, idle_limit_s=0.0)
    for _ in range(2):
        await whole(client)
    await client.close()
    assert server.connections == 2


async def test_close_ends_idle_and_running_answers(server: RawHttpServer, client: StreamClient) -> None:
    await whole(client)
    server.respond = hang_after_head
    answer = await client.ask("POST", "/x")
    await client.close()
    with pytest.raises(ClosedEarly):
        await answer.read()
    await server.wait_open(0)


async def test_a_refused_connection_is_told_apart_from_one_that_broke() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        client = StreamClient("127.0.0.1", taken.getsockname()[1], headers={}, connect_limit_s=5.0, idle_limit_s=4.0)
        with pytest.raises(NotConnected, match="ConnectionRefusedError"):
            await client.ask("GET", "/")
    await client.close()


async def test_connecting_has_a_limit(server: RawHttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*args: object, **options: object) -> None:
        await asyncio.Event().wait()

    client = client_of(server, connect_limit_s=0.01)
    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", never)
    with pytest.raises(NotConnected, match="TimeoutError"):
        await client.ask("GET", "/")


async def test_a_name_that_cannot_be_one_is_no_bug(server: RawHttpServer) -> None:
    client = client_of(server, host=f"{'x' * 64}.example")
    with pytest.raises(NotConnected):
        await client.ask("GET", "/")


@pytest.mark.parametrize("text", ["a\r\nX: y", "a\nb", "", "ä"])
async def test_nothing_can_be_smuggled_into_a_head(server: RawHttpServer, client: StreamClient, text: str) -> None:
    with pytest.raises(ValueError, match="HTTP"):
        await client.ask("GET", text)
    with pytest.raises(ValueError, match="HTTP"):
        client_of(server, headers={"X-Key": text})
    assert server.connections == 0


@pytest.mark.parametrize(
    "scenario",
    [
        test_a_connection_serves_one_answer_after_another,
        test_a_connection_that_the_server_closed_while_idle_is_not_used,
        test_a_retry_takes_a_new_connection_whatever_is_kept,
        test_garbage_closes_the_connection,
        test_a_request_that_is_cancelled_before_its_answer_closes_its_connection,
        test_an_answer_that_is_cancelled_midway_closes_its_connection,
        test_a_slow_reader_holds_the_server_back,
        test_close_ends_idle_and_running_answers,
    ],
    ids=lambda scenario: scenario.__name__,
)
def test_the_same_holds_on_the_loop_that_the_agent_runs_on(
    scenario: Callable[[RawHttpServer, StreamClient], Awaitable[None]],
) -> None:
    async def run() -> None:
        async with RawHttpServer() as server:
            client = client_of(server)
            await scenario(server, client)
            await client.close()

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(run())
