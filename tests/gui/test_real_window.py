"""The real program with its window open while the world around it goes wrong and right again.

What the window says is read inside the program (tests/fakes/window_reader.py); everything else is as a person has it.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import psutil
import pytest

from tests.fakes import portal
from tests.fakes.agent_process import ROOT, STEP_LIMIT_S
from tests.fakes.canary import assert_no_canary
from tests.fakes.desktop_process import DesktopProcess
from tests.fakes.fake_ollama import FakeOllama
from tests.fakes.faulty_coordinator import FaultyCoordinator
from tests.fakes.screen import cut_window, read_screen
from tests.fakes.session_bus import SessionBus, missing_programs
from tests.fakes.sni_watcher import SniWatcher
from tests.integration.client import OK, client_of, token_of, within
from tests.integration.settings import EMBEDDED, MODEL, TINY, ollama

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing_programs()), reason=missing_programs())]

AGENT = "agent-1"
CANARY = "qXv7-canary-Zw93kT-unlike-anything"
PAGES = ("activity", "models", "rules", "settings", "log", "dashboard")  # the one it opens with last: each is a change
QUIT_LIMIT_S = 10.0
LOGOUT_LIMIT_S = 3.0


class ReadProcess(DesktopProcess):
    """The program whose window is read."""

    program = (str(ROOT / "tests" / "fakes" / "window_reader.py"),)

    async def wait_said(self, condition: Callable[[str], bool], *, after: int = 0) -> str:
        """What the window says once the condition holds of it, all texts in one; reading from log line `after` on."""
        said = ""
        try:
            async with asyncio.timeout(STEP_LIMIT_S):
                while True:
                    for line in self.log[after:]:
                        after += 1
                        if line["event"] == "window says" and condition(said := "\n".join(line["texts"])):
                            return said
                    self._changed.clear()
                    if len(self.log) == after:
                        await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"the window stayed at:\n{said}\n{self.err.decode()[-3000:]}") from None

    def noise(self) -> list[str]:
        """Qt's warnings and tracebacks: everything on stderr that is no log line, and exceptions that nobody caught."""
        uncaught = [str(line) for line in self.log if line.get("level") == "critical"]
        return uncaught + [line for line in self.err.decode().splitlines() if line and not line.startswith("{")]


Start = Callable[..., Awaitable[ReadProcess]]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture
async def session(home: Path, stack: AsyncExitStack) -> SessionBus:
    opened = await stack.enter_async_context(SessionBus(home))
    await stack.enter_async_context(SniWatcher(opened.address))
    return opened


@pytest.fixture
async def coordinator(stack: AsyncExitStack) -> FaultyCoordinator:
    return await stack.enter_async_context(FaultyCoordinator())


@pytest.fixture
async def engine(stack: AsyncExitStack) -> FakeOllama:
    return await stack.enter_async_context(FakeOllama())


@pytest.fixture
async def start(home: Path, stack: AsyncExitStack, session: SessionBus, coordinator: FaultyCoordinator) -> Start:
    """Start the program with its window open; returns it once it is ready and says so."""

    async def start_with(**environ: str) -> ReadProcess:
        program = ReadProcess(
            home,
            session,
            COORDINATOR_ENDPOINT=coordinator.endpoint,
            AGENT_ID=AGENT,
            TITAN_NOTIFICATIONS="false",
            **environ,
        )
        await stack.enter_async_context(program)
        await program.wait_state("ready")
        await program.wait_said(is_ready)
        return program

    return start_with


def is_ready(said: str) -> bool:
    return "Ready" in said.splitlines()


async def test_lost_coordinator_is_shown_and_the_stream_goes_on(
    start: Start, coordinator: FaultyCoordinator, engine: FakeOllama
) -> None:
    program = await start(**ollama(engine.url))
    engine.pace()
    async with client_of(program.endpoint) as client:
        engine.let_through(2)
        token = token_of(coordinator, AGENT, TINY)
        async with client.streaming(token, max_tokens=6) as (answer, task):
            await program.wait_said(lambda said: "Serving" in said.splitlines())
            await coordinator.stop()
            await program.wait_said(lambda said: "can't be reached" in said)
            engine.let_through(10)
            await within(task)
            assert answer.code is OK, answer.details
        await program.wait_said(lambda said: "Offline" in said.splitlines())

        mark = len(program.log)
        await coordinator.come_back(new_key=True)
        await program.wait_said(is_ready, after=mark)
        engine.let_through(10)
        assert (await client.ask(token_of(coordinator, AGENT, TINY))).code is OK
    assert await program.stop() == 0
    assert program.noise() == []


async def test_a_network_that_says_nothing_is_shown_and_found_again(
    start: Start, coordinator: FaultyCoordinator, engine: FakeOllama
) -> None:
    """Not refused but silent, as with a pulled cable: the acks stay away."""
    program = await start(**ollama(engine.url))
    coordinator.stop_acks = True
    coordinator.hang("RegisterAgent", "GetPublicKey")
    await program.wait_said(lambda said: "Offline" in said.splitlines())

    mark = len(program.log)
    coordinator.stop_acks = False
    coordinator.release("RegisterAgent", "GetPublicKey")
    await program.wait_said(is_ready, after=mark)
    assert await program.stop() == 0
    assert program.noise() == []


