"""Hearing of new versions: only a signed index is believed, once a day, and nothing but telling follows."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UpdateError
from core.safe_web import safe_opener
from core.updates.fetch import fetch_index
from core.updates.release_index import MAX_INDEX_BYTES, Release, open_index, read_keys, version_key
from core.updates.update_state import state_file
from core.updates.update_watch import INTERVAL_S, LOOK_S, RETRY_S, UpdateWatch, shipped_keys
from scripts.release_index import new_key, signed_index
from tests.fakes.manual_clock import ManualClock

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(32))
NEWER = {"version": "0.2.0", "date": "2026-12-01", "summary": "Quieter fans.", "url": "https://titan.example/0.2.0"}
URL = "https://titan.example/index.json"


def an_index(*releases: dict[str, str], issued: int = 1_790_000_000, key: Ed25519PrivateKey = KEY) -> bytes:
    return signed_index(list(releases), key, issued)


# The index


def test_a_signed_index_tells_the_newest_release() -> None:
    index = open_index(an_index(NEWER, {"version": "0.10.0"}, {"version": "0.1.0"}), [PUBLIC])
    newest = index.newer_than("0.1.0")
    assert newest is not None
    assert newest.version == "0.10.0"  # by number, not by letter
    assert index.newer_than("0.10.0") is None


def test_an_index_of_a_stranger_is_refused() -> None:
    with pytest.raises(UpdateError, match="not signed"):
        open_index(an_index(NEWER, key=STRANGER), [PUBLIC])


def test_a_second_key_is_believed_too() -> None:
    other = STRANGER.public_key().public_bytes_raw()
    assert open_index(an_index(NEWER), [other, PUBLIC]).releases[0].version == "0.2.0"


@settings(deadline=None)  # a busy machine
@given(st.data())
def test_no_changed_byte_of_the_payload_is_believed(data: st.DataObject) -> None:
    envelope = json.loads(an_index(NEWER))
    payload = bytearray(base64.b64decode(envelope["payload"]))
    at = data.draw(st.integers(0, len(payload) - 1))
    payload[at] ^= data.draw(st.integers(1, 255))
    envelope["payload"] = base64.b64encode(bytes(payload)).decode()
    with pytest.raises(UpdateError, match="not signed"):
        open_index(json.dumps(envelope).encode(), [PUBLIC])


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_an_error_with_words(data: bytes) -> None:
    with pytest.raises(UpdateError):
        open_index(data, [PUBLIC])


def test_a_signature_over_the_bare_payload_is_none() -> None:
    """The key may sign other things: only a signature over "release index" and the payload counts."""
    payload = base64.b64decode(json.loads(an_index(NEWER))["payload"])
    bare = {"payload": base64.b64encode(payload).decode(), "signature": base64.b64encode(KEY.sign(payload)).decode()}
    with pytest.raises(UpdateError, match="not signed"):
        open_index(json.dumps(bare).encode(), [PUBLIC])


@pytest.mark.parametrize(
    "release",
    [
        {"version": "0.2"},
        {"version": "0.2.0-rc1"},
        {"version": "0.2.0", "url": "http://titan.example/"},
        {"version": "0.2.0", "url": "javascript:alert(1)"},
        {"version": "0.2.0", "summary": "two\nlines"},
        {"version": "0.2.0", "summary": "x" * 501},
        {"version": "0.2.0", "date": "tomorrow"},
        {"version": 2},
        "0.2.0",
    ],
)
def test_a_release_that_cannot_be_shown_is_refused(release: object) -> None:
    with pytest.raises(UpdateError):
        signed_index([release], KEY, 1)


def test_a_large_index_is_refused_before_it_is_read() -> None:
    with pytest.raises(UpdateError, match="larger than 256 KB"):
        open_index(b"x" * (MAX_INDEX_BYTES + 1), [PUBLIC])


def test_the_shipped_keys_can_be_read() -> None:
    assert all(len(key) == 32 for key in shipped_keys())
    assert shipped_keys()


def test_keys_that_are_none_are_refused() -> None:
    for text in ("not base64!", base64.b64encode(b"short").decode()):
        with pytest.raises(UpdateError):
            read_keys(text)


def test_a_new_key_signs_and_never_overwrites(tmp_path: Path) -> None:
    file = tmp_path / "release.key"
    public = read_keys(new_key(file))
    key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(file.read_bytes()))
    assert open_index(an_index(NEWER, key=key), public).releases
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        new_key(file)


# The watch


class World:
    """An index's server, a clock and an agent's state, as the watch sees them."""

    def __init__(self, path: Path) -> None:
        self.clock = ManualClock()
        self.url = URL
        self.is_busy = self.is_metered = False
        self.answer: bytes | UpdateError = an_index(NEWER)
        self.asked = 0
        self.changes = 0
        self.path = path

    def watch(self, version: str = "0.1.0") -> UpdateWatch:
        return UpdateWatch(
            path=self.path,
            version=version,
            keys=lambda: [PUBLIC],
            url=lambda: self.url,
            is_busy=lambda: self.is_busy,
            is_metered=self.ask_metered,
            on_change=self._count,
            fetch=self._fetch,
            clock=self.clock.wall,
            sleep=self.clock.sleep,
        )

    @asynccontextmanager
    async def running(self, version: str = "0.1.0") -> AsyncIterator[UpdateWatch]:
        """A watch that has looked once."""
        watch = self.watch(version)
        task = asyncio.create_task(watch.run())
        try:
            await self.clock.wait_for_sleep(LOOK_S)
            yield watch
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def ask_metered(self) -> bool:
        return self.is_metered

    async def pass_time(self, seconds: float) -> None:
        """Let the time pass, and the look after it end."""
        await self.clock.advance(seconds)
        await self.clock.wait_for_sleep(LOOK_S)

    def _fetch(self, url: str) -> bytes:
        assert url == self.url
        self.asked += 1
        if isinstance(self.answer, UpdateError):
            raise self.answer
        return self.answer

    def _count(self) -> None:
        self.changes += 1


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "updates.json")


async def test_without_an_address_nobody_is_asked(world: World) -> None:
    world.url = ""
    async with world.running() as watch:
        await world.pass_time(INTERVAL_S)
        assert (world.asked, watch.offered) == (0, None)
        with pytest.raises(UpdateError, match="no address"):
            await watch.check()


async def test_a_newer_version_is_told_once_a_day_is_enough(world: World) -> None:
    async with world.running() as watch:
        assert watch.offered == Release(**NEWER)
        await world.pass_time(INTERVAL_S - 2 * LOOK_S)
        assert (world.asked, world.changes) == (1, 1)
        await world.pass_time(3 * LOOK_S)
        assert (world.asked, world.changes) == (2, 1)


async def test_it_is_known_after_a_restart_without_asking(world: World) -> None:
    async with world.running():
        pass
    async with world.running() as watch:
        assert watch.offered == Release(**NEWER)
    assert world.asked == 1


async def test_the_version_that_runs_is_no_news(world: World) -> None:
    async with world.running():
        pass
    async with world.running("0.2.0") as watch:  # installed meanwhile
        assert watch.offered is None


async def test_while_serving_it_is_neither_asked_nor_told(world: World) -> None:
    world.is_busy = True
    async with world.running() as watch:
        assert (world.asked, watch.offered) == (0, None)
        world.is_busy = False
        await world.pass_time(LOOK_S)
        assert watch.offered == Release(**NEWER)


async def test_a_network_that_costs_is_not_used(world: World) -> None:
    world.is_metered = True
    async with world.running() as watch:
        assert world.asked == 0
        assert await watch.check() == Release(**NEWER)  # the owner asked


async def test_a_skipped_version_is_not_told_again_but_the_next_one_is(world: World) -> None:
    async with world.running() as watch:
        await watch.skip("0.2.0")
        assert watch.offered is None
    async with world.running() as watch:
        assert watch.offered is None
        world.answer = an_index(NEWER, {"version": "0.3.0"})
        await watch.check()
        assert watch.offered == Release(version="0.3.0")


async def test_a_failure_is_tried_again_after_hours_and_hides_nothing(world: World) -> None:
    async with world.running() as watch:
        world.answer = UpdateError("the release index could not be read: timed out")
        await world.pass_time(INTERVAL_S)
        assert (world.asked, watch.offered) == (2, Release(**NEWER))
        await world.pass_time(RETRY_S - 2 * LOOK_S)
        assert world.asked == 2
        await world.pass_time(3 * LOOK_S)
        assert world.asked == 3


async def test_an_old_index_played_back_is_refused(world: World) -> None:
    async with world.running() as watch:
        world.answer = an_index(issued=1_780_000_000)
        with pytest.raises(UpdateError, match="older"):
            await watch.check()
        assert watch.offered == Release(**NEWER)


async def test_a_clock_set_back_doesnt_stop_the_checks(world: World) -> None:
    async with world.running():
        pass
    world.clock = ManualClock(wall_s=1_600_000_000.0)
    async with world.running():
        assert world.asked == 2


async def test_a_server_that_hangs_holds_up_neither_the_check_nor_the_programs_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.updates.update_watch.FETCH_LIMIT_S", 0.01)
    let_go, threads = threading.Event(), []

    def hang(url: str) -> bytes:
        threads.append(threading.current_thread())
        let_go.wait(30)
        return an_index(NEWER)

    world._fetch = hang  # type: ignore[method-assign]
    watch = world.watch()
    for _ in range(2):  # the second is not begun beside it
        with pytest.raises(UpdateError, match=r"within 0\.01 s"):
            await watch.check()
    assert [thread.daemon for thread in threads] == [True]
    let_go.set()
    threads[0].join()
    await asyncio.sleep(0)
    monkeypatch.setattr("core.updates.update_watch.FETCH_LIMIT_S", 30.0)
    assert await watch.check() == Release(**NEWER)


async def test_nonsense_is_not_skipped(world: World) -> None:
    with pytest.raises(UpdateError, match="no version"):
        await world.watch().skip("latest")


@pytest.mark.parametrize("content", [b"", b"[]", b'{"checked_at": "x"}', b"\xff\xfe", b'{"newest": 1}'])
def test_a_damaged_file_is_a_new_start(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "updates.json"
    file.write_bytes(content)
    assert state_file(file).load() is None
    assert (tmp_path / "updates.json.damaged-1").read_bytes() == content


def test_versions_compare_by_number() -> None:
    assert version_key("0.10.0") > version_key("0.9.9")


# The network


@pytest.fixture
def server() -> Iterator[tuple[str, list[tuple[int, dict[str, str], bytes]]]]:
    """A web server on this machine, and the answers that it gives, one after the other."""
    answers: list[tuple[int, dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answers.pop(0)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    http_server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http_server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{http_server.server_port}/index.json", answers
    http_server.shutdown()
    http_server.server_close()
    thread.join()


Server = tuple[str, list[tuple[int, dict[str, str], bytes]]]


def test_an_index_is_fetched(server: Server) -> None:
    url, answers = server
    answers.append((200, {}, an_index(NEWER)))
    assert open_index(fetch_index(url), [PUBLIC]).releases == (Release(**NEWER),)


def test_errors_of_the_server_have_words(server: Server) -> None:
    url, answers = server
    answers.append((404, {}, b"no"))
    with pytest.raises(UpdateError, match="HTTP 404"):
        fetch_index(url)


def test_an_endless_answer_is_cut(server: Server) -> None:
    url, answers = server
    answers.append((200, {}, b"x" * (MAX_INDEX_BYTES + 10)))
    with pytest.raises(UpdateError, match="larger"):
        fetch_index(url)


@pytest.mark.parametrize("target", ["http://titan.example/index.json", "file:///etc/passwd", "ftp://titan.example/x"])
def test_a_redirect_leads_to_https_only(server: Server, target: str) -> None:
    url, answers = server
    answers.append((302, {"Location": target}, b""))
    with pytest.raises(UpdateError):
        fetch_index(url)


def test_the_web_may_not_lead_to_this_machine() -> None:
    """A redirect to a program of the owner's on a loopback port would be a request that the owner never made."""
    handlers: list[Any] = vars(safe_opener(lambda url: None, most_redirects=3))["handlers"]
    handler = next(one for one in handlers if isinstance(one, urllib.request.HTTPRedirectHandler))
    request = urllib.request.Request("https://titan.example/index.json")
    with pytest.raises(urllib.error.HTTPError):
        handler.redirect_request(request, io.BytesIO(), 302, "", HTTPMessage(), "http://127.0.0.1:11434/api/delete")
    assert (
        handler.redirect_request(request, io.BytesIO(), 302, "", HTTPMessage(), "https://cdn.titan.example/")
        is not None
    )


@pytest.mark.parametrize(
    "url", ["http://titan.example/", "file:///etc/passwd", "titan.example", "https://", "http://[x"]
)
def test_only_https_is_asked(url: str) -> None:
    with pytest.raises(UpdateError, match="no https address"):
        fetch_index(url)
