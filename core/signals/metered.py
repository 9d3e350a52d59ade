"""Whether the network costs the owner by the megabyte: a phone's hotspot, a mobile line."""

from __future__ import annotations

from core.signals import Unknown
from core.signals.bus import Bus, BusProblem, NobodyThere

_NETWORK_MANAGER = "org.freedesktop.NetworkManager"
# NMMetered (NetworkManager's D-Bus types): 1 yes, 3 guessed yes; 2 no, 4 guessed no; 0 unknown.
_METERED = {1: True, 2: False, 3: True, 4: False}


class Metered:
    """What NetworkManager says, so that an agent without a window knows it too; else what was handed in."""

    name = "is_metered"

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._handed_in: bool | None = None

    def hand_in(self, is_metered: bool | None) -> None:
        """What the window hears from its system (QNetworkInformation); None: it isn't told there either."""
        self._handed_in = is_metered

    async def read(self) -> bool | Unknown:
        try:
            value = await self._bus.get_property(
                _NETWORK_MANAGER, "/org/freedesktop/NetworkManager", _NETWORK_MANAGER, "Metered"
            )
            if value in _METERED:
                return _METERED[value]
            cause = "NetworkManager can't tell whether this network is metered."
        except NobodyThere:
            cause = "Without NetworkManager nothing tells whether this network is metered."
        except BusProblem as problem:
            cause = f"Whether this network is metered isn't known: {problem}."
        return Unknown(cause) if self._handed_in is None else self._handed_in
