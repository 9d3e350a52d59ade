"""Blocking work (disk, keyring) away from the Qt thread: one task after the other, answers back on the Qt thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any, TypeVar

from PySide6.QtCore import QObject, Signal

from core.errors import AgentError
from core.logs import get_logger

log = get_logger(__name__)

Result = TypeVar("Result")


class Background(QObject):
    """One worker thread, made when it is first needed. Everything here belongs to the Qt thread.

    Not a QThreadPool: its destructor waits for its threads while this one holds Python's lock, which they need to end.
    """

    _finished = Signal(object)  # a call without arguments, made on the Qt thread

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._worker = ThreadPoolExecutor(1, "background")  # one: in the order in which they were asked for
        self._finished.connect(self._on_finished)

    def run(
        self,
        work: Callable[[], Result],
        done: Callable[[Result], Any],
        failed: Callable[[AgentError], Any],
    ) -> None:
        """Do `work` on the worker, then call `done` with its result or `failed` with its error, on the Qt thread."""

        def task() -> None:
            answer = _answer(work, done, failed)
            with suppress(RuntimeError):  # who asked is gone
                self._finished.emit(answer)

        self._worker.submit(task)

    def wait(self, timeout_ms: int = 5_000) -> bool:
        """At the end of the program: until everything asked for is done; False when the limit came first."""
        return not wait([self._worker.submit(lambda: None)], timeout_ms / 1000).not_done

    def _on_finished(self, call: Callable[[], None]) -> None:
        call()


def _answer(
    work: Callable[[], Result], done: Callable[[Result], Any], failed: Callable[[AgentError], Any]
) -> Callable[[], Any]:
    """Do the work; what is to be called on the Qt thread."""
    try:
        result = work()
    except AgentError as error:
        problem = error
        return lambda: failed(problem)
    except Exception:  # the thread edge: the window must hear that it is over
        log.exception("background work failed for an unforeseen reason")
        unforeseen = AgentError("something unforeseen went wrong", hint="See the log.")
        return lambda: failed(unforeseen)
    return lambda: done(result)
