"""Blocking work (disk, keyring) away from the Qt thread: one task after the other, answers back on the Qt thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from PySide6.QtCore import QObject, QThreadPool, Signal

from core.errors import AgentError
from core.logs import get_logger

log = get_logger(__name__)

Result = TypeVar("Result")
_IDLE_THREAD_MS = 5_000


class Background(QObject):
    """A worker thread that ends when it has been idle for a while. Everything here belongs to the Qt thread."""

    _finished = Signal(object)  # a call without arguments, made on the Qt thread

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._pool = QThreadPool(self)
        self._pool.setMaxThreadCount(1)  # in the order in which they were asked for
        self._pool.setExpiryTimeout(_IDLE_THREAD_MS)
        self._finished.connect(self._on_finished)

    def run(
        self,
        work: Callable[[], Result],
        done: Callable[[Result], Any],
        failed: Callable[[AgentError], Any],
    ) -> None:
        """Do `work` on the worker, then call `done` with its result or `failed` with its error, on the Qt thread."""

        def task() -> None:
            try:
                result = work()
            except AgentError as error:
                problem = error
                self._finished.emit(lambda: failed(problem))
            except Exception:  # the thread edge: the window must hear that it is over
                log.exception("background work failed for an unforeseen reason")
                unforeseen = AgentError("something unforeseen went wrong", hint="See the log.")
                self._finished.emit(lambda: failed(unforeseen))
            else:
                self._finished.emit(lambda: done(result))

        self._pool.start(task)

    def wait(self, timeout_ms: int = 5_000) -> bool:
        """At the end of the program: until everything asked for is done; False when the limit came first."""
        return self._pool.waitForDone(timeout_ms)

    def _on_finished(self, call: Callable[[], None]) -> None:
        call()
