"""What the agent tells a coordinator, as our own values, and the rule that says when a beat made us invisible.

Everything here is capacity to serve, not the raw meter: the owner's budget, and what of it others hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

# The public coordinator degrades an agent at once beyond these (its registry's UpdateHealth).
DEGRADED_BELOW_FREE_MB = 512
DEGRADED_ABOVE_USE = 0.9
DEGRADED_ABOVE_CPU_PERCENT = 90.0

MIN_INTERVAL_S = 1.0
MAX_INTERVAL_S = 15.0  # half of the 30 s after which the public coordinator forgets an agent


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What is offered. A CPU-only agent puts its engine's RAM budget into `total_vram_mb`; `capabilities` says so."""

    agent_id: str
    endpoint: str  # host:port that clients are sent to
    total_vram_mb: int
    total_ram_mb: int
    max_jobs: int
    supported_models: tuple[str, ...]  # never empty: a coordinator reads "empty" as "any model"
    capabilities: Mapping[str, str] = field(default_factory=dict)  # never an engine's address


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """One beat. While paused `free_vram_mb` is 0: the contract has no other way to say it."""

    free_vram_mb: int
    free_ram_mb: int
    running_jobs: int
    queued_jobs: int
    cpu_percent: float  # use by others, 0 to 100


@dataclass(frozen=True, slots=True)
class NotRegistering:
    """There is nothing to offer, or nobody could reach us. `reason` is one sentence for the owner."""

    reason: str


def may_have_degraded(health: Health, registration: Registration) -> bool:
    """Whether this beat may have made the coordinator skip us until we register again (contract.md)."""
    total_mb = registration.total_vram_mb
    used_mb = total_mb - health.free_vram_mb
    return (
        health.free_vram_mb < DEGRADED_BELOW_FREE_MB
        or used_mb > DEGRADED_ABOVE_USE * total_mb
        or health.cpu_percent > DEGRADED_ABOVE_CPU_PERCENT
    )


def nothing_free(health: Health) -> Health:
    """The beat of an agent that wants no more work."""
    return replace(health, free_vram_mb=0, free_ram_mb=0)


def hold_interval(told_s: float, own_s: float) -> float:
    """The interval told, or the owner's if that is shorter, held within 1 to 15 s. Told 0 means "not told"."""
    wanted_s = min(told_s, own_s) if told_s > 0 else own_s
    return min(MAX_INTERVAL_S, max(MIN_INTERVAL_S, wanted_s))
