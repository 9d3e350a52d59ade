"""How far a download is and how fast it comes, from what the engine says of its parts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

SPEED_WINDOW_S = 5.0


class PullMeter:
    """Sums the layers of a model: Ollama tells of one at a time. Speed is over the last seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._layers: dict[str, tuple[int, int]] = {}  # status line → completed, total
        self._seen: deque[tuple[float, int]] = deque()

    def take(self, status: str, completed: int | None, total: int | None) -> dict[str, Any]:
        if total:
            self._layers[status] = (min(completed or 0, total), total)
        done = sum(layer[0] for layer in self._layers.values())
        return {
            "status": status,
            "completed_bytes": done if self._layers else None,
            "total_bytes": sum(layer[1] for layer in self._layers.values()) if self._layers else None,
            "bytes_per_second": self._speed(done),
        }

    def _speed(self, done: int) -> float | None:
        now = self._monotonic()
        self._seen.append((now, done))
        while now - self._seen[0][0] > SPEED_WINDOW_S and len(self._seen) > 2:
            self._seen.popleft()
        seconds, bytes_ = now - self._seen[0][0], done - self._seen[0][1]
        return bytes_ / seconds if seconds > 0 and bytes_ > 0 else None
