"""The rules page, the settings files and the running agent, connected."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject

from core.config_load import LoadedSettings
from core.errors import AgentError
from core.signals.processes import PsutilTable
from titan_gui.background import Background
from titan_gui.bridge import AgentBridge
from titan_gui.pages.rules import RulesPage
from titan_gui.settings_files import SettingsFiles
from titan_gui.settings_wiring import APPLY


def running_programs() -> list[str]:
    """Names of the programs that run and whose file the system tells, each once, in alphabetical order. Blocks."""
    table = PsutilTable()
    programs = (table.program(pid) for pid in table.pids())
    names = {program.name for program in programs if program is not None and program.path and program.name.strip()}
    return sorted(names, key=str.lower)


class RulesWiring(QObject):
    """A change → written off the Qt thread, as on the settings page, whose wiring then tells the agent."""

    def __init__(
        self,
        page: RulesPage,
        files: SettingsFiles,
        bridge: AgentBridge,
        *,
        list_programs: Callable[[], list[str]] = running_programs,
    ) -> None:
        super().__init__(page)
        self._page, self._files, self._list_programs = page, files, list_programs
        self._is_applying = False
        self._background = Background(self)
        page.save_requested.connect(self._on_save_requested)
        page.running_requested.connect(self._on_running_requested)
        files.loaded.connect(self._on_loaded)
        files.saved.connect(page.show_saved)
        bridge.command_finished.connect(self._on_command_finished)
        bridge.command_failed.connect(self._on_command_failed)
        page.show_settings(files.current)

    def _on_save_requested(self, changes: dict[str, str | None]) -> None:
        self._is_applying = True
        self._files.save(changes, failed=self._on_save_failed)

    def _on_save_failed(self, error: AgentError) -> None:
        self._is_applying = False
        self._page.show_error(error)

    def _on_loaded(self, loaded: LoadedSettings) -> None:
        self._page.show_settings(loaded)

    def _on_command_finished(self, name: str) -> None:
        if name == APPLY:
            self._is_applying = False

    def _on_command_failed(self, name: str, error: AgentError) -> None:
        """The file is written, and the agent that runs couldn't take it."""
        if name == APPLY and self._is_applying:
            self._is_applying = False
            self._page.show_error(error)

    def _on_running_requested(self) -> None:
        self._background.run(self._list_programs, self._page.show_running, lambda _: self._page.show_running([]))
