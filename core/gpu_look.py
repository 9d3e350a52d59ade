"""Look whether somebody else uses the graphics card, where its driver can't tell while we serve: in a gap that is made.

A driver that doesn't split a card's use by program tells it only while our engine is quiet. Sessions that follow each
other without a gap would hide a game for ever. So, once it has been unknown for the owner's time, new sessions are held
back until the running ones have ended by themselves, and for the two seconds after that in which the card is looked at;
whoever comes in these two seconds waits and begins right afterwards. If others do use it, nobody begins until the
owner's rule holds, or another look says otherwise.

What it costs is bounded: free slots are left empty for WAIT_S at most (then it gives up, and the use stays unknown),
and for a tenth of the time all in all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from core.config_rules import RuleFields
from core.logs import get_logger
from core.reasons import ReasonBook
from core.reasons.of_rules import gpu_look
from core.sessions import Admission
from core.signals import GpuUse, Unknown
from core.signals.gpu_use import SETTLE_S

log = get_logger(__name__)

WAIT_S = 30.0  # with a free slot, for sessions that still run
QUIET_S = 3.0  # without any session, until the card has been read
MARGIN_S = 0.1  # the engine counts as quiet SETTLE_S after its last work
CONFIRM_S = 5.0  # beside the time for which others must use the card before the rule holds,
MOST_CONFIRM_S = 30.0  # and of that no more than so long: a rule that wants longer goes by several looks
REST_SHARE = 9.0  # nothing is held back again for so many times what the last look took
STEP_S = 0.5


class GpuLook:
    """All on the loop thread. `step` is called with each sample and at each change of the sessions."""

    def __init__(
        self,
        *,
        admission: Admission,
        reasons: ReasonBook,
        use: Callable[[], GpuUse | Unknown],
        settings: Callable[[], RuleFields],
        sample: Callable[[], Awaitable[None]],
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`use` is what the rule sees of others' use now; `sample` reads the machine now, and what it tells comes to
        `use` before it returns.
        """
        self._admission = admission
        self._reasons = reasons
        self._use = use
        self._settings = settings
        self._sample = sample
        self._monotonic = monotonic
        self._sleep = sleep
        self._unknown_since: float | None = None
        self._rests_until = float("-inf")
        self.is_holding = False
        self._held_since: float | None = None  # since when a slot that is free is withheld
        self._task: asyncio.Task[None] | None = None

    def step(self) -> None:
        """Begin, go on, or give up."""
        now = self._monotonic()
        if self._task is not None:
            return
        if not self.is_holding:
            if not self._is_due(now):
                return
            self.is_holding = True
            self._admission.hold()
        if self._is_pointless():
            self._end()
        else:
            self._wait(now)

    async def close(self) -> None:
        if (task := self._task) is not None:
            task.cancel()
            await asyncio.wait([task])

    def _is_due(self, now: float) -> bool:
        use = self._use()
        if not isinstance(use, Unknown) or not use.is_own_work:
            self._unknown_since = None
            return False
        if self._unknown_since is None:
            self._unknown_since = now
        if self._is_pointless() or "model_loading" in self._reasons:
            return False
        return now - self._unknown_since >= self._settings().gpu_look_after_s and now >= self._rests_until

    def _is_pointless(self) -> bool:
        """The owner wants none, or the door is closed anyway."""
        return not self._settings().gpu_look_after_s or self._reasons.is_blocked

    def _wait(self, now: float) -> None:
        """For the running sessions' end. While no slot is free nothing is withheld, and it may take its time."""
        running = self._admission.running_jobs
        if running and running >= self._admission.max_jobs:
            return
        if self._held_since is None:
            self._held_since = now
        if not running:
            self._admission.hold(room=self._admission.max_jobs)
            self._reasons.put(gpu_look())
            self._task = asyncio.get_running_loop().create_task(self._look(), name="gpu-look")
            self._task.add_done_callback(self._on_looked)
        elif now - self._held_since >= WAIT_S:
            log.info("others' use of the graphics card stays unknown: sessions ran on")
            self._end()
        else:
            self._reasons.put(gpu_look(is_waiting=True))

    async def _look(self) -> None:
        """The engine is quiet from now on, but for the owner's own test."""
        ends_at = self._monotonic() + QUIET_S
        await self._sleep(SETTLE_S + MARGIN_S)
        while True:
            await self._sample()
            if not isinstance(self._use(), Unknown) or self._monotonic() + STEP_S > ends_at:
                break
            await self._sleep(STEP_S)
        use = self._use()
        found = "it could not be told" if isinstance(use, Unknown) else f"{use.percent:.0f} % by others"
        log.info("looked whether others use the graphics card", found=found)
        if not self._is_used():
            return
        self._admission.hold()  # nobody is promised a place any more
        self._reasons.put(gpu_look(is_used=True))
        ends_at = self._monotonic() + min(self._settings().gpu_others_for_s, MOST_CONFIRM_S) + CONFIRM_S
        while self._is_used() and not self._is_told() and self._monotonic() < ends_at:
            await self._sleep(STEP_S)

    def _is_told(self) -> bool:
        """The rule holds, or something else closes the door."""
        return "gpu_in_use" in self._reasons or self._is_pointless()

    def _is_used(self) -> bool:
        use = self._use()
        return isinstance(use, GpuUse) and use.percent > self._settings().gpu_others_percent

    def _on_looked(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if task.cancelled():
            return
        if (bug := task.exception()) is not None:
            log.error("looking at the graphics card failed", exc_info=bug)
        if not isinstance(self._use(), Unknown):
            self._unknown_since = None
        self._end()

    def _end(self) -> None:
        now = self._monotonic()
        held_s = now - self._held_since if self._held_since is not None else 0.0
        log.info("new sessions begin again", held_s=round(held_s, 1))
        self._rests_until = now + REST_SHARE * held_s
        self.is_holding, self._held_since = False, None
        self._reasons.drop("gpu_look")
        self._admission.release()
