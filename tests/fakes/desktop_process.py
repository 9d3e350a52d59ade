"""`titan-desktop` as a child process, watched like `titan run`: through its log, its door and the panel."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.fakes.agent_process import ROOT, AgentProcess, child_environment
from tests.fakes.calm_signals import NO_RULES
from tests.fakes.session_bus import SessionBus


class DesktopProcess(AgentProcess):
    """Setup is done unless the environment says otherwise. `program` are the interpreter's arguments."""

    program: Sequence[str] = ("-m", "titan_gui")

    def __init__(self, home: Path, session: SessionBus, *arguments: str, **environ: str) -> None:
        # Without messages unless a test is about them: each one makes the tray a new icon, in the middle of a click.
        quiet = {"TITAN_SETUP_DONE": "true", "TITAN_LOG_FORMAT": "json", "TITAN_NOTIFICATIONS": "false"}
        self._desktop_environ = {**NO_RULES, **quiet, **session.environ, **environ}
        super().__init__(home, *arguments, **self._desktop_environ)

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, *self.program, *self._arguments),
            cwd=ROOT,
            env=child_environment(self.home, **self._desktop_environ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self._readers = [asyncio.create_task(self._read_out()), asyncio.create_task(self._read_err())]

    def processor_seconds(self) -> float:
        """What it has used so far, all threads together."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class WatchedDesktopProcess(DesktopProcess):
    """With a watchdog in it; what it measured stands in the log after the end, as the event "qt watchdog"."""

    program = (str(ROOT / "tests" / "fakes" / "qt_watchdog.py"),)
