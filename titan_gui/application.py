"""Qt's application object: its names, the desktop's theme, and "quit" as the system says it."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QApplication

from titan_gui.qt_imports import skip_source_reading
from titan_gui.system_theme import SystemTheme

DESKTOP_FILE_NAME = "titancompute"  # of the .desktop file: Wayland finds the window's icon through it


class DesktopApplication(QApplication):
    """Qt's own answer to the system's "quit" (dock, menu bar, Windows) is to close windows and end; ours is `on_quit`,
    which ends in order."""

    def __init__(self, arguments: list[str]) -> None:
        super().__init__(arguments)
        skip_source_reading()
        self.setApplicationName("TitanCompute")
        self.setApplicationDisplayName("TitanCompute")
        self.setDesktopFileName(DESKTOP_FILE_NAME)
        self.setQuitOnLastWindowClosed(False)
        self._theme = SystemTheme(self)
        self.on_quit: Callable[[], None] | None = None

    def event(self, event: QEvent) -> bool:
        if event.type() is QEvent.Type.Quit and self.on_quit is not None:
            self.on_quit()
            event.ignore()
            return True
        return super().event(event)
