"""Whether the engine's child still works: it answers, or it is seen to be busy. One that is stuck does neither."""

from __future__ import annotations

import time
from collections.abc import Callable

from core.engines.supervisor import RunningModel
from core.errors import EngineTimeout

# Between two answers lies one step of a prompt, which takes a big model on a slow processor longer than a check waits.
WORKING_CPU_S = 0.25  # used while a check waited its 5 s: a child that is stopped, or waits for a lock, uses none
BUSY_LIMIT_S = 180.0  # longer than any prompt may take (first_token_timeout_s): then it turns in circles


def process_cpu_s(pid: int) -> float:
    """Seconds of processor time that a process has used; 0 when it is gone."""
    import psutil

    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


class LivenessCheck:
    """Asks the child something that goes through its work queue."""

    def __init__(
        self, *, cpu_s: Callable[[int], float] = process_cpu_s, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._cpu_s = cpu_s
        self._monotonic = monotonic
        self._busy: tuple[RunningModel, float] | None = None  # a child that didn't answer, and since when

    async def is_working(self, running: RunningModel, base_url: str) -> bool:
        """False when it doesn't answer within 5 s and does nothing either. Raises EngineError: it can't be asked."""
        from core.engines.http import EngineHttp  # aiohttp: not before a child runs

        http = EngineHttp(
            base_url,
            engine="The embedded engine",
            remedy="It is started again by itself.",
            headers={"Authorization": f"Bearer {running.process.api_key}"},
        )
        pid, now = running.process.pid, self._monotonic()
        used_before_s = self._cpu_s(pid)
        try:
            await http.call("GET", "/metrics")
        except EngineTimeout:
            if self._cpu_s(pid) - used_before_s < WORKING_CPU_S:
                return False
            if self._busy is None or self._busy[0] is not running:
                self._busy = (running, now)
            return self._monotonic() - self._busy[1] < BUSY_LIMIT_S
        finally:
            await http.close()
        self._busy = None
        return True
