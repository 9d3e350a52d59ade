"""Measures how long Qt's thread is ever unable to do anything: a timer that should fire every few milliseconds.

As a program (`python tests/fakes/qt_watchdog.py --hidden ...`) it is titan-desktop with the watchdog in it; on the way
out it writes one JSON line: {"event": "qt watchdog", "start_ms": ..., "longest_ms": ..., "raw_ms": ..., "ticks": ...};
with "opening_ms", the longest block in the first seconds after the window was asked for, where it was.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import titan_gui  # before Qt (titan_gui/constants_guard.py)  # isort: skip
from PySide6.QtCore import QObject, Qt, QTimer

from core.snapshot import AgentSnapshot

INTERVAL_MS = 5
OPENING_MS = 3000  # by then all pages and charts stand
assert titan_gui


class QtWatchdog(QObject):
    """Watches from `start` on. A block is the time by which a tick comes late, without the time for which the machine
    was too busy with other processes to run this process's threads (any of which may hold the interpreter's lock)."""

    def __init__(self) -> None:
        super().__init__()
        self.longest_ms = 0.0
        self.longest_raw_ms = 0.0
        self.ticks = 0
        self._last = 0.0
        self._last_waits: dict[int, int] = {}
        self._timer = QTimer(self, interval=INTERVAL_MS, timerType=Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)

    def start(self) -> None:
        self._last, self._last_waits = time.monotonic(), waits_ns()
        self._timer.start()

    def reset(self) -> float:
        """Begin anew; returns the longest block so far, ms."""
        longest, self.longest_ms, self.longest_raw_ms = self.longest_ms, 0.0, 0.0
        return longest

    def _tick(self) -> None:
        now = time.monotonic()
        waits = waits_ns()
        late_ms = (now - self._last) * 1000 - INTERVAL_MS
        self.longest_raw_ms = max(self.longest_raw_ms, late_ms)
        self.longest_ms = max(self.longest_ms, late_ms - excused_ms(self._last_waits, waits))
        self._last, self._last_waits = now, waits
        self.ticks += 1

    def stop(self) -> None:
        self._timer.stop()


def waits_ns() -> dict[int, int]:
    """How long each of this process's threads was ready to run and did not, since its start."""
    waits = {}
    for thread in threading.enumerate():
        with contextlib.suppress(OSError):  # it has just ended
            number = thread.native_id or 0
            if number not in _SCHEDSTATS:
                _SCHEDSTATS[number] = os.open(f"/proc/self/task/{number}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
            fields = os.pread(_SCHEDSTATS[number], 100, 0).split()
            waits[number] = int(fields[1])  # run time, wait time, slices (Documentation/scheduler/sched-stats.rst)
    return waits


def excused_ms(before: dict[int, int], now: dict[int, int]) -> float:
    """What Qt's thread waited for the processor, and what the one that did longest of all others waited: it may have
    held the interpreter's lock then, and Qt's thread with it."""
    waited = {number: ns - before.get(number, ns) for number, ns in now.items()}
    qts = waited.pop(threading.main_thread().native_id or 0, 0)
    return (qts + max(waited.values(), default=0)) / 1e6


_SCHEDSTATS: dict[int, int] = {}  # open files by thread, until the process ends: they are read each 5 ms


def run_watched(arguments: list[str]) -> int:
    """titan-desktop with the watchdog; what comes before the first session (starting, first paints) is kept apart."""
    from titan_gui import app
    from titan_gui.launch import launch

    found: dict[str, float] = {}

    class WatchedDesktop(app.Desktop):
        def start(self) -> None:
            self.watchdog = QtWatchdog()
            super().start()
            self.watchdog.start()
            self.bridge.snapshot_changed.connect(self.on_snapshot)

        def open_window(self, page: str = "") -> None:
            if self.window is None and not hasattr(self, "opening"):
                self.opening = QtWatchdog()
                self.opening.start()
                QTimer.singleShot(OPENING_MS, self, self.on_opened)
            super().open_window(page)

        def on_opened(self) -> None:
            self.opening.stop()
            found["opening_ms"] = self.opening.longest_ms

        def on_snapshot(self, snapshot: AgentSnapshot) -> None:
            if snapshot.is_busy and "start_ms" not in found:
                found["start_ms"] = self.watchdog.reset()

        def leave(self, timeout_s: float) -> bool:
            watchdog = self.watchdog
            found.update(longest_ms=watchdog.longest_ms, raw_ms=watchdog.longest_raw_ms, ticks=watchdog.ticks)
            return super().leave(timeout_s)

    app.Desktop = WatchedDesktop  # type: ignore[misc]
    code = launch(arguments)
    sys.stderr.write(json.dumps({"event": "qt watchdog", **found}) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(run_watched(sys.argv[1:]))
