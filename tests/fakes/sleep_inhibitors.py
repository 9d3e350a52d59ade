"""logind's inhibitors on a private bus: what is held now, told by the descriptors that it gave out, as the real one."""

# No `from __future__ import annotations`: dbus-fast reads the D-Bus signatures from the annotations' values.
import asyncio
import os
from contextlib import suppress
from types import TracebackType
from typing import Annotated, Self

from dbus_fast import DBusError, Message
from dbus_fast.aio import MessageBus
from dbus_fast.annotations import DBusSignature, DBusStr
from dbus_fast.service import ServiceInterface, dbus_method

DAEMON = "org.freedesktop.DBus"
NAME, PATH = "org.freedesktop.login1", "/org/freedesktop/login1"


class Inhibitors(ServiceInterface):
    """Use as `async with Inhibitors(address) as logind`; `held` is (what, who, why, mode) of each that holds."""

    def __init__(self, address: str) -> None:
        super().__init__(f"{NAME}.Manager")
        self._address = address
        self._readers: list[int] = []
        self._closing: list[asyncio.Task[None]] = []
        self.held: list[tuple[str, str, str, str]] = []
        self.asked = 0
        self.refuses = False
        self.changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self.bus = await MessageBus(bus_address=self._address, negotiate_unix_fd=True).connect()
        self.bus.export(PATH, self)
        await self.bus.request_name(NAME)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*self._closing)
        self.bus.disconnect()
        with suppress(OSError, EOFError):
            await self.bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
        for reader in self._readers:
            asyncio.get_running_loop().remove_reader(reader)
            os.close(reader)

    @dbus_method()
    def Inhibit(self, what: DBusStr, who: DBusStr, why: DBusStr, mode: DBusStr) -> Annotated[int, DBusSignature("h")]:
        self.asked += 1
        self.changed.set()
        if self.refuses:
            raise DBusError("org.freedesktop.DBus.Error.AccessDenied", "not for you")
        reader, writer = os.pipe()
        entry = (what, who, why, mode)
        self.held.append(entry)
        self._readers.append(reader)
        asyncio.get_running_loop().add_reader(reader, self._on_closed, reader, entry)
        self._closing.append(asyncio.create_task(self._close_ours(writer)))
        return writer

    async def _close_ours(self, writer: int) -> None:
        """Once the answer with it has been sent: the bus answers in the order in which it was asked."""
        await self.bus.call(Message(destination=DAEMON, path="/", interface=DAEMON, member="GetId"))
        os.close(writer)

    async def until(self, held: int) -> None:
        async with asyncio.timeout(10):
            while len(self.held) != held:
                self.changed.clear()
                await self.changed.wait()

    async def until_asked(self, times: int) -> None:
        async with asyncio.timeout(10):
            while self.asked < times:
                self.changed.clear()
                await self.changed.wait()

    def _on_closed(self, reader: int, entry: tuple[str, str, str, str]) -> None:
        asyncio.get_running_loop().remove_reader(reader)
        self._readers.remove(reader)
        os.close(reader)
        self.held.remove(entry)
        self.changed.set()
