"""The bridge's signals and intents without a thread behind them: records what was asked, answers when told to."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QObject, Signal

from core.config_load import LoadedSettings
from core.snapshot import AgentSnapshot


class FakeBridge(QObject):
    """Keeps the signals of titan_gui.bridge.AgentBridge."""

    snapshot_changed = Signal(object)
    command_finished = Signal(str, object)
    command_failed = Signal(str, object)
    agent_started = Signal()
    agent_ended = Signal(object)
    window_requested = Signal(str)  # the page to show, "" for the last one

    def __init__(self) -> None:
        super().__init__()
        self.is_running = True
        self.snapshot = AgentSnapshot()
        self.commands: list[tuple[str, dict[str, str]]] = []
        self.restarts: list[LoadedSettings] = []

    def command(self, name: str, arguments: Mapping[str, str] | None = None) -> None:
        self.commands.append((name, dict(arguments or {})))

    def restart(self, loaded: LoadedSettings) -> None:
        self.restarts.append(loaded)

    def start(self, loaded: LoadedSettings) -> None:
        self.restarts.append(loaded)
