"""The desktop's notification server, asked over the session bus (specifications.freedesktop.org/notification, 1.2).

No Qt: an asyncio client of its own. dbus-fast (3 MB) is imported when the first message is shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from core.errors import AgentError

if TYPE_CHECKING:
    from dbus_fast import Message
    from dbus_fast.aio import MessageBus

NAME = "org.freedesktop.Notifications"
PATH = "/org/freedesktop/Notifications"
CALL_LIMIT_S = 10.0  # the bus may have to start the server first
OPEN_ACTION = "default"  # the name that the specification gives to a click on the message itself
SERVERS_OWN_TIME = -1  # how long a message stays: as the owner told the desktop


class Urgency(IntEnum):
    """The specification's levels without the third, critical: it stays until it is clicked away."""

    LOW = 0
    NORMAL = 1


class NotificationError(AgentError):
    """No server took the message."""

    title = "Message not shown"


class NotificationServer:
    """One connection. `open` it before anything else; all on one loop."""

    def __init__(
        self,
        *,
        program: str,
        desktop_entry: str,
        icon_uri: str,
        on_click: Callable[[], None],
        on_none_left: Callable[[], None],
    ) -> None:
        """`on_none_left` is called when the last message of ours was clicked, closed or has run out.

        With a `desktop_entry` some desktops take messages away when their program's connection ends.
        """
        self._program = program
        self._desktop_entry = desktop_entry
        self._icon_uri = icon_uri
        self._on_click = on_click
        self._on_none_left = on_none_left
        self._bus: MessageBus | None = None
        self._one_at_a_time = asyncio.Lock()  # the number of one message is what the next one replaces
        self._server = ""  # the connection that gave the numbers below; another one gives its own
        self._shown: dict[str, int] = {}  # kind → the server's number of its message

    async def open(self, address: str) -> None:
        """Connect to the bus. Raises NotificationError."""
        from dbus_fast import DBusFastError
        from dbus_fast.aio import MessageBus

        try:
            async with asyncio.timeout(CALL_LIMIT_S):
                self._bus = await MessageBus(bus_address=address).connect()
        except (DBusFastError, OSError, EOFError) as error:  # a TimeoutError is an OSError
            raise NotificationError(f"the session bus does not answer: {error}") from error
        self._bus.add_message_handler(self._on_message)
        rule = f"type='signal',sender='{NAME}',path='{PATH}',interface='{NAME}'"
        await self._call("AddMatch", "s", rule, name="org.freedesktop.DBus", path="/org/freedesktop/DBus")

    async def show(self, kind: str, title: str, text: str, urgency: Urgency) -> None:
        """Show a message, in the place of the last one of its kind if that is still there. Raises NotificationError."""
        from dbus_fast import Variant

        async with self._one_at_a_time:
            reply = await self._call("GetCapabilities")
            if reply.sender != self._server:
                self._server, self._shown = reply.sender or "", {}
            can = frozenset(reply.body[0])
            hints = {"urgency": Variant("y", int(urgency))}
            if self._desktop_entry:
                hints["desktop-entry"] = Variant("s", self._desktop_entry)
            reply = await self._call(
                "Notify",
                "susssasa{sv}i",
                self._program,
                self._shown.get(kind, 0),
                self._icon_uri,
                title,
                body_of(text, can),
                [OPEN_ACTION, "Open"] if "actions" in can else [],  # some servers without them open a dialog instead
                hints,
                SERVERS_OWN_TIME,
            )
            self._shown[kind] = int(reply.body[0])

    async def close(self) -> None:
        """Leave the bus. Messages that are still shown stay as long as their server wants."""
        if self._bus is not None and self._bus.connected:
            self._bus.disconnect()
            await self._bus.wait_for_disconnect()  # type: ignore[no-untyped-call]

    async def _call(self, member: str, signature: str = "", *body: Any, name: str = NAME, path: str = PATH) -> Message:
        from dbus_fast import DBusFastError, Message, MessageType

        if self._bus is None or not self._bus.connected:
            raise NotificationError("the session bus is gone")
        call = Message(destination=name, path=path, interface=name, member=member, signature=signature, body=list(body))
        try:
            async with asyncio.timeout(CALL_LIMIT_S):
                reply = await self._bus.call(call)
        except (DBusFastError, OSError, EOFError) as error:
            raise NotificationError(f"{member}: {error}") from error
        if reply is None or reply.message_type is not MessageType.METHOD_RETURN:
            raise NotificationError(f"{member}: {reply.error_name if reply is not None else 'no answer'}")
        return reply

    def _on_message(self, message: Message) -> None:
        """ActionInvoked (number, action) and NotificationClosed (number, reason); other programs' come along."""
        if message.interface != NAME or not message.body or message.body[0] not in self._shown.values():
            return
        if message.member == "ActionInvoked" and message.body[1] == OPEN_ACTION:
            self._on_click()
        elif message.member == "NotificationClosed":
            self._shown = {kind: number for kind, number in self._shown.items() if number != message.body[0]}
            if not self._shown:
                self._on_none_left()


async def show_once(address: str, title: str, text: str) -> None:
    """One message of a program that can show nothing itself, and ends. Raises NotificationError."""
    server = NotificationServer(program=title, desktop_entry="", icon_uri="", on_click=_ignore, on_none_left=_ignore)
    try:
        await server.open(address)
        await server.show("end", title, text, Urgency.NORMAL)
    finally:
        await server.close()


def _ignore() -> None:
    """Nobody is there any more to hear of a click."""


def body_of(text: str, capabilities: Iterable[str]) -> str:
    """The text so that the server shows it as it is: names of models and errors are never markup."""
    if "body-markup" not in capabilities:
        return text
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")  # html.escape loads 0.7 MB of entities
