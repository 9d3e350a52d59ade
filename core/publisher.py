"""When a new snapshot is published: lifecycle changes at once, counters at most 4 times a second."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from core.snapshot import SnapshotStore
from core.state import AgentState

COUNTER_INTERVAL_S = 0.25
RATE_WINDOW_S = 3.0  # tokens/s over the last seconds: long enough not to jump, short enough to follow


def wanted_state(link: str, *, is_blocked: bool) -> AgentState:
    """The state of a running agent. A lost coordinator is shown before a pause; only reasons block."""
    if link in ("registered", "not-registered", "off"):
        return AgentState.PAUSED if is_blocked else AgentState.READY
    return AgentState.CONNECTING


class SnapshotPublisher:
    """Collects "something changed" and publishes what `build` returns. All on the loop thread."""

    def __init__(
        self,
        store: SnapshotStore,
        build: Callable[[], Mapping[str, Any]],
        *,
        is_busy: Callable[[], bool],
        interval_s: float = COUNTER_INTERVAL_S,
    ) -> None:
        self._store = store
        self._build = build
        self._is_busy = is_busy
        self._interval_s = interval_s
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    def now(self) -> None:
        """Publish at once: a lifecycle change, a command, a reason."""
        self._store.publish(**self._build())

    def soon(self) -> None:
        """Publish within the interval; many calls are one publication. Goes on by itself while sessions run."""
        if self._timer is None and not self._is_closed:
            self._timer = asyncio.get_running_loop().call_later(self._interval_s, self._on_timer)

    def at_once(self) -> None:
        """As `soon`, by somebody who has woken the machine up already: a timer would wake it a second time."""
        if self._timer is None and not self._is_closed and not self._is_busy():
            self.now()
        else:
            self.soon()

    def close(self) -> None:
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        self.now()
        if self._is_busy():
            self.soon()


class TokenRate:
    """Tokens per second over the last seconds, from a counter that only grows."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._points: deque[tuple[float, int]] = deque()

    def update(self, tokens_total: int) -> float:
        """Take the counter's value now; returns the rate over the window, 0.0 before there are two points."""
        now = self._monotonic()
        while self._points and now - self._points[0][0] > RATE_WINDOW_S:
            self._points.popleft()
        self._points.append((now, tokens_total))
        (first_at, first_tokens) = self._points[0]
        return round((tokens_total - first_tokens) / (now - first_at), 1) if now > first_at else 0.0
