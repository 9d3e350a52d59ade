"""Whether the network costs the owner by the megabyte: a phone's hotspot, a mobile line."""

from __future__ import annotations

import sys

from core.signals import BusProbe, SignalProbe, Unknown
from core.signals.bus import Bus, BusProblem, NobodyThere
from core.signals.not_told import NotTold
from core.signals.windows_network import WindowsMetered

NAME = "is_metered"
_NETWORK_MANAGER = "org.freedesktop.NetworkManager"
# NMMetered (NetworkManager's D-Bus types): 1 yes, 3 guessed yes; 2 no, 4 guessed no; 0 unknown.
_METERED = {1: True, 2: False, 3: True, 4: False}


def metered_probe(system_bus: Bus, *, system: str = sys.platform) -> SignalProbe[bool] | BusProbe[bool]:
    """The one that fits this machine. `system` is a sys.platform value."""
    if system == "win32":
        return WindowsMetered()
    if system == "darwin":
        return NotTold(NAME, "macOS doesn't tell other programs whether this network is metered.")
    return BusMetered(system_bus)


class BusMetered:
    """What NetworkManager says."""

    name = NAME

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def read(self) -> bool | Unknown:
        try:
            value = await self._bus.get_property(
                _NETWORK_MANAGER, "/org/freedesktop/NetworkManager", _NETWORK_MANAGER, "Metered"
            )
        except NobodyThere:
            return Unknown("Without NetworkManager nothing tells whether this network is metered.")
        except BusProblem as problem:
            return Unknown(f"Whether this network is metered isn't known: {problem}.")
        return _METERED.get(value, Unknown("NetworkManager can't tell whether this network is metered."))
