"""A panel that comes and goes as a test says, and the icon that it would show."""

from __future__ import annotations

from typing import cast

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QMenu, QSystemTrayIcon

from titan_gui.tray import Tray
from titan_gui.tray_host import TrayHost


class FakeHost(TrayHost):
    """In place of a desktop: no bus, no look at the system."""

    def __init__(self, *, is_there: bool = True) -> None:
        super().__init__(platform="none")
        self.is_there = is_there

    def start(self) -> None:
        if self.is_there:
            self.appeared.emit()

    def come(self) -> None:
        self.is_there = True
        self.appeared.emit()

    def go(self) -> None:
        self.is_there = False
        self.vanished.emit()


class FakeIcon(QObject):
    """What QSystemTrayIcon is asked for. The real one warns where there is no desktop."""

    activated = Signal(object)
    messageClicked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.icons: list[QIcon] = []
        self.tooltips: list[str] = []
        self.messages: list[tuple[str, str]] = []
        self.menu: QMenu | None = None
        self.is_shown = False

    def setIcon(self, icon: QIcon) -> None:
        self.icons.append(icon)

    def setToolTip(self, text: str) -> None:
        self.tooltips.append(text)

    def setContextMenu(self, menu: QMenu) -> None:
        self.menu = menu

    def showMessage(self, title: str, text: str, icon: QIcon) -> None:
        self.messages.append((title, text))

    def show(self) -> None:
        self.is_shown = True

    def hide(self) -> None:
        self.is_shown = False


class FakePanel:
    """A tray on a fake panel; `icons` are all that it was ever given, the last one being the present one."""

    def __init__(self, *, is_there: bool = True, now: float = 1_800_000_000.0) -> None:
        self.host = FakeHost(is_there=is_there)
        self.icons: list[FakeIcon] = []
        self.now = now
        self.tray = Tray(self.host, make_icon=self._make_icon, clock=lambda: self.now)

    @property
    def icon(self) -> FakeIcon:
        return self.icons[-1]

    def _make_icon(self) -> QSystemTrayIcon:
        self.icons.append(FakeIcon())
        return cast(QSystemTrayIcon, self.icons[-1])
