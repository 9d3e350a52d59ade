"""Whether this machine tells how long nobody has used it: asked by the setup before the owner chooses by it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import cast

from core.signals import SignalProbe, Unknown
from core.signals.bus import Bus, session_address
from core.signals.guard import ProbeThreads, guard_bus_probe, guard_probe, read_all
from core.signals.idle import ZEROES_IN_A_ROW, BusIdle, idle_probe

ABOUT = "The desktop"  # what doesn't answer, as the owner calls it
PAUSE_S = 0.05  # between two readings; one that isn't zero ends it


async def idle_problem(
    environ: Mapping[str, str] = os.environ,
    *,
    system: str = sys.platform,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> str:
    """Why it can't be told here, in one sentence for the owner; "" when it can. Takes 2 s at the most."""
    session, threads = Bus("session", session_address(environ)), ProbeThreads()
    probe = idle_probe(session, environ, system=system)
    local: SignalProbe[float] | None = None
    if isinstance(probe, BusIdle):
        reader = guard_bus_probe(probe, ABOUT)
    else:
        local = cast(SignalProbe[float], probe)
        reader = guard_probe(local, threads, ABOUT)
    try:
        for _ in range(ZEROES_IN_A_ROW + 1):  # a desktop that always says zero tells nothing
            value = (await read_all([reader]))[reader.name]
            if isinstance(value, Unknown):
                return value.cause
            if value > 0:
                break
            await sleep(PAUSE_S)
        return ""
    finally:
        if local is not None and not reader.is_hanging:
            local.close()
        await reader.close()
        threads.close()
        await session.close()
