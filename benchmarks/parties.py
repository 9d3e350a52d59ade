"""The processes that take part in a measurement: the load (Go), bare servers, and the agent as `titan run`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import psutil

MODEL = "bench"  # what benchmarks/load's engine offers, as an owner writes it
AGENT_ID = "bench"
ANSWER_LIMIT_S = 180.0


class Load:
    """benchmarks/load: a stand-in engine, a coordinator and clients. Commands are lines, answers are lines of JSON."""

    def __init__(self, binary: Path) -> None:
        self._process = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        hello = self._answer()
        self.engine: str = hello["engine"]
        self.coordinator: str = hello["coordinator"]

    def send(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def ask(self, command: str) -> dict[str, Any]:
        """Send one command and wait for its answer. Raises RuntimeError for an answer that is an error."""
        self.send(command)
        answer = self._answer()
        if "error" in answer:
            raise RuntimeError(f"load: {command}: {answer['error']}")
        return answer

    def take_answer(self) -> dict[str, Any]:
        """The answer to an earlier `send`."""
        return self._answer()

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the load has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Server:
    """A process that serves StreamInference; `credential` is the agent's id, "-" where no token is wanted."""

    def __init__(self, process: subprocess.Popen[str], address: str, credential: str) -> None:
        self.process = process
        self.address = address
        self.credential = credential
        self._seen = psutil.Process(process.pid)

    @classmethod
    def bare(cls, style: str) -> Self:
        command = [sys.executable, "-m", "benchmarks.bare_server", style]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        return cls(process, f"127.0.0.1:{process.stdout.readline().strip()}", "-")

    def cpu_s(self) -> float:
        """CPU seconds of the process so far, all threads, user and system; 10 ms steps on Linux."""
        times = self._seen.cpu_times()
        return times.user + times.system

    def resident_mb(self) -> float:
        return self._seen.memory_info().rss / 1e6

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)


class Agent(Server):
    """`titan run` with a new home of its own, or another `command` that does the same."""

    def __init__(self, load: Load, max_jobs: int = 32, command: Sequence[str | Path] = ()) -> None:
        self._home = tempfile.mkdtemp(prefix="titan-bench-")
        titan = Path(sys.executable).with_name("titan")
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TITAN_")},
            "TITAN_HOME": self._home,
            "TITAN_ENGINE": "ollama",
            "AGENT_ID": AGENT_ID,
            "AGENT_PORT": "0",
            "PUBLIC_HOST": "127.0.0.1",  # as the bare servers: each session's client would ask DNS for a name
            "COORDINATOR_ENDPOINT": load.coordinator,
            "OLLAMA_HOST": f"http://{load.engine}",
            "SUPPORTED_MODELS": MODEL,
            "MAX_CONCURRENT_JOBS": str(max_jobs),
            "TITAN_ENGINE_USED_BY_OWNER_EFFECT": "off",  # the direct route is another program that uses the engine
            "TITAN_CPU_BUSY_EFFECT": "off",  # the load is another program that keeps the processor busy
        }
        started = time.monotonic()
        process = subprocess.Popen(command or [titan, "run"], env=environment, stderr=subprocess.DEVNULL, text=True)
        try:
            registration = load.ask("wait")
        except RuntimeError:
            process.terminate()
            raise
        self.start_s = time.monotonic() - started  # from the call of `titan run` to its registration
        super().__init__(process, registration["endpoint"], registration["agent_id"])

    def close(self) -> None:
        super().close()
        shutil.rmtree(self._home, ignore_errors=True)
