"""A time limit for a probe: a driver that hangs costs one thread, and the sample says so."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait

from core.gpu import GpuProbe, GpuSample

LIMIT_S = 1.0
# The first answer includes the driver's own start, which takes seconds where nothing else keeps the card awake. To wait
# for it is better than to take a machine with a card for one without.
FIRST_LIMIT_S = 5.0
_log = logging.getLogger(__name__)
Answer = Future[tuple[GpuSample, ...] | None]  # None: the probe raised, which is logged where it happened


class GuardedProbe:
    """Run a probe in a thread of its own and wait at most `limit_s` for it (`first_limit_s` the first time).

    While the driver hangs, every sample returns at once: the cards seen last, with every figure None, and `problem`
    says so. No second thread is started, and the thread is a daemon, so that it can't hold up the program's end (the
    threads of asyncio.to_thread would). Not thread-safe: one caller at a time.
    """

    def __init__(
        self,
        probe: GpuProbe,
        *,
        limit_s: float = LIMIT_S,
        first_limit_s: float = FIRST_LIMIT_S,
        wait: Callable[[list[Answer], float], object] = wait,
    ) -> None:
        """`wait(answers, limit_s)` returns when the answers are there, or after the limit; replaced in tests."""
        self._probe = probe
        self._wait = wait
        self._limit_s = limit_s
        self._next_limit_s = max(limit_s, first_limit_s)
        self._requests: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._worker: threading.Thread | None = None
        self._pending: Answer | None = None
        self._last: tuple[GpuSample, ...] = ()
        self._trouble = ""

    @property
    def name(self) -> str:
        return self._probe.name

    @property
    def problem(self) -> str:
        return self._trouble or self._probe.problem

    def sample(self) -> tuple[GpuSample, ...]:
        if self._pending is not None and not self._pending.done():
            return self._without_figures()  # it hung the last time, and hangs still
        self._pending = answer = self._ask()
        limit_s, self._next_limit_s = self._next_limit_s, self._limit_s
        self._wait([answer], limit_s)
        if not answer.done():
            self._trouble = (
                f"The {self.name} graphics driver has not answered within {limit_s:g} s. "
                "If this lasts, restart the machine."
            )
            return self._without_figures()
        cards = answer.result()
        if cards is None:
            self._trouble = f"Reading the {self.name} graphics cards failed; the log has the details. Please report it."
            return self._without_figures()
        self._trouble, self._last = "", cards
        return cards

    def close(self) -> None:
        """Release the probe, unless its driver hangs: then leave it to the end of the process."""
        if self._worker is not None:
            self._requests.put(None)
            self._worker.join(self._limit_s)
            self._worker = None

    def _ask(self) -> Answer:
        if self._worker is None:
            self._worker = threading.Thread(target=self._work, name=f"gpu-probe-{self.name}", daemon=True)
            self._worker.start()
        answer: Answer = Future()
        self._requests.put(answer)
        return answer

    def _work(self) -> None:
        while (answer := self._requests.get()) is not None:
            cards: tuple[GpuSample, ...] | None = None
            try:
                cards = self._probe.sample()
            except Exception:  # noqa: BLE001 - the thread edge: it must answer, or every later sample looks like a hang
                if not self._trouble:  # once, not at every sample
                    _log.exception("the %s probe failed", self.name)
            answer.set_result(cards)
        self._probe.close()

    def _without_figures(self) -> tuple[GpuSample, ...]:
        return tuple(
            GpuSample(uuid=card.uuid, name=card.name, is_unified=card.is_unified, is_lost=card.is_lost)
            for card in self._last
        )
