"""Reading one HTTP answer from bytes: any cut into pieces gives the same, and nothing hostile is taken or kept."""

from __future__ import annotations

import asyncio
import gc
import weakref
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engines.stream_answer import MAX_BUFFERED_BYTES, MAX_HEAD_BYTES, ClosedEarly, NotHttp, StreamAnswer

CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"


class Socket:
    """What an answer asks of its connection."""

    def __init__(self) -> None:
        self.is_held = False
        self.left_reusable: bool | None = None  # None until the answer is closed
        self.answer = StreamAnswer(self._hold, self._leave)

    def _hold(self, is_held: bool) -> None:
        self.is_held = is_held

    def _leave(self, is_reusable: bool) -> None:
        assert self.left_reusable is None
        self.left_reusable = is_reusable


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def length_answer(body: bytes, *headers: bytes) -> bytes:
    lines = (b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def read_all(answer: StreamAnswer) -> bytes:
    await answer.wait_head()
    parts = []
    while part := await answer.read():
        parts.append(part)
    return b"".join(parts)


def fed(*pieces: bytes) -> Socket:
    socket = Socket()
    for piece in pieces:
        socket.answer.feed(piece)
    return socket


def cut(data: bytes, places: list[int]) -> list[bytes]:
    borders = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(borders) if start < end]


@given(
    parts=st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    places=st.lists(st.integers(0, 2000), max_size=30),
    framing=st.sampled_from(["chunked", "chunked with trailers", "length", "until close", "after 103"]),
)
def test_an_answer_reads_the_same_however_it_is_cut(parts: list[bytes], places: list[int], framing: str) -> None:
    body = b"".join(parts)
    stream = {
        "chunked": CHUNKED + b"".join(map(chunk, parts)) + b"0\r\n\r\n",
        "chunked with trailers": CHUNKED + b"".join(map(chunk, parts)) + b"0\r\nX-Sum: 12\r\n\r\n",
        "length": length_answer(body),
        "until close": b"HTTP/1.1 200 OK\r\n\r\n" + body,
        "after 103": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + length_answer(body),
    }[framing]

    async def scenario() -> None:
        socket = Socket()
        reading = asyncio.create_task(read_all(socket.answer))
        for piece in cut(stream, places):
            socket.answer.feed(piece)
            await asyncio.sleep(0)
        if framing == "until close":
            socket.answer.lose(None)
        assert await reading == body
        assert socket.answer.status == 200
        assert socket.answer.is_at_end
        socket.answer.close()
        assert socket.left_reusable is (framing != "until close")

    asyncio.run(scenario())


@given(data=st.binary(max_size=400), is_prefixed=st.booleans())
def test_garbage_ends_in_an_error_or_a_body_and_never_in_anything_else(data: bytes, is_prefixed: bool) -> None:
    async def scenario() -> None:
        socket = fed((CHUNKED if is_prefixed else b"") + b"canary" + data)
        socket.answer.lose(None)
        seen: BaseException | None = None
        try:
            await read_all(socket.answer)
        except (NotHttp, ClosedEarly) as error:
            seen = error
        assert "canary" not in repr(seen)
        socket.answer.close()
        assert socket.left_reusable is False

    asyncio.run(scenario())


async def test_what_has_arrived_together_is_read_together() -> None:
    socket = fed(CHUNKED + chunk(b"one ") + chunk(b"two "), chunk(b"three "))
    assert await socket.answer.read() == b"one two three "
    assert not socket.answer.is_at_end


async def test_the_type_is_told_without_its_parameters() -> None:
    socket = fed(length_answer(b"{}", b"Content-Type: Application/JSON; charset=utf-8"))
    assert socket.answer.content_type == "application/json"
    assert fed(length_answer(b"")).answer.content_type == "application/octet-stream"


@pytest.mark.parametrize(
    "head",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nBad Header: x\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        CHUNKED + b"zz\r\nabc\r\n",
        CHUNKED + b"ffffffffffffffffff\r\nabc\r\n",
        CHUNKED + b"3\r\nabcde\r\n",
    ],
)
async def test_an_answer_that_readers_may_take_differently_is_refused(head: bytes) -> None:
    socket = fed(head)
    with pytest.raises(NotHttp):
        await read_all(socket.answer)
    assert socket.is_held  # nothing more is read from it
    socket.answer.close()
    assert socket.left_reusable is False


