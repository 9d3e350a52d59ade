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
_log = logging.getLogger(__name__)
T = TypeVar("T")
Answer = asyncio.Future[Any]


class ProbeThreads:
    """Daemon threads that run probes. One that is free is used again; one that hangs isn't, until it is back.

    There are never more than probes that read at once. Daemons: a driver that hangs mustn't hold up the program's end
    (the threads of asyncio.to_thread would). All but the work itself happens on the loop.
    """

    def __init__(self) -> None:
        self._free: deque[queue.SimpleQueue[tuple[Callable[[], Any], Answer] | None]] = deque()
        self._is_closed = False

    def run(self, call: Callable[[], T]) -> asyncio.Future[T]:
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        try:
            inbox = self._free.pop()
        except IndexError:
            inbox = queue.SimpleQueue()
            threading.Thread(target=self._work, args=(inbox,), name="signal-probe", daemon=True).start()
        inbox.put((call, answer))
        return answer

    def close(self) -> None:
        """End the free threads; one that hangs ends when it is back."""
        self._is_closed = True
        while self._free:
            self._free.pop().put(None)

    def _work(self, inbox: queue.SimpleQueue[tuple[Callable[[], Any], Answer] | None]) -> None:
        while (job := inbox.get()) is not None:
            call, answer = job
            value, failure = None, None
            try:
                value = call()
            except Exception as error:  # noqa: BLE001 - the thread edge: whoever waits must hear of it
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
                answer.get_loop().call_soon_threadsafe(self._deliver, answer, value, failure, inbox)

    def _deliver(
        self,
        answer: Answer,
        value: Any,
        failure: Exception | None,
        inbox: queue.SimpleQueue[tuple[Callable[[], Any], Answer] | None],
    ) -> None:
        if self._is_closed:
            inbox.put(None)
        else:
            self._free.append(inbox)
        if answer.cancelled():
            return
        if failure is None:
            answer.set_result(value)
        else:
            answer.set_exception(failure)


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
