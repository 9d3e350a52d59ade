"""A machine without a graphics card that we can read."""

from __future__ import annotations

from core.gpu import GpuSample

NO_CARD = "No graphics card was found: models are served from RAM, by the processor."


class NoProbe:
    """Reads nothing, and says so."""

    name = "none"

    def __init__(self, problem: str = NO_CARD) -> None:
        self.problem = problem

    def sample(self) -> tuple[GpuSample, ...]:
        return ()

    def close(self) -> None:
        """Nothing is held."""
