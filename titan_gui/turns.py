"""Slices of work on Qt's thread, one in each turn of its loop, whoever asks: so no two of them add up to a standstill.

`QTimer.singleShot(0, ...)` won't do: it posts an event, and while there are posted events Qt's loop under glib looks at
no timer. A chain of such calls holds every timer up from its first link to its last.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from PySide6.QtCore import QCoreApplication, QObject, QTimer
from shiboken6 import isValid

Slice = Callable[[], object]


def next_turn(owner: QObject, work: Slice) -> None:
    """Do `work` in a turn in which no other slice is done; what the last one left to lay out and to paint comes first.

    Slices are done in the order in which they were asked for; those of an owner that is gone are not.
    """
    _turns().add(owner, work)


class _Turns(QTimer):
    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.setInterval(0)
        self.timeout.connect(self._on_timeout)
        self._waiting: deque[tuple[QObject, Slice]] = deque()

    def add(self, owner: QObject, work: Slice) -> None:
        self._waiting.append((owner, work))
        if not self.isActive():
            self.start()

    def _on_timeout(self) -> None:
        while self._waiting:
            owner, work = self._waiting.popleft()
            if isValid(owner):
                work()
                break
        if not self._waiting:
            self.stop()


def _turns() -> _Turns:
    """The application's own: it ends with it."""
    application = QCoreApplication.instance()
    assert application is not None
    found = application.property("titan-turns")
    if not isinstance(found, _Turns):
        found = _Turns(application)
        application.setProperty("titan-turns", found)
    return found
