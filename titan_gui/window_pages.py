"""Which pages the window has, and what their intents do: the only place where pages meet the bridge."""

from __future__ import annotations

from core.config_load import LoadedSettings
from titan_gui.bridge import AgentBridge
from titan_gui.main_window import MainWindow


def add_pages(window: MainWindow, bridge: AgentBridge, loaded: LoadedSettings) -> None:
    """Fill the window when it opens for the first time. Heavy imports (charts) are made in here, not at start."""
