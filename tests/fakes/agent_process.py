"""`titan run` as a child process in a home of its own: started, watched through its log and its door, ended by id."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from core.control import ControlClient
from core.control_address import read_address
from core.paths import ProfilePaths, profile_paths
from tests.fakes.calm_signals import NO_RULES

ROOT = Path(__file__).resolve().parents[2]
START_LIMIT_S = 30.0  # what takes a second on an idle machine
STEP_LIMIT_S = 20.0

Snapshot = dict[str, Any]


def child_environment(home: Path, **environ: str) -> dict[str, str]:
    """Nothing of ours but the path: no settings from outside, no keyring, no proxy."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TITAN_HOME": str(home),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        "PYTHONWARNINGS": "error::ResourceWarning",
        **environ,
    }


async def run_titan(home: Path, *arguments: str, **environ: str) -> tuple[int, str, str]:
    """One `titan` command to its end, STEP_LIMIT_S at most; returns its exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "core", *arguments),
        cwd=ROOT,
        env=child_environment(home, **environ),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(STEP_LIMIT_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


class AgentProcess:
    """Use as `async with AgentProcess(home, AGENT_PORT="0", ...) as agent`. Leaving kills what still runs.

    `log` holds the JSON lines of its stderr so far, `out` and `err` everything that it wrote.
    """

    program: Sequence[str] = ("-m", "core", "run")  # the interpreter's arguments

    def __init__(self, home: Path, *arguments: str, **environ: str) -> None:
        self.home = home
        self.log: list[dict[str, Any]] = []
        self.out = b""
        self.err = b""
        self._arguments = arguments
        self._environ = environ
        self._changed = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._readers: list[asyncio.Task[None]] = []
        self._profile = environ.get("AGENT_ID", "default")

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    @property
    def paths(self) -> ProfilePaths:
        return profile_paths(self._profile, environ={"TITAN_HOME": str(self.home)})

    @property
    def endpoint(self) -> str:
        """Where clients reach it, from its own log."""
        listening = next(line for line in self.log if line["event"] == "listening")
        return str(listening["addresses"][0])

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, *self.program, *self._arguments),
            cwd=ROOT,
            env=child_environment(self.home, **{**NO_RULES, **self._environ}),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self._readers = [asyncio.create_task(self._read_out()), asyncio.create_task(self._read_err())]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()
        if error is not None:
            sys.stderr.write(self.err.decode(errors="replace"))  # pytest shows it beside the failure

    async def wait_event(self, event: str, *, after: int = 0, **fields: Any) -> dict[str, Any]:
        """The first log line with this event (or its start) and these fields; reading from log line `after` on."""
        async with asyncio.timeout(START_LIMIT_S):
            while True:
                for line in self.log[after:]:
                    if str(line["event"]).startswith(event) and fields.items() <= line.items():
                        return line
                if self.process.returncode is not None and all(reader.done() for reader in self._readers):
                    raise AssertionError(f"the agent ended with {self.process.returncode} before {event!r}")
                self._changed.clear()
                await self._changed.wait()

    async def wait_snapshot(self, condition: Callable[[Snapshot], bool]) -> Snapshot:
        """The first snapshot for which the condition holds, through the control door."""
        await self.wait_event("started")
        async with asyncio.timeout(STEP_LIMIT_S):
            async with ControlClient(read_address(self.paths.control_address_file)) as client:
                snapshots = client.watch()
                try:
                    async for snapshot in snapshots:
                        if condition(snapshot):
                            return snapshot
                finally:
                    await snapshots.aclose()
        raise AssertionError("the agent ended meanwhile")

    async def wait_state(self, state: str) -> Snapshot:
        return await self.wait_snapshot(lambda snapshot: snapshot["state"] == state)

    async def wait_served(self, requests: int) -> Snapshot:
        return await self.wait_snapshot(lambda snapshot: snapshot["totals"]["requests_processed"] >= requests)

    async def snapshot(self) -> Snapshot:
        return await self.wait_snapshot(lambda _: True)

    async def command(self, name: str, **arguments: str) -> tuple[str, dict[str, Any]]:
        async with ControlClient(read_address(self.paths.control_address_file)) as client:
            reply = await client.execute(name, arguments)
            return reply.message, reply.result

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def wait_end(self, limit_s: float = STEP_LIMIT_S) -> int:
        """Its exit code, once everything that it wrote is read."""
        async with asyncio.timeout(limit_s):
            code = await self.process.wait()
            await asyncio.gather(*self._readers)
        return code

    async def stop(self, limit_s: float = STEP_LIMIT_S) -> int:
        """SIGTERM, and its exit code."""
        self.send_signal(signal.SIGTERM)
        return await self.wait_end(limit_s)

    async def kill(self) -> None:
        """SIGKILL, if it still runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        await asyncio.gather(*self._readers)

    async def _read_out(self) -> None:
        assert self.process.stdout is not None
        while chunk := await self.process.stdout.read(65536):
            self.out += chunk

    async def _read_err(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.err += line
            if line.startswith(b"{"):
                self.log.append(json.loads(line))
            self._changed.set()
        await self.process.wait()
        self._changed.set()


class HastyAgentProcess(AgentProcess):
    """With rules that don't wait long (tests/fakes/hasty_titan.py)."""

    program = (str(Path(__file__).with_name("hasty_titan.py")), "run")
