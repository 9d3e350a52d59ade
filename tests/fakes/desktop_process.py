"""`titan-desktop` as a child process, watched like `titan run`: through its log, its door and the panel."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tests.fakes.agent_process import ROOT, AgentProcess
from tests.fakes.session_bus import SessionBus


class DesktopProcess(AgentProcess):
    """Setup is done unless the environment says otherwise."""

    program: Sequence[str] = ("-m", "titan_gui")

    def __init__(self, home: Path, session: SessionBus, *arguments: str, **environ: str) -> None:
        # Without messages unless a test is about them: each one makes the tray a new icon, in the middle of a click.
        quiet = {"TITAN_SETUP_DONE": "true", "TITAN_LOG_FORMAT": "json", "TITAN_NOTIFICATIONS": "false"}
        super().__init__(home, *arguments, **{**quiet, **session.environ, **environ})

    def processor_seconds(self) -> float:
        """What it has used so far, all threads together."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class WatchedDesktopProcess(DesktopProcess):
    """With a watchdog in it; what it measured stands in the log after the end, as the event "qt watchdog"."""

    program = (str(ROOT / "tests" / "fakes" / "qt_watchdog.py"),)
