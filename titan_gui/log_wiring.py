"""The log page, the log file and the diagnostics, connected; whatever reads or writes is off the Qt thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, qVersion

from core.config_load import LoadedSettings
from core.errors import AgentError
from core.log_follower import LogFollower
from core.paths import ProfilePaths
from core.snapshot import AgentSnapshot
from titan_gui.background import Background
from titan_gui.log_lines import LogLine, read_line
from titan_gui.pages.log import MAX_LINES, LogPage
from titan_gui.remedies import error_text
from titan_gui.widgets.diagnostics_dialog import DiagnosticsDialog

if TYPE_CHECKING:
    from core.doctor import Report

CHECKS_LIMIT_S = 8.0


class LogWiring(QObject):
    """`loaded` and `snapshot` give what holds now."""

    def __init__(
        self,
        page: LogPage,
        *,
        loaded: Callable[[], LoadedSettings],
        snapshot: Callable[[], AgentSnapshot],
        background: Background | None = None,
    ) -> None:
        super().__init__(page)
        self._page, self._loaded, self._snapshot = page, loaded, snapshot
        self._background = background or Background(self)
        self._follower = LogFollower(loaded().paths.log_file)
        self._is_begun = False
        page.lines_requested.connect(self._on_lines_requested)
        page.diagnostics_requested.connect(self._on_diagnostics_requested)

    def _on_lines_requested(self) -> None:
        read, self._is_begun = (self._read_new if self._is_begun else self._read_last), True
        self._background.run(read, self._page.show_lines, self._on_failed)

    def _on_diagnostics_requested(self) -> None:
        self._page.save_button.setEnabled(False)
        loaded, snapshot = self._loaded(), self._snapshot()
        self._background.run(lambda: make_report(loaded, snapshot), self._on_report_made, self._on_failed)

    def _on_report_made(self, report: str) -> None:
        self._page.save_button.setEnabled(True)
        dialog = DiagnosticsDialog(report, self._page)
        dialog.save_requested.connect(self._on_save_requested)
        dialog.open()

    def _on_save_requested(self, path: str, text: str) -> None:
        def save() -> None:
            from core.atomic_file import write_atomically

            write_atomically(Path(path), text.encode("utf-8", "replace"), mode=0o600)

        self._background.run(save, lambda _: self._page.show_saved(path), self._on_failed)

    def _on_failed(self, error: AgentError) -> None:
        self._page.save_button.setEnabled(True)
        self._page.show_problem(f"{error.title}: {error_text(error)}")

    # On the worker thread

    def _read_last(self) -> tuple[LogLine, ...]:
        return tuple(map(read_line, self._follower.last(MAX_LINES)))

    def _read_new(self) -> tuple[LogLine, ...]:
        return tuple(map(read_line, self._follower.new()))


def make_report(loaded: LoadedSettings, snapshot: AgentSnapshot) -> str:
    """Read what the report holds, and write it. Blocks for some seconds at most. Raises StorageError."""
    from titan_gui.diagnostics import MAX_LOG_LINES, collect_facts, report_of  # 25 ms, only when asked for

    lines = LogFollower(loaded.paths.log_file).last(MAX_LOG_LINES)
    return report_of(collect_facts(qVersion()), loaded, snapshot, lines, _checks(loaded.paths))


def _checks(paths: ProfilePaths) -> tuple[Report, ...]:
    """The checks of the machine only: those of engine and network take long, and may start a child process."""

    from core.doctor import examine
    from core.doctor_machine import machine_checks

    async def run() -> tuple[Report, ...]:
        async with asyncio.timeout(CHECKS_LIMIT_S):
            return await examine(machine_checks(paths))

    try:
        return asyncio.run(run())
    except TimeoutError:
        return ()
