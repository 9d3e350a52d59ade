"""What a Linux desktop tells on its buses, as far as the rules ask for it: the real names, paths and types.

Mutter's and KDE's idle time on the session bus; NetworkManager and logind on the system bus.
"""

# No `from __future__ import annotations`: dbus-fast reads the D-Bus signatures from the annotations' values.
import asyncio
from typing import Annotated

from dbus_fast import Message, MessageType
from dbus_fast.annotations import DBusBool, DBusObjectPath, DBusSignature, DBusUInt32
from dbus_fast.constants import PropertyAccess
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property, dbus_signal

from tests.fakes.bus_service import BusService

DAEMON = "org.freedesktop.DBus"


class MutterIdle(ServiceInterface):
    """GNOME. `idle_ms` is what it answers."""

    bus_name, path = "org.gnome.Mutter.IdleMonitor", "/org/gnome/Mutter/IdleMonitor/Core"

    def __init__(self) -> None:
        super().__init__("org.gnome.Mutter.IdleMonitor")
        self.idle_ms = 0

    @dbus_method()
    def GetIdletime(self) -> Annotated[int, DBusSignature("t")]:
        return self.idle_ms


class ScreenSaver(ServiceInterface):
    """KDE. `idle_ms` None is what GNOME has under this name: a service without that method."""

    bus_name, path = "org.freedesktop.ScreenSaver", "/org/freedesktop/ScreenSaver"

    def __init__(self) -> None:
        super().__init__("org.freedesktop.ScreenSaver")
        self.idle_ms = 0
        self.hold: asyncio.Event | None = None

    @dbus_method()
    async def GetSessionIdleTime(self) -> DBusUInt32:
        if self.hold is not None:  # a program that hangs, until it doesn't
            await self.hold.wait()
        return self.idle_ms


class NetworkManager(ServiceInterface):
    """`metered` is an NMMetered, `connection` the path of the one over which the internet is reached; "/": none."""

    bus_name, path = "org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager"

    def __init__(self) -> None:
        super().__init__("org.freedesktop.NetworkManager")
        self.metered = 0
        self.connection = "/org/freedesktop/NetworkManager/ActiveConnection/1"

    @dbus_property(access=PropertyAccess.READ)
    def Metered(self) -> DBusUInt32:
        return self.metered

    @dbus_property(access=PropertyAccess.READ)
    def PrimaryConnection(self) -> DBusObjectPath:
        return self.connection


class Login1(ServiceInterface):
    """logind, as far as it tells of sleep."""

    bus_name, path = "org.freedesktop.login1", "/org/freedesktop/login1"

    def __init__(self) -> None:
        super().__init__("org.freedesktop.login1.Manager")

    @dbus_signal()
    def PrepareForSleep(self, start: bool) -> DBusBool:
        return start


Service = MutterIdle | ScreenSaver | NetworkManager | Login1


class Served(BusService):
    """Use as `async with Served(address, service, ...)`; leaving takes the services off the bus."""

    def __init__(self, address: str, *services: Service) -> None:
        super().__init__(address)
        self._services = services

    async def _serve(self) -> None:
        for service in self._services:
            self.bus.export(service.path, service)
            await self.bus.request_name(service.bus_name)

    async def say_to(self, destination: str, *, going_to_sleep: bool) -> None:
        """logind's signal, sent to one program only."""
        await self.bus.send(
            Message(
                message_type=MessageType.SIGNAL, destination=destination, path=Login1.path, signature="b",
                interface=f"{Login1.bus_name}.Manager", member="PrepareForSleep", body=[going_to_sleep],
            )
        )  # fmt: skip

    async def sent(self) -> None:
        """Until the bus has taken everything that was sent before."""
        await self.bus.call(Message(destination=DAEMON, path="/org/freedesktop/DBus", interface=DAEMON, member="GetId"))
