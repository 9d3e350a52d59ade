"""The agents that a one-machine coordinator knows, under the public coordinator's rules, quirks included.

An honest stand-in must degrade, forget and heal as the real one does, or tests against it prove nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core.coordinator_types import Health, Registration, may_have_degraded

HEARTBEAT_TIMEOUT_S = 30.0
SWEEP_INTERVAL_S = 60.0

HEALTHY = "healthy"
DEGRADED = "degraded"

# The scheduler's guess at a model's size from the end of its name, for names of more than 10 characters.
_MODEL_SIZES_MB = (("1B", 2048), ("7B", 6144), ("13B", 10240))
_DEFAULT_MODEL_SIZE_MB = 4096


@dataclass(slots=True)
class AgentRecord:
    """One registered agent, as the coordinator sees it."""

    registration: Registration
    health: Health
    last_heartbeat_s: float  # on the registry's monotonic clock
    status: str = HEALTHY
    rtt_ms: float = 0.0

    @property
    def score(self) -> float:
        """40 % free memory, 30 % free jobs, 20 % round trip (500 ms is worst), 10 % performance (unknown: half)."""
        free_memory = self.health.free_vram_mb / max(self.registration.total_vram_mb, 1)
        free_jobs = 1 - self.health.running_jobs / max(self.registration.max_jobs, 1)
        return 0.4 * free_memory + 0.3 * free_jobs + 0.2 * (1 - min(self.rtt_ms / 500, 1)) + 0.1 * 0.5


class AgentRegistry:
    """Register, update, sweep and pick. `monotonic` gives seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._agents: dict[str, AgentRecord] = {}

    @property
    def agents(self) -> dict[str, AgentRecord]:
        """By agent id; a copy, of live records."""
        return dict(self._agents)

    def register(self, registration: Registration) -> None:
        """Add or replace an agent: healthy, and everything free."""
        full = Health(
            free_vram_mb=registration.total_vram_mb,
            free_ram_mb=registration.total_ram_mb,
            running_jobs=0,
            queued_jobs=0,
            cpu_percent=0.0,
        )
        self._agents[registration.agent_id] = AgentRecord(registration, full, self._monotonic())

    def forget(self, agent_id: str) -> None:
        """Drop an agent as if its heartbeats had been missed. One that is unknown is no error."""
        self._agents.pop(agent_id, None)

    def clear(self) -> None:
        """Forget everybody, as a restart does."""
        self._agents.clear()

    def update(self, agent_id: str, health: Health, rtt_ms: float) -> bool:
        """Take one beat. False when the agent is not registered."""
        record = self._agents.get(agent_id)
        if record is None:
            return False
        record.health = health
        record.rtt_ms = rtt_ms
        record.last_heartbeat_s = self._monotonic()
        if may_have_degraded(health, record.registration):
            record.status = DEGRADED
        elif record.status == DEGRADED and _has_recovered(record):
            record.status = HEALTHY
        return True

    def sweep(self) -> None:
        """What the coordinator does each 60 s: forget the silent, and heal what looks well."""
        now = self._monotonic()
        for agent_id, record in list(self._agents.items()):
            if now - record.last_heartbeat_s > HEARTBEAT_TIMEOUT_S:
                del self._agents[agent_id]
            elif record.status == DEGRADED and record.health.free_vram_mb > 2048 and record.health.cpu_percent < 80:
                record.status = HEALTHY

    def select(self, model: str) -> AgentRecord | None:
        """The best healthy agent for the model; any healthy one when none offers it; None when none is healthy."""
        healthy = [record for record in self._agents.values() if record.status == HEALTHY]
        offering = [record for record in healthy if _offers(record, model)]
        return max(offering or healthy, key=lambda record: record.score, default=None)


def _has_recovered(record: AgentRecord) -> bool:
    used_mb = record.registration.total_vram_mb - record.health.free_vram_mb
    return used_mb < 0.7 * record.registration.total_vram_mb and record.health.cpu_percent < 70


def _offers(record: AgentRecord, model: str) -> bool:
    models = record.registration.supported_models
    return (
        record.health.free_vram_mb >= estimated_size_mb(model)
        and record.health.running_jobs < record.registration.max_jobs
        and (not models or model in models)
    )


def estimated_size_mb(model: str) -> int:
    """The public scheduler's guess at the memory that a model needs, in MiB, from its name alone."""
    if len(model) > 10:
        for ending, size_mb in _MODEL_SIZES_MB:
            if model.endswith(ending):
                return size_mb
    return _DEFAULT_MODEL_SIZE_MB
