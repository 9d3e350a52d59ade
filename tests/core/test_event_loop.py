"""The loop that the agent runs on, and that it can do what the agent asks of it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from core.event_loop import loop_factory

ROOT = Path(__file__).resolve().parents[2]
needs_uvloop = pytest.mark.skipif(sys.platform == "win32", reason="uvloop has no Windows")


@needs_uvloop
def test_the_agent_runs_on_uvloop_where_it_is_installed() -> None:
    import uvloop

    assert loop_factory() is uvloop.new_event_loop


def test_without_uvloop_the_agent_runs_on_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_factory() is None
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        assert runner.run(asyncio.sleep(0, "ran")) == "ran"


@pytest.fixture(params=["uvloop", "asyncio"])
def factory(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop] | None:
    return loop_factory() if request.param == "uvloop" else None


@needs_uvloop
def test_a_stop_signal_reaches_the_loop(factory: Callable[[], asyncio.AbstractEventLoop] | None) -> None:
    async def wait_for_signals() -> list[int]:
        seen: list[int] = []
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            arrived = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(number, arrived.set)
            os.kill(os.getpid(), number)
            await arrived.wait()
            seen.append(number)
        return seen

    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(wait_for_signals()) == [signal.SIGTERM, signal.SIGHUP, signal.SIGINT]


@needs_uvloop
def test_a_child_is_watched_from_a_thread_as_the_window_has_it(
    factory: Callable[[], asyncio.AbstractEventLoop] | None,
) -> None:
    async def run_child() -> tuple[bytes, int]:
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", "read line; echo $line; kill -9 $$", stdin=pipe, stdout=pipe
        )
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"hello\n")
        return await child.stdout.read(), await child.wait()

    def run_in_thread() -> tuple[bytes, int]:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(run_child())

    assert asyncio.run(asyncio.to_thread(run_in_thread)) == (b"hello\n", -signal.SIGKILL)


@needs_uvloop
def test_a_unix_socket_is_served_and_removed(
    factory: Callable[[], asyncio.AbstractEventLoop] | None, tmp_path: Path
) -> None:
    path = tmp_path / "door"

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()

    async def talk() -> bytes:
        async with await asyncio.start_unix_server(echo, path):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"hello\n")
            answer = await reader.read()
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            return answer

    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(talk()) == b"hello\n"


def test_grpc_handles_no_forks_of_the_agent() -> None:
    """Its handlers run in the child of a fork too, as uvloop starts one, and crash some."""
    script = "import os, core; print(os.environ['GRPC_ENABLE_FORK_SUPPORT'])"
    environ = {name: value for name, value in os.environ.items() if name != "GRPC_ENABLE_FORK_SUPPORT"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.skipif(os.name != "posix", reason="set on posix only")
def test_grpc_still_knows_its_older_poller() -> None:
    """A release of grpc that has dropped the switch says so on stderr: then take the figures again."""
    script = (
        "import os, core, grpc; grpc.insecure_channel('127.0.0.1:1').close(); print(os.environ['GRPC_EXPERIMENTS'])"
    )
    environ = {name: value for name, value in os.environ.items() if name != "GRPC_EXPERIMENTS"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("-event_engine_listener\n", "")
