"""How many calls in Python a short session and a paced token cost the agent's loop: the same on every machine.

Times swing by a tenth and more from one minute to the next; what a session does doesn't. `python -m benchmarks.calls
FILE` is `titan run` that counts between two SIGUSR1 and then writes {"python": n, "c": n} into FILE.
"""

from __future__ import annotations

import asyncio.runners
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.parties import Agent, Load

SESSIONS = 400
STREAMS, TOKENS, RATE = 32, 120, 60
TOLD_LIMIT_S = 5.0


class CallCount:
    """Counts what the loop's thread calls while it is on: functions in Python, and those in C that Python calls."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._calls: Counter[str] = Counter()
        self._is_on = False

    def toggle(self) -> None:
        self._is_on = not self._is_on
        sys.setprofile(self._take if self._is_on else None)
        if not self._is_on:
            self._path.write_text(json.dumps({"python": self._calls["call"], "c": self._calls["c_call"]}))
            self._calls.clear()

    def _take(self, frame: FrameType, event: str, argument: object) -> None:
        self._calls[event] += 1


def main() -> None:
    count = CallCount(Path(sys.argv[1]))
    run = asyncio.runners.Runner.run

    def run_and_listen(runner: asyncio.runners.Runner, coroutine: Any, **options: Any) -> Any:
        runner.get_loop().add_signal_handler(signal.SIGUSR1, count.toggle)
        return run(runner, coroutine, **options)

    asyncio.runners.Runner.run = run_and_listen  # type: ignore[method-assign, assignment]  # the way to its loop
    sys.argv = ["titan", "run"]
    from core.cli import main as titan

    titan()


def measure(load: Load) -> dict[str, float]:
    """Calls per short session and per paced token, what the agent does beside it included."""
    with tempfile.TemporaryDirectory(prefix="titan-calls-") as folder:
        path = Path(folder) / "calls.json"
        agent = Agent(load, command=[sys.executable, "-m", "benchmarks.calls", str(path)])
        try:
            figures = {}
            for name, amount, order in (
                ("session", SESSIONS, f"8 4 0 {SESSIONS}"),
                ("token", STREAMS * TOKENS, f"{STREAMS} {TOKENS} {RATE} {STREAMS}"),
            ):
                _ask(load, agent, "8 4 0 16")  # warm
                counted = _count(agent, path, partial(_ask, load, agent, order))
                figures[f"python_per_{name}"] = counted["python"] / amount
                figures[f"c_per_{name}"] = counted["c"] / amount
            return figures
        finally:
            agent.close()


def _ask(load: Load, agent: Agent, order: str) -> None:
    answer = load.ask(f"run grpc {agent.address} {agent.credential} {order}")
    if answer["failures"]:
        raise RuntimeError(f"{answer['failures']} sessions failed: {answer['first_failure']}")


def _count(agent: Agent, path: Path, work: Callable[[], None]) -> dict[str, int]:
    path.unlink(missing_ok=True)
    agent.process.send_signal(signal.SIGUSR1)
    time.sleep(0.2)  # until the loop has heard it
    work()
    agent.process.send_signal(signal.SIGUSR1)
    deadline = time.monotonic() + TOLD_LIMIT_S
    while not path.exists() or not path.stat().st_size:
        if time.monotonic() > deadline:
            raise RuntimeError("the agent doesn't tell what it counted")
        time.sleep(0.05)
    counted: dict[str, int] = json.loads(path.read_text())
    return counted


if __name__ == "__main__":
    main()
