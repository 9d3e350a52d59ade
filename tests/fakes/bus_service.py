"""What stands on a bus of the test's own under a name: the desktop's services by doubles."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import Self

from dbus_fast import BusType
from dbus_fast.aio import MessageBus


class BusService:
    """Use as `async with`; leaving takes it off the bus, as a crash of it would."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def __aenter__(self) -> Self:
        self.bus = await MessageBus(bus_address=self._address, bus_type=BusType.SESSION).connect()
        await self._serve()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bus.disconnect()
        with suppress(OSError, EOFError):  # the bus may have ended before
            await self.bus.wait_for_disconnect()  # type: ignore[no-untyped-call]

    async def _serve(self) -> None:
        """Export what there is and take the names."""
        raise NotImplementedError
