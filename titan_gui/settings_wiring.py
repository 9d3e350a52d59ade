"""The settings page, the files and the running agent, connected: what a change does, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from PySide6.QtCore import QObject

from core.commands import CommandOutcome
from core.config_load import LoadedSettings
from core.errors import AgentError
from titan_gui.bridge import AgentBridge
from titan_gui.pages.settings import SECRETS, SettingsPage
from titan_gui.settings_files import SettingsFiles

APPLY = "apply_settings"


class SettingsWiring(QObject):
    """Save → written off the Qt thread → the agent takes what it can → the page says what waits for a restart."""

    def __init__(
        self,
        page: SettingsPage,
        files: SettingsFiles,
        bridge: AgentBridge,
        *,
        start_agent: Callable[[], None] = lambda: None,
    ) -> None:
        """`start_agent` is asked for a restart when no agent runs."""
        super().__init__(page)
        self._start_agent = start_agent
        self._page, self._files, self._bridge = page, files, bridge
        self._secret = SECRETS[0]
        self._is_applying = False
        page.save_requested.connect(files.save)
        page.restart_requested.connect(self._on_restart_requested)
        page.secret_set_requested.connect(self._on_secret_set_requested)
        page.secret_removal_requested.connect(self._on_secret_removal_requested)
        files.loaded.connect(self._on_loaded)
        files.saved.connect(self._on_saved)
        files.save_failed.connect(page.show_error)
        files.secrets_read.connect(page.show_secrets)
        files.secret_failed.connect(lambda error: page.show_secret_error(self._secret, error))
        files.secret_noticed.connect(page.show_notice)
        bridge.command_finished.connect(self._on_command_finished)
        bridge.command_failed.connect(self._on_command_failed)
        bridge.agent_started.connect(page.show_restarted)
        page.show_settings(files.current)
        files.read_secrets()

    def _on_loaded(self, loaded: LoadedSettings) -> None:
        self._page.show_settings(loaded)

    def _on_saved(self, names: Iterable[str]) -> None:
        self._page.show_saved(names)
        if self._bridge.is_running:
            self._is_applying = True
            self._bridge.command(APPLY)

    def _on_command_finished(self, name: str, outcome: CommandOutcome) -> None:
        if name == APPLY:
            self._is_applying = False
            self._page.show_applied(_names(outcome, "applied"), _names(outcome, "restart"))
        elif name in ("offer_model", "withdraw_model", "delete_model"):
            self._files.reload()

    def _on_command_failed(self, name: str, error: AgentError) -> None:
        if name == APPLY and self._is_applying:
            self._is_applying = False
            self._page.show_error(error)

    def _on_restart_requested(self) -> None:
        if self._bridge.is_running:
            self._bridge.restart(self._files.current)
        else:
            self._start_agent()

    def _on_secret_set_requested(self, name: str, value: str) -> None:
        self._secret = name
        self._files.set_secret(name, value)

    def _on_secret_removal_requested(self, name: str) -> None:
        self._secret = name
        self._files.remove_secret(name)


def _names(outcome: CommandOutcome, key: str) -> tuple[str, ...]:
    names = outcome.result.get(key, ())
    return tuple(str(name) for name in names) if isinstance(names, Iterable) else ()
