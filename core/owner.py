"""What the owner did by hand: pause (for a time, or until resumed), finish then pause, resume. Survives a restart.

Acts on admission and on the reasons; memory, the coordinator and the front ends hear of it through `on_change`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from core.logs import get_logger
from core.pause_file import PauseFile, SavedPause
from core.reasons import ReasonBook
from core.reasons.of_owner import Ending, draining, paused_by_owner, paused_in_doubt
from core.sessions import Admission, EndReason

log = get_logger(__name__)

LONGEST_SLEEP_S = 30.0  # a timed pause follows the wall clock: looked at this often, in case it was set
COUNTDOWN_S = 1.0
CLOCK_STEP_S = 60.0  # more than this between the wall clock and the time that really passed: somebody set the clock
SAVE_RETRY_S = 30.0  # a full disk is tried again: the person may have made room
SAVE_LIMIT_S = 5.0  # a disk that is slower than this has failed, for whoever waits for an answer


class PauseMode(StrEnum):
    FINISH = "finish"  # running sessions may end within the owner's limit
    STOP = "stop"  # running sessions are ended at once


class OwnerControl:
    """The owner's pause. Every method returns at once; all on the loop thread."""

    def __init__(
        self,
        *,
        admission: Admission,
        reasons: ReasonBook,
        state_file: Path,
        finish_limit_s: float,
        on_change: Callable[[], None] = lambda: None,
        on_notice: Callable[[str, str], None] = lambda old, new: None,
        clock: Callable[[], float] = time.time,
        since_boot_s: Callable[[], float | None] = lambda: None,
    ) -> None:
        """`on_notice` gets (what no longer holds, what the owner should know now), "" for none.

        `since_boot_s` tells how much time really passes, sleep included, where the system tells it.
        """
        self._admission = admission
        self._reasons = reasons
        self._file = PauseFile(state_file)
        self.finish_limit_s = finish_limit_s
        self._on_change = on_change
        self._on_notice = on_notice
        self._clock = clock
        self._since_boot_s = since_boot_s
        self._ends_since_boot_s: float | None = None  # when the pause's time has really passed
        self._limit_timer: asyncio.TimerHandle | None = None
        self._countdown: asyncio.TimerHandle | None = None  # until the sentence's next second
        self._resume_timer: asyncio.TimerHandle | None = None
        self._drain_task: asyncio.Task[None] | None = None
        self._saving: asyncio.Future[str] | None = None  # its result: why it is not on disk, "" when it is
        self._not_kept = ""  # the notice about that
        self._in_doubt = ""  # the notice about a file that could not be read
        self._save_timer: asyncio.TimerHandle | None = None  # until the next try
        self._is_closed = False
        self.is_paused = False
        self.pause_until: float | None = None  # seconds since the epoch; None: until resumed

    @property
    def is_draining(self) -> bool:
        return "draining" in self._reasons

    def restore(self) -> None:
        """Take up a pause from before a restart. A file that can't be used means paused, in case it was one."""
        saved = self._file.read()
        if saved.problem:
            log.warning("pause state not read", problem=saved.problem)
            self._in_doubt = f"{saved.problem} Paused until you resume, in case you had paused."
            self._on_notice("", self._in_doubt)
        if saved.is_paused and (saved.until is None or saved.until > self._clock()):
            self._set_pause(saved.until)
            if saved.problem:
                self._reasons.put(paused_in_doubt())

    def pause(self, *, until: float | None = None, mode: PauseMode = PauseMode.FINISH) -> int:
        """Refuse new sessions from now on; returns how many sessions still run.

        `until` in seconds since the epoch, None until resumed.
        """
        self._set_pause(until)
        self._stop_draining()  # in this order: there is no instant without a reason not to serve
        self._save()
        if not self.is_paused:  # it was over before it began
            return 0
        running = self._admission.running_jobs
        if mode is PauseMode.STOP:
            self._admission.end_all(EndReason.PAUSED)
        elif running:
            self._start_limit()
        log.info("paused", until=until, mode=mode, running=running)
        self._on_change()
        return running

    def finish(self) -> int:
        """Finish then pause: refuse new sessions, let the running ones end, then stay paused; returns how many run.

        Those that run longer than the owner's limit are ended.
        """
        running = self._admission.running_jobs
        if not running or self.is_paused:
            return self.pause()
        self._reasons.put(draining(running))
        self._save()  # at once: whatever ends this program, it comes back paused
        self._admission.refuse_queue()
        self._stop_draining_task()
        self._start_limit()
        self._drain_task = asyncio.get_running_loop().create_task(self._pause_when_idle(), name="finish-then-pause")
        log.info("finishing", running=running)
        self._on_change()
        return running

    def resume(self) -> bool:
        """Serve again; False when neither a pause nor a finish was on."""
        was_on = self.is_paused or self.is_draining
        self._stop_draining()
        self._clear_timers()
        self.is_paused, self.pause_until = False, None
        self._reasons.drop("paused_by_owner")
        if was_on:
            self._save()
            log.info("resumed")
            self._on_change()
        if self._in_doubt:
            self._on_notice(self._in_doubt, "")
            self._in_doubt = ""
        return was_on

    async def close(self) -> None:
        """Stop the timers, and wait until the pause is on disk; one that isn't yet is tried once more."""
        self._stop_draining_task()
        self._clear_timers()
        self._is_closed = True
        self._stop_save_timer()
        if self._not_kept:
            self._write()
        await self.wait_saved()

    async def wait_saved(self) -> str:
        """Wait until what was done last is on disk; returns "", or after SAVE_LIMIT_S at most why it is not.

        A kill after "" forgets nothing.
        """
        if (saving := self._saving) is None:
            return ""
        done, _ = await asyncio.wait([saving], timeout=SAVE_LIMIT_S)
        return saving.result() if done else f"the disk has not taken it for {SAVE_LIMIT_S:g} s"

    def check_clock(self) -> None:
        """End a timed pause whose time has come; called by the timer, and after the machine slept."""
        if self._resume_timer is not None:
            self._resume_timer.cancel()
            self._resume_timer = None
        if not self.is_paused or self.pause_until is None:
            return
        self._mind_set_clock(self.pause_until)
        left_s = self.pause_until - self._clock()
        if left_s <= 0:
            self.resume()
        else:
            wait_s = min(left_s, LONGEST_SLEEP_S)
            self._resume_timer = asyncio.get_running_loop().call_later(wait_s, self.check_clock)

    def _mind_set_clock(self, until: float) -> None:
        """A clock set forward by a day (a machine without one of its own, at its first contact) ends no pause: it lasts
        as long as it was meant to, and says when that is by the new clock.
        """
        now = self._since_boot_s()
        if now is None or self._ends_since_boot_s is None:
            return
        really_until = self._clock() + self._ends_since_boot_s - now
        if really_until - until > CLOCK_STEP_S:
            self.pause_until = really_until
            self._reasons.put(paused_by_owner(really_until, self._ending()))
            self._save()
            log.info("pause follows a clock that was set", until=really_until)

    async def _pause_when_idle(self) -> None:
        await self._admission.wait_idle()
        self._drain_task = None
        self.pause()

    def _set_pause(self, until: float | None) -> None:
        self._clear_timers()
        self.is_paused, self.pause_until = True, until
        now = self._since_boot_s()
        self._ends_since_boot_s = None if until is None or now is None else now + until - self._clock()
        self._reasons.put(paused_by_owner(until))
        self._admission.refuse_queue()
        self.check_clock()

    def _start_limit(self) -> None:
        if self._limit_timer is not None:
            self._limit_timer.cancel()
        self._limit_timer = asyncio.get_running_loop().call_later(
            self.finish_limit_s, self._admission.end_all, EndReason.PAUSED
        )
        self._count_down()

    def _count_down(self) -> None:
        """Say how many sessions still run and for how long they may, each second until none does."""
        if self._countdown is not None:
            self._countdown.cancel()
            self._countdown = None
        ending = self._ending()
        if self.is_paused:
            self._reasons.put(paused_by_owner(self.pause_until, ending))
        elif self.is_draining:
            self._reasons.put(draining(self._admission.running_jobs, ending))
        if ending is not None:
            self._countdown = asyncio.get_running_loop().call_later(COUNTDOWN_S, self._count_down)

    def _ending(self) -> Ending | None:
        running = self._admission.running_jobs
        if self._limit_timer is None or not running:
            return None
        left_s = max(0.0, self._limit_timer.when() - asyncio.get_running_loop().time())
        return Ending(running, math.ceil(left_s), self._clock() + left_s)

    def _stop_draining(self) -> None:
        self._stop_draining_task()
        self._reasons.drop("draining")

    def _stop_draining_task(self) -> None:
        if self._drain_task is not None:
            self._drain_task.cancel()
            self._drain_task = None

    def _clear_timers(self) -> None:
        for timer in (self._limit_timer, self._resume_timer, self._countdown):
            if timer is not None:
                timer.cancel()
        self._limit_timer = self._resume_timer = self._countdown = None

    def _save(self) -> None:
        """Off the loop: a slow disk must not hold up running streams. Finishing is kept as the pause it ends in."""
        self._file.keep(SavedPause(self.is_paused or self.is_draining, self.pause_until))
        self._write()

    def _write(self) -> None:
        self._stop_save_timer()
        self._saving = asyncio.get_running_loop().run_in_executor(None, self._file.write)
        self._saving.add_done_callback(self._on_saved)

    def _try_again_later(self, saving: asyncio.Future[str]) -> None:
        if not self._is_closed and saving is self._saving:  # else a newer one is on its way
            self._stop_save_timer()
            self._save_timer = asyncio.get_running_loop().call_later(SAVE_RETRY_S, self._write)

    def _stop_save_timer(self) -> None:
        if self._save_timer is not None:
            self._save_timer.cancel()
            self._save_timer = None

    def _on_saved(self, saving: asyncio.Future[str]) -> None:
        """A pause that can't be kept on disk still holds; until it is, the owner reads what a restart would lose."""
        if saving.cancelled():
            return
        problem, before = saving.result(), self._not_kept
        if problem:
            log.warning("pause state not kept", problem=problem)
            self._try_again_later(saving)
        self._not_kept = f"Pausing and resuming are not kept over a restart. {problem}" if problem else ""
        if self._not_kept != before:
            self._on_notice(before, self._not_kept)
