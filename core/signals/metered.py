"""Whether the network costs the owner by the megabyte: a phone's hotspot, a mobile line."""

from __future__ import annotations

import sys
from typing import cast

from core.signals import BusProbe, SignalProbe, Unknown
from core.signals.bus import Bus, BusProblem, NobodyThere
from core.signals.mac_network import MacMetered
from core.signals.windows_network import WindowsMetered

NAME = "is_metered"
_NETWORK_MANAGER, _PATH = "org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager"
# NMMetered (NetworkManager's D-Bus types): 1 yes, 3 guessed yes; 2 no, 4 guessed no; 0 unknown.
_METERED = {1: True, 2: False, 3: True, 4: False}


def metered_probe(system_bus: Bus, *, system: str = sys.platform) -> SignalProbe[bool] | BusProbe[bool]:
    """The one that fits this machine. `system` is a sys.platform value."""
    if system == "win32":
        return WindowsMetered()
    if system == "darwin":
        return MacMetered()
    return BusMetered(system_bus)


class BusMetered:
    """What NetworkManager says."""

    name = NAME

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def read(self) -> bool | Unknown:
        try:
            value = await self._ask("Metered")
            if value not in _METERED and await self._ask("PrimaryConnection") == "/":
                return Unknown("No network is connected.", is_no_loss=True)
        except NobodyThere:
            return Unknown("Without NetworkManager nothing tells whether this network is metered.")
        except BusProblem as problem:
            return Unknown(f"Whether this network is metered isn't known: {problem}.")
        return _METERED.get(cast(int, value), Unknown("NetworkManager can't tell whether this network is metered."))

    async def _ask(self, name: str) -> object:
        return await self._bus.get_property(_NETWORK_MANAGER, _PATH, _NETWORK_MANAGER, name)
