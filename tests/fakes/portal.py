"""The desktop's own settings on a session bus, as GNOME's portal tells them: whether the owner likes it dark.

What a program that "follows the system" listens to; changing it here is what moving the switch in the system's settings
does.
"""

# No `from __future__ import annotations`: dbus-fast reads the D-Bus signatures from the annotations' values.
from typing import Annotated, Any

from dbus_fast import DBusError, Variant
from dbus_fast.annotations import DBusSignature, DBusStr, DBusUInt32, DBusVariant
from dbus_fast.constants import PropertyAccess
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property, dbus_signal

from tests.fakes.bus_service import BusService

PORTAL_NAME = "org.freedesktop.portal.Desktop"
APPEARANCE = "org.freedesktop.appearance"
PREFER_DARK, PREFER_LIGHT = 1, 2
ENVIRON = {"XDG_CURRENT_DESKTOP": "GNOME", "QT_QPA_PLATFORMTHEME": "gnome"}  # Qt asks the portal then, and not GTK


class _Settings(ServiceInterface):
    def __init__(self, *, is_dark: bool) -> None:
        super().__init__("org.freedesktop.portal.Settings")
        self.scheme = PREFER_DARK if is_dark else PREFER_LIGHT

    def _values(self) -> dict[str, dict[str, Variant]]:
        return {APPEARANCE: {"color-scheme": Variant("u", self.scheme), "contrast": Variant("u", 0)}}

    @dbus_method()
    def ReadAll(
        self, namespaces: Annotated[list[str], DBusSignature("as")]
    ) -> Annotated[dict[str, Any], DBusSignature("a{sa{sv}}")]:
        return self._values()

    @dbus_method()
    def ReadOne(self, namespace: DBusStr, key: DBusStr) -> DBusVariant:
        try:
            return self._values()[namespace][key]
        except KeyError:
            raise DBusError("org.freedesktop.portal.Error.NotFound", "Requested setting not found") from None

    @dbus_method()
    def Read(self, namespace: DBusStr, key: DBusStr) -> DBusVariant:
        return Variant("v", self.ReadOne(namespace, key))

    @dbus_signal()
    def SettingChanged(
        self, namespace: str, key: str, value: Variant
    ) -> Annotated[tuple[str, str, Variant], DBusSignature("ssv")]:
        return (namespace, key, value)

    @dbus_property(access=PropertyAccess.READ)
    def version(self) -> DBusUInt32:
        return 2


class FakePortal(BusService):
    """Use as `async with FakePortal(address) as portal`, before the program starts."""

    def __init__(self, address: str, *, is_dark: bool = False) -> None:
        super().__init__(address)
        self._settings = _Settings(is_dark=is_dark)

    async def _serve(self) -> None:
        self.bus.export("/org/freedesktop/portal/desktop", self._settings)
        await self.bus.request_name(PORTAL_NAME)

    def turn(self, *, is_dark: bool) -> None:
        """Change it for everybody who listens."""
        self._settings.scheme = PREFER_DARK if is_dark else PREFER_LIGHT
        self._settings.SettingChanged(APPEARANCE, "color-scheme", Variant("u", self._settings.scheme))
