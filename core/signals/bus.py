"""One connection to a D-Bus bus, made when it is first needed and made again when it broke. Lives on the loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dbus_fast import Message
    from dbus_fast.aio import MessageBus

RETRY_S = 10.0  # how often a bus that isn't there is looked for again
_NOBODY = frozenset(
    f"org.freedesktop.DBus.Error.{name}"
    for name in (
        "ServiceUnknown", "NameHasNoOwner", "UnknownMethod", "UnknownObject", "UnknownInterface", "UnknownProperty",
        "NotSupported", "InvalidArgs",
    )
)  # fmt: skip
_SYSTEM_SOCKET = "/run/dbus/system_bus_socket"
Body = tuple[Any, ...]


class BusProblem(Exception):
    """It can't be asked; the text goes behind a colon in a sentence."""


class NobodyThere(BusProblem):
    """Nobody on the bus answers to that: this desktop doesn't have it."""


def session_address(environ: Mapping[str, str]) -> str:
    """Where the session's bus listens; "" where this user has none (a service without a login, say)."""
    address = environ.get("DBUS_SESSION_BUS_ADDRESS", "")
    if address:
        return address
    folder = environ.get("XDG_RUNTIME_DIR", "")
    return f"unix:path={folder}/bus" if folder and Path(folder, "bus").exists() else ""


def system_address(environ: Mapping[str, str]) -> str:
    address = environ.get("DBUS_SYSTEM_BUS_ADDRESS", "")
    return address or (f"unix:path={_SYSTEM_SOCKET}" if Path(_SYSTEM_SOCKET).exists() else "")


class Bus:
    """Ask programs on one bus, and hear their signals. No method has a time limit: see core/signals/guard.py.

    dbus-fast (4 MB) is imported with the first connection, so not on a machine without a bus.
    """

    def __init__(self, label: str, address: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`label` is "session" or "system"; `address` "" means that there is none."""
        self._label = label
        self._address = address
        self._clock = clock
        self._bus: MessageBus | None = None
        self._connecting = asyncio.Lock()
        self._retry_at = float("-inf")
        self._trouble = ""
        self._listeners: dict[tuple[str, str, str, str], Callable[[Body], None]] = {}

    async def call(self, name: str, path: str, interface: str, member: str, signature: str = "", *body: Any) -> Body:
        """What `member` answers. Starts no program: one that isn't running raises NobodyThere. Raises BusProblem."""
        bus = await self._connected()
        return await self._call_on(bus, name, path, interface, member, signature, body)

    async def get_property(self, name: str, path: str, interface: str, prop: str) -> Any:
        (variant,) = await self.call(name, path, "org.freedesktop.DBus.Properties", "Get", "ss", interface, prop)
        return variant.value

    async def listen(
        self, name: str, path: str, interface: str, member: str, on_signal: Callable[[Body], None]
    ) -> None:
        """Hear a signal from now on, also over a new connection. Raises BusProblem while there is no bus."""
        key = (name, path, interface, member)
        is_new = key not in self._listeners
        self._listeners[key] = on_signal
        had_connection = self._bus is not None and self._bus.connected
        bus = await self._connected()
        if is_new and had_connection:
            await self._match(bus, key)

    async def close(self) -> None:
        if self._bus is not None:
            bus, self._bus = self._bus, None
            bus.disconnect()
            with contextlib.suppress(OSError, EOFError):  # the bus has ended before us
                await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]

    async def _connected(self) -> MessageBus:
        async with self._connecting:
            if self._bus is not None and self._bus.connected:
                return self._bus
            if not self._address:
                raise NobodyThere(f"there is no {self._label} bus")
            if self._clock() < self._retry_at:
                raise BusProblem(self._trouble)
            await self.close()
            self._retry_at = self._clock() + RETRY_S
            self._trouble = f"the {self._label} bus does not answer"
            self._bus = bus = await self._connect()
            for key in self._listeners:
                await self._match(bus, key)
            self._retry_at = float("-inf")
            return bus

    async def _connect(self) -> MessageBus:
        from dbus_fast import AuthError, InvalidAddressError
        from dbus_fast.aio import MessageBus

        try:
            bus = await MessageBus(bus_address=self._address).connect()
        except (OSError, EOFError, AuthError, InvalidAddressError) as error:
            self._trouble = f"the {self._label} bus can't be reached"
            raise BusProblem(self._trouble) from error
        bus.add_message_handler(self._on_message)
        return bus

    async def _match(self, bus: MessageBus, key: tuple[str, str, str, str]) -> None:
        name, path, interface, member = key
        rule = f"type='signal',sender='{name}',path='{path}',interface='{interface}',member='{member}'"
        daemon = "org.freedesktop.DBus"
        await self._call_on(bus, daemon, "/org/freedesktop/DBus", daemon, "AddMatch", "s", (rule,))

    async def _call_on(
        self, bus: MessageBus, name: str, path: str, interface: str, member: str, signature: str, body: Body
    ) -> Body:
        from dbus_fast import Message, MessageFlag, MessageType

        message = Message(
            destination=name, path=path, interface=interface, member=member, signature=signature, body=list(body),
            flags=MessageFlag.NO_AUTOSTART,
        )  # fmt: skip
        try:
            reply = await bus.call(message)
        except (OSError, EOFError) as error:
            raise BusProblem(f"the {self._label} bus is away") from error
        if reply.message_type is MessageType.ERROR:
            if reply.error_name in _NOBODY:
                raise NobodyThere(f"{name} is not there")
            raise BusProblem(f"{name} answers with {reply.error_name}")
        return tuple(reply.body)

    def _on_message(self, message: Message) -> None:
        from dbus_fast import MessageType

        # One that is sent to us alone passes by the match rules, and so may come from anybody.
        if message.message_type is not MessageType.SIGNAL or message.destination:
            return
        for (_, path, interface, member), on_signal in self._listeners.items():
            if (message.path, message.interface, message.member) == (path, interface, member):
                on_signal(tuple(message.body))
