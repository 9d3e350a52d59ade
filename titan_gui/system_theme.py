"""Light or dark as the owner told the desktop, also where Qt hears of it but keeps the light palette.

Seen with Qt 6.11 and 6.12 on GNOME's settings portal, with and without GTK: `QStyleHints.colorScheme` turns dark, live,
and the application's palette stays light. The style knows the right palette then.
"""

from __future__ import annotations

from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QGuiApplication, QPalette
from PySide6.QtWidgets import QApplication

from titan_gui.theme import is_dark


class SystemTheme(QObject):
    """Keeps the application's palette in step with the desktop, from now on. The desktop's own palette comes first."""

    def __init__(self, application: QApplication) -> None:
        super().__init__(application)
        self._application = application
        QGuiApplication.styleHints().colorSchemeChanged.connect(self.follow)
        self.follow(QGuiApplication.styleHints().colorScheme())

    def follow(self, scheme: Qt.ColorScheme) -> None:
        """Take the style's palette where the desktop's own one contradicts the scheme; else the desktop's own."""
        self._application.setPalette(QPalette())
        if scheme is Qt.ColorScheme.Unknown:
            return
        wanted = scheme is Qt.ColorScheme.Dark
        palette = self._application.style().standardPalette()
        if is_dark(self._application.palette()) != wanted and is_dark(palette) == wanted:
            self._application.setPalette(palette)