async def test_an_engine_that_is_stopped_and_started_is_shown(
    start: Start, coordinator: FaultyCoordinator, engine: FakeOllama
) -> None:
    program = await start(**ollama(engine.url))
    engine.pace()
    async with client_of(program.endpoint) as client:
        engine.let_through(2)
        async with client.streaming(token_of(coordinator, AGENT, TINY)) as (answer, task):
            await program.wait_said(lambda said: "Serving" in said.splitlines())
            await engine.stop()
            await within(task)
            assert answer.code not in (None, OK)
        await program.wait_said(lambda said: "Needs attention" in said.splitlines())

        mark = len(program.log)
        await engine.start_again()
        await program.wait_said(is_ready, after=mark)
        engine.let_through(10)
        assert (await client.ask(token_of(coordinator, AGENT, TINY))).code is OK
    assert await program.stop() == 0
    assert program.noise() == []


async def test_a_killed_engine_child_comes_back_under_the_open_window(
    start: Start, coordinator: FaultyCoordinator
) -> None:
    program = await start(**EMBEDDED)
    async with client_of(program.endpoint) as client:
        async with client.streaming(token_of(coordinator, AGENT, MODEL), max_tokens=1500) as (answer, task):
            (child,) = program.children()
            child.suspend()  # so that the answer can't be over before the window says that it runs
            await program.wait_said(lambda said: "Serving" in said.splitlines())
            child.kill()
            await within(task)
            assert answer.code is grpc.StatusCode.INTERNAL, answer.details
        mark = len(program.log)
        assert (await client.ask(token_of(coordinator, AGENT, MODEL))).code is OK
        (other,) = program.children()
        assert other.pid != child.pid
        await program.command("show_window", page="activity")
        told = ("Past sessions", MODEL, "the engine failed", "answered")  # the last a moment after the answer's end
        await program.wait_said(lambda said: all(text in said for text in told), after=mark)
    assert await program.stop() == 0
    assert program.noise() == []


@pytest.mark.parametrize(("number", "limit_s"), [(signal.SIGINT, QUIT_LIMIT_S), (signal.SIGTERM, LOGOUT_LIMIT_S)])
async def test_quitting_with_an_open_window_and_sessions_leaves_nothing_behind(
    start: Start, coordinator: FaultyCoordinator, number: signal.Signals, limit_s: float
) -> None:
    program = await start(**EMBEDDED)
    async with client_of(program.endpoint) as client, AsyncExitStack() as streams:
        streaming = [
            await streams.enter_async_context(client.streaming(token_of(coordinator, AGENT, MODEL), max_tokens=4000))
            for _ in range(2)
        ]
        await program.wait_said(lambda said: "2 sessions are running." in said)
        children = program.children()
        assert children

        began = time.monotonic()
        program.send_signal(number)
        assert await program.wait_end(limit_s) == 0
        assert time.monotonic() - began < limit_s
        for answer, task in streaming:
            await within(task)
            assert answer.code in (OK, grpc.StatusCode.UNAVAILABLE), answer.details
    assert [child for child in children if is_alive(child)] == []
    assert (program.paths.state_dir / "window.ini").exists(), "where the window stood is remembered"
    assert program.noise() == []


async def test_a_second_start_brings_the_window_back_at_the_page_where_it_was(
    home: Path, session: SessionBus, start: Start, engine: FakeOllama
) -> None:
    program = await start(**ollama(engine.url))
    await program.command("show_window", page="models")
    await program.wait_event("window says", page="models")

    mark = len(program.log)
    second = DesktopProcess(home, session, AGENT_ID=AGENT)
    await second.start()
    assert await second.wait_end() == 0
    await program.wait_event("window shown", after=mark, page="models")
    assert len(program.children()) == 0, "no engine of its own, and nothing of the second start"
    assert await program.stop() == 0
    assert program.noise() == []


async def test_an_open_window_turns_dark_with_the_desktop(
    home: Path, stack: AsyncExitStack, session: SessionBus, start: Start, engine: FakeOllama
) -> None:
    desktop = await stack.enter_async_context(portal.FakePortal(session.address))
    program = await start(**ollama(engine.url), **portal.ENVIRON)

    for is_dark in (True, False):
        desktop.turn(is_dark=is_dark)
        async with asyncio.timeout(STEP_LIMIT_S):
            while is_dark_on_screen(session) is not is_dark:  # noqa: ASYNC110 - the screen tells nobody
                await asyncio.sleep(0.05)
    assert await program.stop() == 0
    assert program.noise() == []


async def test_no_page_and_no_file_holds_a_word_of_a_prompt_or_an_answer(
    home: Path, start: Start, coordinator: FaultyCoordinator, engine: FakeOllama
) -> None:
    engine.answer = [CANARY[:7], CANARY[7:20], CANARY[20:], " the end"]
    program = await start(**ollama(engine.url, TITAN_LOG_LEVEL="debug"))
    async with client_of(program.endpoint) as client:
        assert (await client.ask(token_of(coordinator, AGENT, TINY, client_id=CANARY), CANARY)).code is OK
        engine.error_answer = (500, {"error": f"cannot parse {CANARY}"})
        assert (await client.ask(token_of(coordinator, AGENT, TINY), CANARY)).code is not OK
        engine.error_answer = None
        engine.pace()
        engine.let_through(3)
        async with client.streaming(token_of(coordinator, AGENT, TINY), CANARY):
            for page in PAGES:
                mark = len(program.log)
                await program.command("show_window", page=page)
                await program.wait_event("window says", after=mark, page=page)
    assert await program.stop() == 0
    assert_no_canary([home, program.out, program.err], CANARY)


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def is_dark_on_screen(session: SessionBus) -> bool | None:
    """Judged by the window's corner; None while there is no window."""
    window = cut_window(read_screen(session.screen_file))
    return None if window.isNull() else window.pixelColor(3, 3).lightnessF() < 0.5
