"""A desktop's notification server on a session bus, without a screen.

It keeps the real contract (specifications.freedesktop.org/notification, 1.2).
Numbers from 1 on, replaced in place, signals for clicks and closings.
"""

# No `from __future__ import annotations`: dbus-fast reads the D-Bus signatures from the annotations' values.
import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from dbus_fast import DBusError
from dbus_fast.annotations import DBusInt32, DBusSignature, DBusStr, DBusUInt32
from dbus_fast.service import ServiceInterface, dbus_method, dbus_signal

from tests.fakes.bus_service import BusService
from tests.fakes.sni_watcher import plain

NAME = "org.freedesktop.Notifications"
PATH = "/org/freedesktop/Notifications"
USUAL = ("actions", "body", "body-markup", "icon-static", "persistence")
DISMISSED = 2  # by the person
LIMIT_S = 20.0


@dataclass(frozen=True)
class Shown:
    number: int
    replaced: int  # 0: none
    program: str
    icon: str
    title: str
    body: str
    actions: list[str]
    hints: dict[str, Any]


class _Interface(ServiceInterface):
    def __init__(self, capabilities: Sequence[str], on_shown: Callable[[], None]) -> None:
        super().__init__(NAME)
        self.capabilities = list(capabilities)
        self.shown: list[Shown] = []
        self.refuses = False
        self.stopped: asyncio.Event | None = None  # hangs until set
        self._on_shown = on_shown

    @dbus_method()
    def GetCapabilities(self) -> Annotated[list[str], DBusSignature("as")]:
        return self.capabilities

    @dbus_method()
    async def Notify(
        self,
        app_name: DBusStr,
        replaces_id: DBusUInt32,
        app_icon: DBusStr,
        summary: DBusStr,
        body: DBusStr,
        actions: Annotated[list[str], DBusSignature("as")],
        hints: Annotated[dict[str, Any], DBusSignature("a{sv}")],
        expire_timeout: DBusInt32,
    ) -> DBusUInt32:
        if self.stopped is not None:
            await self.stopped.wait()
        if self.refuses:
            raise DBusError("org.freedesktop.Notifications.Error.ExcessNotificationGeneration", "too many")
        number = replaces_id or max((one.number for one in self.shown), default=0) + 1
        self.shown.append(Shown(number, replaces_id, app_name, app_icon, summary, body, actions, plain(hints)))
        self._on_shown()
        return number

    @dbus_signal()
    def NotificationClosed(self, number: int, reason: int) -> Annotated[tuple[int, int], DBusSignature("uu")]:
        return (number, reason)

    @dbus_signal()
    def ActionInvoked(self, number: int, action: str) -> Annotated[tuple[int, str], DBusSignature("us")]:
        return (number, action)


class FakeNotificationServer(BusService):
    """Use as `async with FakeNotificationServer(address) as server`; leaving takes it away, as a crash of it would."""

    def __init__(self, address: str, capabilities: Sequence[str] = USUAL) -> None:
        super().__init__(address)
        self._changed = asyncio.Event()
        self._interface = _Interface(capabilities, self._changed.set)

    async def _serve(self) -> None:
        self.bus.export(PATH, self._interface)
        await self.bus.request_name(NAME)

    @property
    def shown(self) -> list[Shown]:
        """Every message so far, the replaced ones too."""
        return self._interface.shown

    def refuse(self) -> None:
        self._interface.refuses = True

    def hang(self) -> asyncio.Event:
        """Answer nothing more until the event is set."""
        self._interface.stopped = asyncio.Event()
        return self._interface.stopped

    async def wait_shown(self, count: int = 1) -> Shown:
        """Until so many messages came in all; the last one."""
        async with asyncio.timeout(LIMIT_S):
            while len(self.shown) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.shown[-1]

    def click(self, number: int) -> None:
        """On the message itself: it is done with, too."""
        self._interface.ActionInvoked(number, "default")
        self._interface.NotificationClosed(number, DISMISSED)

    def dismiss(self, number: int) -> None:
        self._interface.NotificationClosed(number, DISMISSED)
