"""Messages to the person: through the desktop's notification server on Linux, where Qt's own way keeps the tray's icon
and tooltip as they are for ten seconds; elsewhere, and where no server is, through whoever listens to `not_shown`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from PySide6.QtCore import QObject, QTimer, Signal

from core.assets_path import asset_path
from core.logs import get_logger
from core.runtime import AgentThread
from titan_gui.application import DESKTOP_FILE_NAME
from titan_gui.notification_server import NotificationError, NotificationServer, Urgency
from titan_gui.notifications import Kind, Message

log = get_logger(__name__)

# A click may come as long as a message lies in the desktop's list; and GNOME takes a message away with its connection.
KEPT_OPEN_MS = 60 * 60 * 1000
LOW = frozenset({Kind.FIRST_SESSION, Kind.RESUMED, Kind.UPDATE})


class DesktopNotifications(QObject):
    """Every method belongs to the Qt thread and returns at once. The connection and its thread are there from a message
    until the last one is gone from the screen and from the desktop's list."""

    clicked = Signal()
    not_shown = Signal(object)  # Message: no notification server took it

    _is_open = Signal()
    _delivered = Signal(object, object)  # Message, NotificationError | None
    _none_left = Signal()
    _thread_ended = Signal(object)

    def __init__(self, environ: Mapping[str, str], *, platform: str = sys.platform) -> None:
        super().__init__()
        self._address = environ.get("DBUS_SESSION_BUS_ADDRESS", "") if platform.startswith("linux") else ""
        self._waiting: list[Message] = []
        self._in_flight = 0
        self._is_ready = False  # the connection takes messages
        self._thread: AgentThread | None = None
        self._server: NotificationServer | None = None  # made and used on the thread
        self._kept_open = QTimer(self, singleShot=True, interval=KEPT_OPEN_MS)
        self._kept_open.timeout.connect(self.close)
        self._is_open.connect(self._on_open)
        self._delivered.connect(self._on_delivered)
        self._none_left.connect(self._on_none_left)
        self._thread_ended.connect(self._on_thread_ended)

    @property
    def is_connected(self) -> bool:
        return self._thread is not None

    def show(self, message: Message) -> None:
        if not self._address:
            self.not_shown.emit(message)
            return
        self._waiting.append(message)
        self._kept_open.start()
        if self._thread is None:
            self._thread = AgentThread(self._open, self._thread_ended.emit)
            self._thread.start()
        elif self._is_ready:
            self._hand_over()

    def close(self) -> None:
        """Leave the bus; the next message comes back to it."""
        self._kept_open.stop()
        self._is_ready = False
        if self._thread is not None:
            self._thread.post_stop()

    def join(self, timeout_s: float) -> bool:
        """At the end of the program; True when the thread is gone."""
        return self._thread is None or self._thread.join(timeout_s)

    # On the thread

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        self._server = server = NotificationServer(
            program="TitanCompute",
            desktop_entry=DESKTOP_FILE_NAME,
            icon_uri=asset_path("icons", "png", "titancompute-256.png").as_uri(),
            on_click=self.clicked.emit,
            on_none_left=self._none_left.emit,
        )
        try:
            await server.open(self._address)
            self._is_open.emit()
            yield
        finally:
            await server.close()

    async def _deliver(self, message: Message) -> None:
        assert self._server is not None
        problem: NotificationError | None = NotificationError("the connection was closed")
        try:
            urgency = Urgency.LOW if message.kind in LOW else Urgency.NORMAL
            await self._server.show(message.kind, message.title, message.text, urgency)
            problem = None
        except NotificationError as error:
            problem = error
        finally:
            self._delivered.emit(message, problem)

    # On the Qt thread

    def _hand_over(self) -> None:
        assert self._thread is not None
        for message in self._waiting:
            self._in_flight += 1
            self._thread.submit(self._deliver(message))
        self._waiting.clear()

    def _on_open(self) -> None:
        self._is_ready = True
        self._hand_over()

    def _on_delivered(self, message: Message, problem: NotificationError | None) -> None:
        self._in_flight -= 1
        if problem is not None:
            log.info("no notification server", problem=problem)
            self.not_shown.emit(message)
            self.close()  # the next message tries again, with a connection of its own

    def _on_none_left(self) -> None:
        if not self._in_flight and not self._waiting:
            self.close()

    def _on_thread_ended(self, error: BaseException | None) -> None:
        self._thread = None
        self._is_ready = False
        self._in_flight = 0
        waiting, self._waiting = self._waiting, []
        if error is not None:
            log.info("no session bus", problem=error)
        for message in waiting:
            if error is None:  # it came while the last connection was being closed
                self.show(message)
            else:
                self.not_shown.emit(message)
