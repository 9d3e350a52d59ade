"""Starts that cannot be: each ends before anything is registered, with its reason, its remedy and its exit code."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.paths import profile_paths
from tests.fakes.agent_process import ROOT, AgentProcess, child_environment, run_titan
from tests.fakes.faulty_coordinator import FaultyCoordinator
from tests.integration.client import within
from tests.integration.settings import EMBEDDED


async def test_taken_port_is_said_before_anything_is_registered(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        async with FaultyCoordinator() as coordinator:
            environ = {**EMBEDDED, "AGENT_PORT": str(port), "COORDINATOR_ENDPOINT": coordinator.endpoint}
            code, out, err = await run_titan(home, "run", **environ)
            assert (code, out) == (1, "")
            line = _only_error(err)
            assert line["title"] == "Port not available"
            assert f"127.0.0.1:{port}" in line["detail"]
            assert "AGENT_PORT" in line["hint"]
            assert not coordinator.calls


async def test_two_agents_never_share_a_port(home: Path) -> None:
    async with AgentProcess(home, AGENT_ID="agent-1", **EMBEDDED) as agent:
        await agent.wait_event("listening")
        port = agent.endpoint.rpartition(":")[2]
        environ = {**EMBEDDED, "AGENT_PORT": port, "AGENT_ID": "agent-2"}
        code, _, err = await run_titan(home, "run", **environ)
        assert code == 1
        assert _only_error(err)["title"] == "Port not available"


async def test_data_folder_that_cannot_be_is_named(home: Path) -> None:
    (home / "data").write_text("a file where a folder should be")
    code, _, err = await run_titan(home, "run", **EMBEDDED)
    assert code == 1
    line = _only_error(err)
    assert str(home / "data") in line["problems"][0]
    assert "TITAN_HOME" in line["hint"]


async def test_bad_settings_are_gathered_and_exit_2(home: Path) -> None:
    environ = {**EMBEDDED, "AGENT_PORT": "99999", "MAX_CONCURRENT_JOBS": "none", "COORDINATOR_ENDPOINT": "http://x"}
    code, _, err = await run_titan(home, "run", **environ)
    assert code == 2
    problems = " ".join(_only_error(err)["problems"])
    for name, value in (("AGENT_PORT", "99999"), ("MAX_CONCURRENT_JOBS", "none"), ("COORDINATOR_ENDPOINT", "http://x")):
        assert name in problems
        assert value in problems


async def test_damaged_settings_file_is_set_aside_and_said_so(home: Path) -> None:
    folder = home / "config" / "profiles" / "default"
    folder.mkdir(parents=True)
    (folder / "settings.toml").write_text("max_concurrent_jobs = = 3")
    async with AgentProcess(home, **EMBEDDED) as agent:
        snapshot = await agent.snapshot()
        assert any("settings.toml" in notice for notice in snapshot["notices"])
        assert "max_concurrent_jobs = = 3" in [path.read_text() for path in folder.iterdir()], "nothing is lost"
        assert await agent.stop() == 0


async def test_piped_output_is_json_lines_and_nothing_else(home: Path) -> None:
    """The seed's `python main.py 2>&1 | jq .`"""
    async with AgentProcess(home, TITAN_LOG_LEVEL="debug", **EMBEDDED) as agent:
        await agent.wait_event("started")
        await agent.command("pause")
        assert await agent.stop() == 0
    lines = (agent.out + agent.err).decode().splitlines()
    assert len(lines) > 5
    assert all({"ts", "level", "event", "logger"} <= json.loads(line).keys() for line in lines)


@contextlib.asynccontextmanager
async def on_a_terminal(home: Path, **environ: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """`titan run` as in a terminal window, and the descriptor from which what it shows is read."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "core", "run"),
        cwd=ROOT,
        env=child_environment(home, TERM="xterm", **environ),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)


def _rest_of(terminal: int) -> bytes:
    seen = b""
    with contextlib.suppress(OSError):  # how Linux says that the other side is closed
        while chunk := os.read(terminal, 65536):
            seen += chunk
    return seen


NEEDS_PTY = pytest.mark.skipif(sys.platform == "win32", reason="a pty")


@NEEDS_PTY
async def test_terminal_gets_text(home: Path) -> None:
    seen = b""
    async with on_a_terminal(home, **EMBEDDED) as (process, ours):
        while b"started" not in seen:
            seen += await within(asyncio.to_thread(os.read, ours, 65536))
        process.send_signal(signal.SIGTERM)
        assert await within(process.wait()) == 0
        seen += _rest_of(ours)
    lines = [line for line in seen.decode().splitlines() if line.strip()]
    assert any("listening" in line for line in lines)
    assert not any(line.startswith("{") for line in lines)


@NEEDS_PTY
async def test_terminal_hears_once_why_nothing_started_and_the_log_keeps_it(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        async with on_a_terminal(home, **{**EMBEDDED, "AGENT_PORT": str(port)}) as (process, ours):
            seen = (await within(asyncio.to_thread(_rest_of, ours))).decode()
            assert await within(process.wait()) == 1
    assert seen.count(f"127.0.0.1:{port}") == 1, seen
    assert "Port not available: cannot listen" in seen
    paths = profile_paths("default", environ={"TITAN_HOME": str(home)})
    kept = (paths.log_dir / "agent.log").read_text()
    assert '"not started"' in kept


def _only_error(err: str) -> dict[str, Any]:
    """The last line of stderr; every line is JSON, and the error is said once."""
    lines = [json.loads(line) for line in err.splitlines()]
    assert [line["level"] for line in lines].count("error") == 1, err
    last: dict[str, Any] = lines[-1]
    return last
