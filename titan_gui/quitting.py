"""The one way out: stop the agent in order while Qt's loop goes on, and leave after the limit whatever happens."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QElapsedTimer, QObject, Qt, QTimer, Signal

from core.logs import get_logger
from titan_gui.bridge import AgentBridge

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How much time a way out has, seconds: for sessions to end by themselves, and for everything."""

    drain_s: float
    total_s: float


BY_HAND = Pace(drain_s=4.0, total_s=9.0)  # Quit, Ctrl+C: over within 10 s
SESSION_ENDS = Pace(drain_s=0.3, total_s=2.6)  # logout, shutdown, SIGTERM: systems kill after 3 to 5 s
AT_ONCE = Pace(drain_s=0.0, total_s=2.6)  # a second click on Quit

EXIT_ORDERED = 0
EXIT_FORCED = 1  # the agent did not stop within the limit


class Quitting(QObject):
    """Begin as often as you like: a later, shorter pace hurries the first one, a longer one changes nothing."""

    began = Signal()
    finished = Signal(int)  # the exit code; once

    def __init__(self, bridge: AgentBridge) -> None:
        super().__init__()
        self._bridge = bridge
        self._ended = False
        self._began = QElapsedTimer()
        self._deadline_ms: int | None = None  # since the beginning
        self._limit = QTimer(self, singleShot=True, timerType=Qt.TimerType.PreciseTimer)
        self._limit.timeout.connect(self._on_limit_timeout)

    @property
    def is_quitting(self) -> bool:
        return self._began.isValid()

    @property
    def has_finished(self) -> bool:
        return self._ended

    def begin(self, pace: Pace) -> None:
        if self._ended:
            return
        if not self.is_quitting:
            self._began.start()
            self._bridge.agent_ended.connect(lambda _: self._finish(EXIT_ORDERED))
            self.began.emit()
        limit_ms = round(pace.total_s * 1000)
        deadline_ms = self._began.elapsed() + limit_ms
        if self._deadline_ms is None or deadline_ms < self._deadline_ms:
            self._deadline_ms = deadline_ms
            self._limit.start(limit_ms)
            log.info("quitting", drain_s=pace.drain_s, limit_s=pace.total_s)
            self._bridge.stop(pace.drain_s)
        if not self._bridge.is_running:
            QTimer.singleShot(0, lambda: self._finish(EXIT_ORDERED))

    def _on_limit_timeout(self) -> None:
        log.warning("the agent did not stop in time", waited_s=round(self._began.elapsed() / 1000, 1))
        self._finish(EXIT_FORCED)

    def _finish(self, code: int) -> None:
        if not self._ended:
            self._ended = True
            self._limit.stop()
            self.finished.emit(code)
