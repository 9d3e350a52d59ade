"""Whether there is a panel that shows tray icons: now, later, or no longer."""

from __future__ import annotations

import sys

from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtDBus import QDBusConnection, QDBusServiceWatcher
from PySide6.QtWidgets import QSystemTrayIcon

WATCHER_NAME = "org.kde.StatusNotifierWatcher"
SETTLE_MS = 200  # a panel takes its name first and is ready a moment later
LOOK_INTERVAL_MS = 5000  # for panels of the older kind (XEmbed), which announce themselves to nobody; only while none


class TrayHost(QObject):
    """Says `appeared` for each panel that comes, and `vanished` when the last one is gone.

    On Linux the session bus tells; Windows and macOS always have a place, and Qt follows a restarted one there.
    """

    appeared = Signal()
    vanished = Signal()

    def __init__(self, *, platform: str = sys.platform) -> None:
        super().__init__()
        self.has_items = False  # the panel takes StatusNotifierItems, not icons of the older kind
        self._is_there = False
        self._watcher: QDBusServiceWatcher | None = None
        self._settle = QTimer(self, singleShot=True, interval=SETTLE_MS)
        self._settle.timeout.connect(self._announce)
        self._look_timer = QTimer(self, interval=LOOK_INTERVAL_MS)
        self._look_timer.timeout.connect(self._look)
        if platform.startswith("linux"):
            self._watch_bus()

    def start(self) -> None:
        self._look()

    def _watch_bus(self) -> None:
        bus = QDBusConnection.sessionBus()
        if not bus.isConnected():
            return
        mode = QDBusServiceWatcher.WatchModeFlag.WatchForOwnerChange
        self._watcher = QDBusServiceWatcher(WATCHER_NAME, bus, mode, self)
        self._watcher.serviceRegistered.connect(lambda _: self._settle.start())
        self._watcher.serviceUnregistered.connect(lambda _: self._look())

    def _look(self) -> None:
        is_there = QSystemTrayIcon.isSystemTrayAvailable()
        if is_there and not self._is_there:
            self._announce()
        elif not is_there and self._is_there:
            self._is_there = False
            self.vanished.emit()
        if is_there:
            self._look_timer.stop()
        elif not self._look_timer.isActive():
            self._look_timer.start()

    def _announce(self) -> None:
        self._is_there = QSystemTrayIcon.isSystemTrayAvailable()
        if self._is_there:
            self.has_items = self._is_watcher_there()
            self._look_timer.stop()
            self.appeared.emit()

    def _is_watcher_there(self) -> bool:
        if self._watcher is None:
            return False
        return bool(self._watcher.connection().interface().isServiceRegistered(WATCHER_NAME).value())
