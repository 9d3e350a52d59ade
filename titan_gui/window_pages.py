"""Which pages the window has, and what their intents do: the only place where pages meet the running program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from titan_gui.main_window import MainWindow

if TYPE_CHECKING:
    from titan_gui.app import Desktop


def add_pages(window: MainWindow, desktop: Desktop) -> None:
    """Fill the window when it opens for the first time. Heavy imports (pages, charts) are made in here, not at start.

    `desktop` has what pages ask for: `bridge` (snapshots and commands), `loaded` (the settings as they are),
    `use_settings` (they have changed), `start_agent`, `pause`, `autostart`, `open_window("page")`, `quit`.
    """
