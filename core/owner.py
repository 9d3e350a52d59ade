"""What the owner did by hand: pause (for a time, or until resumed), finish then pause, resume, share now for a time
whatever the rules say. Survives a restart.

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
from core.owner_term import Term
from core.pause_file import PauseFile, SavedPause
from core.reasons import ReasonBook
from core.reasons.of_owner import Ending, draining, paused_by_owner, paused_in_doubt
from core.sessions import Admission, EndReason

log = get_logger(__name__)

COUNTDOWN_S = 1.0
LONGEST_SHARE_S = 48 * 3600.0  # by one word; a file that says more is from before the clock was lost
SAVE_RETRY_S = 30.0  # a full disk is tried again: the person may have made room
SAVE_LIMIT_S = 5.0  # a disk that is slower than this has failed, for whoever waits for an answer


class PauseMode(StrEnum):
    FINISH = "finish"  # running sessions may end within the owner's limit
    STOP = "stop"  # running sessions are ended at once


class OwnerControl:
    """The owner's pause, or the contrary of it: sharing now. Every method returns at once; all on the loop thread."""

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
        self._term = Term(
            on_end=self._on_term_end, on_moved=self._on_term_moved, clock=clock, since_boot_s=since_boot_s
        )
        self._limit_timer: asyncio.TimerHandle | None = None
        self._countdown: asyncio.TimerHandle | None = None  # until the sentence's next second
        self._drain_task: asyncio.Task[None] | None = None
        self._saving: asyncio.Future[str] | None = None  # its result: why it is not on disk, "" when it is
        self._not_kept = ""  # the notice about that
        self._in_doubt = ""  # the notice about a file that could not be read
        self._save_timer: asyncio.TimerHandle | None = None  # until the next try
        self._is_closed = False
        self.is_paused = False
        self.is_sharing = False  # whatever the rules of comfort say; never while paused or finishing

    @property
    def is_draining(self) -> bool:
        return "draining" in self._reasons

    @property
    def pause_until(self) -> float | None:
        """Seconds since the epoch; None: not paused, or until resumed."""
        return self._term.until if self.is_paused else None

    @property
    def share_until(self) -> float | None:
        """Seconds since the epoch; None: the owner's rules hold as always."""
        return self._term.until if self.is_sharing else None

    def restore(self) -> None:
        """Take up a pause, or sharing now, from before a restart. A file that can't be used means paused, in case it
        was one.
        """
        saved = self._file.read()
        if saved.problem:
            log.warning("pause state not read", problem=saved.problem)
            self._in_doubt = f"{saved.problem} Paused until you resume, in case you had paused."
            self._on_notice("", self._in_doubt)
        now = self._clock()
        if saved.is_paused and (saved.until is None or saved.until > now):
            self._set_pause(saved.until)
            if saved.problem:
                self._reasons.put(paused_in_doubt())
        elif saved.is_sharing and saved.until is not None and now < saved.until <= now + LONGEST_SHARE_S:
            self.is_sharing = True
            self._term.begin(saved.until, is_at_most=True)

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
        self._end_sharing()
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
        if was_on:
            self._clear_timers()
            self._term.stop()
            self.is_paused = False
            self._reasons.drop("paused_by_owner")
            self._save()
            log.info("resumed")
            self._on_change()
        if self._in_doubt:
            self._on_notice(self._in_doubt, "")
            self._in_doubt = ""
        return was_on

    def share_now(self, until: float) -> bool:
        """Share until then (seconds since the epoch) whatever the rules of comfort say; once more gives it another end.

        False while paused or finishing, where nothing changes: a pause is ended by `resume` alone.
        """
        if self.is_paused or self.is_draining:
            return False
        self.is_sharing = True
        self._term.begin(until, is_at_most=True)
        self._save()
        log.info("sharing now", until=until)
        self._on_change()
        return True

    def follow_rules(self) -> bool:
        """Let every rule count again; False when nothing else was said."""
        if not self.is_sharing:
            return False
        self._end_sharing()
        self._save()
        log.info("following the rules again")
        self._on_change()
        return True

    async def close(self) -> None:
        """Stop the timers, and wait until the pause is on disk; one that isn't yet is tried once more."""
        self._stop_draining_task()
        self._clear_timers()
        self._term.close()
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
        """End what is over by now; called after the machine slept."""
        self._term.check()

    def _on_term_end(self) -> None:
        if self.is_paused:
            self.resume()
        else:
            self.follow_rules()

    def _on_term_moved(self) -> None:
        self._save()
        log.info("what was to end by the clock follows one that was set", until=self._term.until)
        if self.is_paused:
            self._reasons.put(paused_by_owner(self.pause_until, self._ending()))
        else:
            self._on_change()

    async def _pause_when_idle(self) -> None:
        await self._admission.wait_idle()
        self._drain_task = None
        self.pause()

    def _set_pause(self, until: float | None) -> None:
        self._clear_timers()
        self.is_paused, self.is_sharing = True, False
        self._reasons.put(paused_by_owner(until))
        self._admission.refuse_queue()
        self._term.begin(until)

    def _end_sharing(self) -> None:
        if self.is_sharing:
            self.is_sharing = False
            self._term.stop()

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
        for timer in (self._limit_timer, self._countdown):
            if timer is not None:
                timer.cancel()
        self._limit_timer = self._countdown = None

    def _save(self) -> None:
        """Off the loop: a slow disk must not hold up running streams. Finishing is kept as the pause it ends in."""
        is_paused = self.is_paused or self.is_draining
        self._file.keep(SavedPause(is_paused, self._term.until, is_sharing=self.is_sharing))
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
