"""How long to wait before trying again: exponential back-off with full jitter.

A fixed wait, or an exponential one without jitter, brings every agent that lost the coordinator at the same instant
back at the same instant. Full jitter (each wait uniform between 0 and the current ceiling) spreads them best for the
least total work: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
benchmarks/reconnect_spread.py shows it for 10,000 agents.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

# Not for secrets: only to keep agents apart. Seeded by the system, so two agents never share a sequence.
_SYSTEM_RNG = random.Random()  # noqa: S311


@dataclass(slots=True)
class Backoff:
    """The waits of one retry loop.

    The n-th wait is uniform in [0, ceiling], with ceiling = min(cap_s, base_s · 2ⁿ). It stays at the cap for ever.
    """

    base_s: float = 0.5
    cap_s: float = 15.0
    rng: random.Random = field(default_factory=lambda: _SYSTEM_RNG)
    ceiling_s: float = field(init=False)

    def __post_init__(self) -> None:
        if not 0 < self.base_s <= self.cap_s:
            raise ValueError(f"0 < base_s ≤ cap_s does not hold: {self.base_s}, {self.cap_s}")
        self.ceiling_s = self.base_s

    def next_wait_s(self) -> float:
        """The next wait in seconds; each call doubles the ceiling up to the cap."""
        wait_s = self.rng.uniform(0.0, self.ceiling_s)
        self.ceiling_s = min(self.cap_s, self.ceiling_s * 2)
        return wait_s

    def reset(self) -> None:
        """Start again at the base. Call it only when the thing has *stayed* well, not at the first success."""
        self.ceiling_s = self.base_s