@pytest.mark.parametrize(
    "endless",
    [
        b"HTTP/1.1 200 " + b"O" * MAX_HEAD_BYTES,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * MAX_HEAD_BYTES,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * MAX_HEAD_BYTES,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 4000,
        CHUNKED + chunk(b"a") + b"0\r\nX: " + b"y" * 2 * MAX_HEAD_BYTES,
        CHUNKED + chunk(b"a") + b"3;" + b"y" * 2 * MAX_HEAD_BYTES,
    ],
    ids=["status line", "header", "headers", "interim answers", "trailer", "chunk extension"],
)
async def test_what_never_comes_to_a_body_is_cut_off(endless: bytes) -> None:
    socket = Socket()
    for start in range(0, len(endless), 1000):
        socket.answer.feed(endless[start : start + 1000])
    with pytest.raises(NotHttp):
        await read_all(socket.answer)


async def test_a_head_that_comes_all_at_once_has_the_same_limit() -> None:
    socket = fed(length_answer(b"ok", *(b"X: y" for _ in range(MAX_HEAD_BYTES))))
    with pytest.raises(NotHttp):
        await read_all(socket.answer)


async def test_a_body_is_not_read_from_the_socket_before_it_is_wanted() -> None:
    socket = fed(CHUNKED)
    piece = chunk(b"x" * 8192)
    fed_bytes = 0
    while not socket.is_held:
        socket.answer.feed(piece)
        fed_bytes += 8192
        assert fed_bytes <= MAX_BUFFERED_BYTES + 8192
    assert len(await socket.answer.read()) == fed_bytes
    assert not socket.is_held


async def test_what_came_before_a_fault_is_given_first() -> None:
    socket = fed(CHUNKED + chunk(b"good") + b"nonsense\r\n")
    assert await socket.answer.read() == b"good"
    with pytest.raises(NotHttp):
        await socket.answer.read()


@pytest.mark.parametrize(
    "stream", [b"", CHUNKED, CHUNKED + chunk(b"abc"), length_answer(b"abcdef")[:-2], b"HTTP/1.1 2"]
)
async def test_an_end_before_the_end_is_an_error(stream: bytes) -> None:
    socket = fed(stream) if stream else Socket()
    socket.answer.lose(None)
    with pytest.raises(ClosedEarly):
        await read_all(socket.answer)
    assert socket.answer.has_begun is bool(stream)


async def test_a_reset_is_told_as_the_system_tells_it_also_where_the_end_is_the_close() -> None:
    socket = fed(b"HTTP/1.1 200 OK\r\n\r\nabc")
    socket.answer.lose(ConnectionResetError(104, "reset"))
    assert await socket.answer.read() == b"abc"
    with pytest.raises(ConnectionResetError):
        await socket.answer.read()


async def test_bytes_after_the_end_harm_the_connection_and_not_the_answer() -> None:
    socket = fed(length_answer(b"abc") + b"HTTP/1.1 200 OK\r\n\r\n")
    assert await read_all(socket.answer) == b"abc"
    socket.answer.close()
    assert socket.left_reusable is False


@pytest.mark.parametrize(
    ("head", "is_reusable"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n", True),
    ],
)
async def test_a_connection_is_kept_as_the_server_says(head: bytes, is_reusable: bool) -> None:
    socket = fed(head + b"\r\nok")
    await read_all(socket.answer)
    socket.answer.close()
    socket.answer.close()  # once is enough, twice is no error
    assert socket.left_reusable is is_reusable


async def test_an_answer_without_a_body_is_whole_with_its_head() -> None:
    socket = fed(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert await read_all(socket.answer) == b""
    socket.answer.close()
    assert socket.left_reusable is True


@pytest.mark.parametrize("read_first", [True, False])
async def test_an_answer_that_is_given_up_gives_up_its_connection(read_first: bool) -> None:
    socket = fed(CHUNKED + chunk(b"abc"))
    if read_first:
        await socket.answer.read()
    socket.answer.close()
    assert socket.left_reusable is False


async def test_a_body_that_nobody_read_is_not_left_to_the_next_answer() -> None:
    socket = fed(length_answer(b"abc"))
    await socket.answer.wait_head()
    socket.answer.close()
    assert socket.left_reusable is False


async def test_an_answer_that_was_closed_waits_for_no_collector() -> None:
    answer = StreamAnswer(lambda is_held: None, lambda is_reusable: None)
    answer.feed(length_answer(b"abc"))
    await read_all(answer)
    answer.close()
    seen = weakref.ref(answer)
    gc.disable()
    try:
        del answer
        assert seen() is None
    finally:
        gc.enable()
