"""SIGTERM, SIGHUP and Ctrl+C inside Qt's loop, where Python's own handlers wait for bytecode that doesn't run."""

from __future__ import annotations

import signal
import socket

from PySide6.QtCore import QObject, QSocketNotifier, Signal


class StopSignals(QObject):
    """Says `received` with the signal's number. One at a time in a process, made on the main thread.

    Python writes the number of each signal to a descriptor, at once, and the descriptor wakes Qt's loop.
    """

    received = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self._reader, self._writer = socket.socketpair()  # a pair and not a pipe: Windows waits on sockets only
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._old_descriptor = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
        self._numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        self._old_handlers = {number: signal.signal(number, _leave_it_to_the_descriptor) for number in self._numbers}
        self._notifier = QSocketNotifier(self._reader.fileno(), QSocketNotifier.Type.Read, self)
        self._notifier.activated.connect(self._on_notifier_activated)

    def close(self) -> None:
        """Put everything back as it was."""
        self._notifier.setEnabled(False)
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_descriptor)
        self._reader.close()
        self._writer.close()

    def _on_notifier_activated(self) -> None:
        for number in self._reader.recv(64):
            if number in self._numbers:
                self.received.emit(number)


def _leave_it_to_the_descriptor(number: int, frame: object) -> None:
    """A handler must exist, or the signal would end the process at once."""
