"""A time limit for every probe: one that hangs costs one thread, and its signal is unknown until it is back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Collection
from typing import Any, Generic, TypeVar

from core.signals import BusProbe, SignalProbe, Unknown

LIMIT_S = 1.0
LATE_S = 0.1  # several times what all probes take together where none hangs
_log = logging.getLogger(__name__)
T = TypeVar("T")
Answer = asyncio.Future[Any]


class _Batch:
    """Probes that are to be read now. Any thread may take one that waits, and whoever took it says what came."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[Callable[[], Any], Answer]] = deque()
        self.done: deque[tuple[Answer, Any, Exception | None]] = deque()
        self.late: asyncio.TimerHandle | None = None

    def work(self) -> None:
        """Until none waits."""
        while self.waiting:
            try:
                call, answer = self.waiting.popleft()
            except IndexError:  # another thread was quicker
                return
            value, failure = None, None
            try:
                value = call()
            except Exception as error:  # noqa: BLE001 - the thread edge: whoever waits must hear of it
                failure = error
            self.done.append((answer, value, failure))

    def deliver(self) -> None:
        while self.done:
            answer, value, failure = self.done.popleft()
            if answer.cancelled():
                continue
            if failure is None:
                answer.set_result(value)
            else:
                answer.set_exception(failure)


class ProbeThreads:
    """Daemon threads that run probes. One that is free is used again; one that hangs isn't, until it is back.

    What is asked in one turn of the loop is read on one thread, one after the other, and told in one go: waking a
    thread, and the loop by it, costs an idle machine more than most probes do. Where one hangs, another thread takes
    over the rest after LATE_S. So there are never more than probes that read at once. Daemons: a driver that hangs
    mustn't hold up the program's end (the threads of asyncio.to_thread would). All but the work itself happens on the
    loop.
    """

    def __init__(self) -> None:
        self._free: deque[queue.SimpleQueue[_Batch | None]] = deque()
        self._batch: _Batch | None = None  # of this turn
        self._is_closed = False

    def run(self, call: Callable[[], T]) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        if self._batch is None:
            self._batch = _Batch()
            loop.call_soon(self._begin, loop, self._batch)
        self._batch.waiting.append((call, answer))
        return answer

    def close(self) -> None:
        """End the free threads; one that hangs ends when it is back."""
        self._is_closed = True
        while self._free:
            self._free.pop().put(None)

    def _begin(self, loop: asyncio.AbstractEventLoop, batch: _Batch) -> None:
        self._batch = None
        self._give(loop, batch)

    def _give(self, loop: asyncio.AbstractEventLoop, batch: _Batch) -> None:
        try:
            inbox = self._free.pop()
        except IndexError:
            inbox = queue.SimpleQueue()
            threading.Thread(target=self._work, args=(loop, inbox), name="signal-probe", daemon=True).start()
        batch.late = loop.call_later(LATE_S, self._help, loop, batch)
        inbox.put(batch)

    def _help(self, loop: asyncio.AbstractEventLoop, batch: _Batch) -> None:
        """A thread has it for long: tell what has come, and let another one do what waits."""
        batch.deliver()
        if batch.waiting:
            self._give(loop, batch)

    def _work(self, loop: asyncio.AbstractEventLoop, inbox: queue.SimpleQueue[_Batch | None]) -> None:
        while (batch := inbox.get()) is not None:
            batch.work()
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
                loop.call_soon_threadsafe(self._deliver, batch, inbox)

    def _deliver(self, batch: _Batch, inbox: queue.SimpleQueue[_Batch | None]) -> None:
        if self._is_closed:
            inbox.put(None)
        else:
            self._free.append(inbox)
        if batch.late is not None and not batch.waiting:
            batch.late.cancel()
        batch.deliver()


class Guarded(Generic[T]):
    """One probe, asked on the loop, with a time limit. While a reading hangs, the probe isn't asked again."""

    def __init__(self, name: str, about: str, start: Callable[[], asyncio.Future[T | Unknown]]) -> None:
        """`about` is what doesn't answer, as the owner calls it: "The battery"."""
        self.name = name
        self._about = about
        self.silence = Unknown(f"{about} does not answer.")
        self._start = start
        self._pending: asyncio.Future[T | Unknown] | None = None
        self._has_failed = False

    @property
    def is_hanging(self) -> bool:
        return self._pending is not None and not self._pending.done()

    def begin(self) -> asyncio.Future[T | Unknown] | None:
        """Ask; None when the last question still has no answer."""
        if self.is_hanging:
            return None
        self._pending = self._start()
        self._pending.add_done_callback(_look_at)
        return self._pending

    def collect(self) -> T | Unknown:
        """The answer, or why there is none."""
        if self._pending is None or not self._pending.done():
            return self.silence
        answer, self._pending = self._pending, None
        failure = answer.exception()
        if failure is None:
            self._has_failed = False
            return answer.result()
        if not self._has_failed:  # once, not at every reading
            self._has_failed = True
            _log.error("reading the signal %s failed", self.name, exc_info=failure)
        return Unknown(f"{self._about} could not be read; the log has the details. Please report it.")

    async def close(self) -> None:
        """Give up a reading that is under way."""
        if self._pending is not None and self._pending.cancel():
            await asyncio.wait({self._pending})


async def read_all(readers: Collection[Guarded[T]], limit_s: float = LIMIT_S) -> dict[str, T | Unknown]:
    """What each probe says, by its name, all read at once. Takes `limit_s` seconds at most, and never raises.

    One that hung before costs no time: it is unknown until it is back.
    """
    asked = [(reader, reader.begin()) for reader in readers]
    if answers := [answer for _, answer in asked if answer is not None]:
        await asyncio.wait(answers, timeout=limit_s)
    return {reader.name: reader.silence if answer is None else reader.collect() for reader, answer in asked}


def guard_probe(probe: SignalProbe[T], threads: ProbeThreads, about: str) -> Guarded[T]:
    """A probe that blocks, on a thread of `threads`."""
    return Guarded(probe.name, about, lambda: threads.run(probe.read))


def guard_bus_probe(probe: BusProbe[T], about: str) -> Guarded[T]:
    """A probe that another program answers by D-Bus."""
    return Guarded(probe.name, about, lambda: asyncio.create_task(probe.read(), name=f"signal-{probe.name}"))


def _look_at(answer: Answer) -> None:
    """An answer that comes after its time is dropped: asyncio would complain of an error that nobody looked at."""
    if not answer.cancelled():
        answer.exception()
