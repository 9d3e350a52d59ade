"""How the embedded engine loads a model into the memory that is there: as wanted, else a step down, else a refusal.

A step that failed for want of memory isn't tried again for a while; what came down goes up again once there is room.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from core.engines.model_files import ModelFile
from core.engines.worker_main import PROMPT_STEP_CPU_TOKENS, PROMPT_STEP_GPU_TOKENS
from core.errors import NotEnoughMemory
from core.load_ladder import STEP_UP_SHARE, Rung, best_rung, difference, plans, rung_of
from core.memory_need import LoadPlan, embedded_plan
from core.plurals import counted

FORGET_FAILURE_S = 600.0  # memory may be free by then
# Of the smallest load, beside which nothing is left to try; who asks again waits longer (core/unloadable.py).
FORGET_LEAST_S = 15.0

HINT = "Choose a smaller model, fewer sessions (max_concurrent_jobs) or less context (context_tokens)."


class LoadPlanner:
    """Decides sessions and context for each load. `room_mb` is what models may take, MiB, once so much as its argument
    says, that ours holds, is back; so it is asked with 0 while none is loaded.
    """

    def __init__(
        self,
        *,
        sessions: int,
        context_tokens: int,
        room_mb: Callable[[int], int],
        on_log: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
        platform: str = sys.platform,
    ) -> None:
        self._sessions, self._context_tokens = sessions, context_tokens
        self._room_mb, self._on_log, self._monotonic = room_mb, on_log, monotonic
        self._batch_tokens = PROMPT_STEP_GPU_TOKENS if platform == "darwin" else PROMPT_STEP_CPU_TOKENS
        self._failed: dict[Path, tuple[int, float]] = {}  # what was too much, MiB, and when
        self._from: Rung | None = None  # the load that is to be left for a better one
        self._up_again_at = 0.0  # monotonic; before that no better one is looked for
        self.current: Rung | None = None  # of the load that was chosen last
        self.least_mb: int | None = None  # what the smallest load of that file takes
        self.note = ""  # why it is less than wanted, one sentence; "" when it isn't

    def wanted(self, file: ModelFile) -> LoadPlan:
        """As the owner set it; the context held at what the model was trained for."""
        return embedded_plan(
            sessions=self._sessions,
            context_tokens=min(self._context_tokens, file.context_tokens or self._context_tokens),
            batch_tokens=self._batch_tokens,
        )

    def choose(self, file: ModelFile) -> Rung:
        """The best load that fits now. Raises NotEnoughMemory, with the numbers, where not even the least does."""
        wanted, room_mb = self.wanted(file), self._room_mb(0)
        *_, least = plans(wanted)
        self.least_mb = rung_of(file.shape, file.size_bytes, least).need_mb
        rung = best_rung(file.shape, file.size_bytes, wanted, room_mb, below_mb=self._too_much_mb(file))
        if rung is None:
            raise self._refusal(file, wanted, room_mb)
        self._note_step_up(rung)
        self.current = rung
        less = difference(wanted, rung.plan)
        why = f"{room_mb:,} MB may be used for models now"
        if self._too_much_mb(file):
            why = "more was tried, and the system had no memory for it"
        self.note = f"{less[0].upper()}{less[1:]}: {why}." if less else ""
        if less:
            self._on_log(f"{file.name} is loaded with {less}: it needs {rung.need_mb} MB of {room_mb} MB")
        return rung

    def step_down(self, file: ModelFile) -> bool:
        """The last load of this file failed for want of memory: whether a smaller one can be tried now."""
        if self.current is None:
            return False
        self._failed[file.path] = (self.current.need_mb, self._monotonic())
        self._on_log(f"{file.name} did not fit although {self.current.need_mb} MB seemed free")
        below = best_rung(
            file.shape, file.size_bytes, self.wanted(file), self._room_mb(0), below_mb=self.current.need_mb
        )
        return below is not None

    def can_step_up(self, file: ModelFile, held_mb: int) -> bool:
        """Whether a load that came down should be made anew: there is room for more now. `held_mb` is what it holds and
        would give back, as the system measures it: of what it needs, a mapped file's weights count as free already.
        """
        if self.current is None or not self.note or self._monotonic() < self._up_again_at:
            return False
        room_mb = int(self._room_mb(held_mb) / STEP_UP_SHARE)
        better = best_rung(file.shape, file.size_bytes, self.wanted(file), room_mb, below_mb=self._too_much_mb(file))
        if better is None or better.need_mb <= self.current.need_mb:
            return False
        self._from = self.current
        return True

    def _note_step_up(self, rung: Rung) -> None:
        """A load that was made anew for nothing isn't again for a while, whatever the measurements say."""
        before, self._from = self._from, None
        if before is not None and rung.need_mb <= before.need_mb:
            self._up_again_at = self._monotonic() + FORGET_FAILURE_S

    def _too_much_mb(self, file: ModelFile) -> int | None:
        need_mb, failed_at = self._failed.get(file.path, (0, 0.0))
        is_least = self.least_mb is not None and need_mb <= self.least_mb
        if need_mb and self._monotonic() - failed_at > (FORGET_LEAST_S if is_least else FORGET_FAILURE_S):
            del self._failed[file.path]
            return None
        return need_mb or None

    def _refusal(self, file: ModelFile, wanted: LoadPlan, room_mb: int) -> NotEnoughMemory:
        *_, least = plans(wanted)
        need_mb = rung_of(file.shape, file.size_bytes, least).need_mb
        at_least = (
            f"at least {need_mb:,} MB, for {counted(least.sessions, 'session')} of {least.context_tokens:,} tokens"
        )
        return NotEnoughMemory(
            f"{file.name} needs {at_least if file.shape else f'about {need_mb:,} MB'}; "
            f"{room_mb:,} MB may be used for models now",
            hint=HINT,
        )
