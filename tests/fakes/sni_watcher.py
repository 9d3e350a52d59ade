"""A panel for tray icons on a session bus: org.kde.StatusNotifierWatcher and host in one, as KDE's and GNOME's are.

Speaks the real protocols (StatusNotifierItem, com.canonical.dbusmenu) with the icons that register.
"""

# No `from __future__ import annotations`: dbus-fast reads the D-Bus signatures from the annotations' values.
import asyncio
from collections.abc import Callable
from typing import Annotated, Any

from dbus_fast import Message, MessageType, Variant
from dbus_fast.annotations import DBusBool, DBusInt32, DBusSignature, DBusStr
from dbus_fast.constants import PropertyAccess
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property, dbus_signal

from tests.fakes.bus_service import BusService

WATCHER_NAME = "org.kde.StatusNotifierWatcher"
ITEM = "org.kde.StatusNotifierItem"
MENU = "com.canonical.dbusmenu"
LIMIT_S = 20.0


def plain(value: Any) -> Any:
    """Without the variants around values."""
    if isinstance(value, Variant):
        return plain(value.value)
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value


class Entry:
    """One line of a menu, as the panel sees it."""

    def __init__(self, number: int, properties: dict[str, Any], children: list[Any]) -> None:
        self.number = number
        self.label = str(properties.get("label", "")).replace("_", "")
        self.is_enabled = bool(properties.get("enabled", True))
        self.is_visible = bool(properties.get("visible", True))
        self.children = [Entry(*child) for child in children]

    def find(self, label: str) -> "Entry | None":
        if self.label == label:
            return self
        return next((found for child in self.children if (found := child.find(label))), None)


class _Interface(ServiceInterface):
    def __init__(self, on_item: Callable[[str], None]) -> None:
        super().__init__(WATCHER_NAME)
        self._on_item = on_item
        self.items: list[str] = []

    @dbus_method()
    def RegisterStatusNotifierItem(self, service: DBusStr) -> None:
        self.items.append(service)
        self._on_item(service)
        self.StatusNotifierItemRegistered(service)

    @dbus_method()
    def RegisterStatusNotifierHost(self, service: DBusStr) -> None:
        self.StatusNotifierHostRegistered()

    @dbus_signal()
    def StatusNotifierItemRegistered(self, service: str) -> DBusStr:
        return service

    @dbus_signal()
    def StatusNotifierItemUnregistered(self, service: str) -> DBusStr:
        return service

    @dbus_signal()
    def StatusNotifierHostRegistered(self) -> None:
        return None

    @dbus_property(access=PropertyAccess.READ)
    def RegisteredStatusNotifierItems(self) -> Annotated[list[str], DBusSignature("as")]:
        return self.items

    @dbus_property(access=PropertyAccess.READ)
    def IsStatusNotifierHostRegistered(self) -> DBusBool:
        return True

    @dbus_property(access=PropertyAccess.READ)
    def ProtocolVersion(self) -> DBusInt32:
        return 0


class SniWatcher(BusService):
    """Use as `async with SniWatcher(address) as panel`; leaving takes the panel away, as a crash of it would."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self._changed = asyncio.Event()
        self.updates = 0  # signals of icons and menus so far: each is a repaint of the panel

    async def _serve(self) -> None:
        self._interface = _Interface(lambda _: self._changed.set())
        self.bus.add_message_handler(self._on_message)
        for interface in (ITEM, MENU):
            await self._call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch", "s",
                             f"type='signal',interface='{interface}'")  # fmt: skip
        self.bus.export("/StatusNotifierWatcher", self._interface)
        await self.bus.request_name(WATCHER_NAME)

    @property
    def items(self) -> list[str]:
        """The icons that registered, by bus name."""
        return self._interface.items

    async def wait_item(self) -> None:
        await self.wait_until(lambda: bool(self.items))

    async def properties(self) -> dict[str, Any]:
        """The icon's own description: Title, Status, ToolTip, IconPixmap, Menu ..."""
        reply = await self._call_item("org.freedesktop.DBus.Properties", "GetAll", "s", ITEM)
        properties: dict[str, Any] = plain(reply)
        return properties

    async def tooltip(self) -> str:
        """Title and text, one below the other."""
        parts = (await self.properties())["ToolTip"]
        return "\n".join(part for part in parts[2:] if part)

    async def menu(self) -> Entry:
        path = (await self.properties())["Menu"]
        reply = await self._call(self._name, path, MENU, "GetLayout", "iias", 0, -1, [])
        _revision, layout = plain_layout(reply)
        return layout

    async def click(self, label: str) -> None:
        """Click a line of the menu, in a submenu too. It must be there and enabled."""
        path = (await self.properties())["Menu"]
        entry = (await self.menu()).find(label)
        assert entry is not None, f"no line {label!r} in the menu"
        assert entry.is_enabled, f"{label!r} is greyed out"
        assert entry.is_visible, f"{label!r} is hidden"
        await self._call(self._name, path, MENU, "Event", "isvu", entry.number, "clicked", Variant("s", ""), 0)

    async def left_click(self) -> None:
        await self._call_item(ITEM, "Activate", "ii", 0, 0)

    async def wait_menu(self, condition: Callable[[Entry], bool]) -> Entry:
        """The first menu for which the condition holds, looked at after each update."""
        menu = None
        try:
            async with asyncio.timeout(LIMIT_S):
                while menu is None or not condition(menu):
                    if menu is not None:
                        await self._changed.wait()
                    self._changed.clear()
                    menu = await self.menu()
        except TimeoutError:
            labels = [] if menu is None else [entry.label for entry in menu.children]
            raise AssertionError(f"the menu stayed at {labels}") from None
        return menu

    async def wait_properties(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The icon's first description for which the condition holds, looked at after each update."""
        properties: dict[str, Any] = {}
        try:
            async with asyncio.timeout(LIMIT_S):
                while not properties or not condition(properties):
                    if properties:
                        await self._changed.wait()
                    self._changed.clear()
                    properties = await self.properties()
        except TimeoutError:
            told = {name: properties.get(name) for name in ("Status", "ToolTip")}
            raise AssertionError(f"the icon stayed at {told}") from None
        return properties

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    @property
    def _name(self) -> str:
        return self.items[-1].partition("/")[0]

    async def _call_item(self, interface: str, member: str, signature: str, *body: Any) -> Any:
        return await self._call(self._name, "/StatusNotifierItem", interface, member, signature, *body)

    async def _call(self, name: str, path: str, interface: str, member: str, signature: str, *body: Any) -> Any:
        message = Message(
            destination=name, path=path, interface=interface, member=member, signature=signature, body=list(body)
        )
        async with asyncio.timeout(LIMIT_S):
            reply = await self.bus.call(message)
        assert reply is not None
        assert reply.message_type is MessageType.METHOD_RETURN, f"{member}: {reply.body}"
        return reply.body[0] if len(reply.body) == 1 else reply.body

    def _on_message(self, message: Message) -> None:
        if message.message_type is MessageType.SIGNAL and message.interface in (ITEM, MENU):
            self.updates += 1
            self._changed.set()


def plain_layout(reply: Any) -> tuple[int, Entry]:
    revision, layout = plain(reply)
    return revision, Entry(*layout)
