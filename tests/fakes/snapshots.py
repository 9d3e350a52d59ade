"""AgentSnapshot values as a running agent publishes them."""

from __future__ import annotations

from dataclasses import replace

from core.engines import EngineModel, EngineStatus, LoadedModel
from core.reasons.of_rules import sharing_now
from core.snapshot import (
    AgentSnapshot,
    CapacityView,
    CoordinatorView,
    EngineView,
    Reason,
    RuleView,
    SessionView,
    Totals,
)
from core.state import AgentState
from core.stats_collector import SystemStats

NOW = 1_800_000_000.0  # seconds since the epoch: the instant at which these snapshots are shown


def busy_snapshot() -> AgentSnapshot:
    """An agent on a graphics card that serves one session, seen through Ollama."""
    return AgentSnapshot(
        state=AgentState.READY,
        agent_id="agent-0123456789ab",
        profile="default",
        version="0.1.0",
        pid=4321,
        started_at=NOW - 7500,
        endpoint="gpu.example.com:50052",
        listening_on=("[::]:50052",),
        running_jobs=1,
        queued_jobs=0,
        max_jobs=4,
        sessions=(
            SessionView(
                session_id="s7",
                model="llama3.1:8b",
                client="1a2b3c4d",
                phase="running",
                started_at=NOW - 12,
                tokens=1234,
                tokens_per_second=43.21,
            ),
        ),
        tokens_per_second=43.21,
        engine=EngineView(
            name="ollama",
            chosen_because="Ollama answers",
            status=EngineStatus(state="ready", device="CUDA0", version="0.6.3"),
        ),
        models=(
            EngineModel(name="llama3.1:8b", size_bytes=4_900_000_000, quant="Q4_K_M", context_tokens=131_072),
            EngineModel(name="odd[bold]:latest"),
        ),
        offered_models=("llama3.1:8b",),
        loaded_models=(LoadedModel(name="llama3.1:8b", total_mb=5200, vram_mb=5200, context_tokens=4096),),
        coordinator=CoordinatorView(
            endpoint="coordinator.example.com:50051",
            link="registered",
            rtt_ms=12.34,
            last_ack_at=NOW - 3,
            heartbeat_interval_s=10.0,
            registrations=1,
            has_key=True,
        ),
        capacity=CapacityView(kind="vram", total_mb=7168, free_mb=7000, free_ram_mb=9000, cpu_percent_others=3.4),
        machine=SystemStats(
            taken_at=NOW,
            total_ram_mb=32_000,
            free_ram_mb=20_000,
            cpu_percent=25.0,
            cpu_percent_ours=2.0,
            total_vram_mb=8192,
            free_vram_mb=2800,
            gpu_temperature=61.0,
            gpu_utilisation_percent=97.0,
            gpu_power_w=180.0,
        ),
        tier="High",
        totals=Totals(
            requests_processed=1200, sessions_served=1198, requests_failed=3, requests_refused=4, tokens=98_765
        ),
    )


def in_use_snapshot() -> AgentSnapshot:
    """The owner is at the machine, and their rule holds it back."""
    sentence = "In use: it shares after 10 minutes without mouse and keyboard."
    return replace(
        busy_snapshot(),
        state=AgentState.PAUSED,
        running_jobs=0,
        sessions=(),
        reasons=(Reason(code="in_use", sentence=sentence, icon="in_use", setting="pause_while_in_use"),),
        rules=(
            RuleView(code="in_use", is_on=True, holds=True, sentence=sentence, effect="finish within 30 s, unload"),
        ),
    )


def sharing_snapshot() -> AgentSnapshot:
    """The same, once the owner has said to share for an hour all the same."""
    held = in_use_snapshot()
    return replace(
        held,
        state=AgentState.READY,
        share_until=NOW + 3600,
        reasons=(sharing_now(NOW + 3600, ["in_use"], NOW),),
        rules=tuple(replace(view, waits_until=NOW + 3600) for view in held.rules),
    )


def paused_snapshot() -> AgentSnapshot:
    """A pause that ends in half an hour, an engine that rests, and a coordinator that is away."""
    return AgentSnapshot(
        state=AgentState.CONNECTING,
        agent_id="agent-1",
        profile="work",
        max_jobs=2,
        pause_until=NOW + 1800,
        reasons=(
            Reason(code="paused_by_owner", sentence="Paused by you.", remedy="titan resume", ends_at=NOW + 1800),
            Reason(code="coordinator_away", sentence="The coordinator does not answer.", remedy="", blocks=False),
        ),
        engine=EngineView(
            name="embedded",
            status=EngineStatus(state="fault", detail="The child ended (SIGSEGV).", hint="titan logs", restarts=2),
            breaker="open",
            breaker_retry_at=NOW + 30,
        ),
        coordinator=CoordinatorView(endpoint="localhost:50051", link="away", detail="No ack\x1b[2J within 5 s"),
        notices=("A damaged settings file was set aside.",),
    )
