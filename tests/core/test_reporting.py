"""What the agent says of itself: to the coordinator only what is true and useful there, to front ends everything."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from core.circuit_breaker import CircuitBreaker
from core.config import Settings
from core.coordinator_types import NotRegistering, Registration
from core.engine_keeper import EngineKeeper
from core.engines import EngineStatus, LoadedModel
from core.errors import EngineFailed
from core.gpu import GpuSample
from core.model_manager import ModelManager
from core.model_shelf import ModelShelf
from core.owner import OwnerControl
from core.reasons import ReasonBook
from core.reasons.of_network import coordinator_away
from core.reasons.of_owner import paused_by_owner
from core.reporting import MAX_NOTICES, Reporter
from core.sessions import Admission, EndReason
from core.snapshot import AgentSnapshot
from core.stats_collector import SystemStats
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.manual_clock import ManualClock
from tests.fakes.session_records import ended

SETTINGS = Settings(agent_id="agent-1", profile="p", public_host="gpu.example.com", supported_models=("tiny",))
RAM_ONLY = SystemStats(taken_at=1.0, total_ram_mb=32_000, free_ram_mb=28_000)
WITH_CARD = replace(
    RAM_ONLY,
    total_vram_mb=24_000,
    free_vram_mb=24_000,
    gpus=(GpuSample(uuid="g", name="card", total_mb=24_000, free_mb=24_000),),
)


@dataclass
class FakeKeeper:
    requested: str = "auto"
    chosen_because: str = "Ollama answers"


@dataclass
class FakeShelf:
    pulls: tuple[Any, ...] = ()
    pulled_names: tuple[str, ...] = ()


class Reported:
    """A Reporter around the real reasons, admission, models and pause."""

    def __init__(self, folder: Path, settings: Settings = SETTINGS) -> None:
        self.clock = ManualClock()
        self.engine = FakeEngine(name="ollama", models=("tiny:latest",))
        self.engine.status = EngineStatus(state="ready", detail="at http://10.0.0.7:11434")
        self.breaker = CircuitBreaker(self.clock.wall, self.clock.monotonic)
        self.models = ModelManager(engine=self.engine, supported=settings.supported_models, breaker=self.breaker)
        self.reasons = ReasonBook()
        self.admission = Admission(max_jobs=4)
        owner = OwnerControl(
            admission=self.admission, reasons=self.reasons, state_file=folder / "pause.json", finish_limit_s=1
        )
        self.report = Reporter(
            settings,
            models=self.models,
            keeper=cast(EngineKeeper, FakeKeeper()),
            admission=self.admission,
            reasons=self.reasons,
            owner=owner,
            shelf=cast(ModelShelf, FakeShelf()),
            engine_pids=lambda: (),
        )
        self.report.take_sample(RAM_ONLY)

    def registered(self) -> Registration:
        registration = self.report.registration()
        assert isinstance(registration, Registration), registration
        return registration

    def refusal(self) -> str:
        registration = self.report.registration()
        assert isinstance(registration, NotRegistering), registration
        return registration.reason


@pytest.fixture
async def reported(tmp_path: Path) -> Reported:
    made = Reported(tmp_path)
    await made.models.refresh()
    return made


async def test_registration_says_what_is_offered_and_where(reported: Reported) -> None:
    registration = reported.registered()
    assert (registration.agent_id, registration.endpoint) == ("agent-1", "gpu.example.com:50052")
    assert (registration.supported_models, registration.max_jobs) == (("tiny",), 4)
    assert (registration.total_vram_mb, registration.total_ram_mb) == (32_000 - 3_200, 32_000)
    assert registration.capabilities["memory_kind"] == "ram"


async def test_public_port_and_the_bound_port_are_told_apart(tmp_path: Path) -> None:
    assert Reported(tmp_path, replace(SETTINGS, public_port=443)).report.endpoint == "gpu.example.com:443"
    bound = Reported(tmp_path, replace(SETTINGS, agent_port=0))
    bound.report.port = 41_234
    assert bound.report.endpoint == "gpu.example.com:41234"


async def test_capabilities_are_text_and_hold_no_address_of_the_engine(reported: Reported) -> None:
    reported.report.tls_fingerprint = "ab" * 32
    capabilities = reported.registered().capabilities
    assert all(isinstance(value, str) for value in capabilities.values())
    assert "10.0.0.7" not in str(capabilities)
    assert (capabilities["tls"], capabilities["engine"]) == (f"sha256:{'ab' * 32}", "ollama")
    assert set(capabilities) == {
        *("agent_version", "engine", "device", "memory_kind", "gpu_count", "tier"),
        *("context_tokens", "max_output_tokens", "tls"),
    }


async def test_nothing_is_registered_while_a_reason_blocks_and_it_is_said(reported: Reported) -> None:
    reported.reasons.put(coordinator_away("nobody"))  # blocks nobody
    reported.registered()
    reported.reasons.put(paused_by_owner(None))
    assert reported.refusal() == "Paused by you until you resume."


async def test_nothing_is_registered_without_memory_or_models(reported: Reported) -> None:
    """A coordinator reads an empty list of models as "any model"."""
    reported.engine.models = []
    await reported.models.refresh()
    assert "has none of: tiny" in reported.refusal()
    reported.report.take_sample(replace(RAM_ONLY, total_ram_mb=500))
    assert reported.refusal().startswith("No RAM is left to offer")


async def test_beats_carry_no_capacity_while_a_reason_blocks_or_the_engine_rests(reported: Reported) -> None:
    healthy, total_mb = reported.report.health(), reported.report.capacity().total_mb
    assert (healthy.free_vram_mb, healthy.free_ram_mb) == (28_000, 28_000)  # others hold more than the reserve
    reported.reasons.put(paused_by_owner(None))
    assert reported.report.health().free_vram_mb == reported.report.health().free_ram_mb == 0
    reported.reasons.drop("paused_by_owner")
    for _ in range(3):
        with pytest.raises(EngineFailed):
            async with reported.breaker.guard():
                raise EngineFailed("broken")
    assert reported.report.health().free_vram_mb == 0
    assert reported.report.capacity().total_mb == total_mb  # a fact about the machine, which stays


async def test_registration_is_outdated_by_another_kind_of_memory_or_a_twentieth_of_it(reported: Reported) -> None:
    reported.registered()
    assert not reported.report.is_registration_outdated()
    reported.report.take_sample(replace(RAM_ONLY, total_ram_mb=31_000))
    assert not reported.report.is_registration_outdated()  # 3 % less
    reported.report.take_sample(replace(RAM_ONLY, total_ram_mb=30_000))
    assert reported.report.is_registration_outdated()
    reported.reasons.put(paused_by_owner(None))
    assert not reported.report.is_registration_outdated()  # there is none
    reported.reasons.drop("paused_by_owner")
    reported.report.take_sample(RAM_ONLY)
    assert not reported.report.is_registration_outdated()
    reported.report.take_sample(WITH_CARD)  # its driver came late
    assert reported.report.is_registration_outdated()
    assert reported.registered().capabilities["memory_kind"] == "vram"
    assert not reported.report.is_registration_outdated()


async def test_memory_that_is_measured_late_asks_for_the_first_registration(tmp_path: Path) -> None:
    reported = Reported(tmp_path)
    await reported.models.refresh()
    reported.report.machine = None
    assert reported.refusal() == "The machine's memory has not been measured yet."
    assert not reported.report.is_registration_outdated()
    reported.report.take_sample(RAM_ONLY)
    assert reported.report.is_registration_outdated()


async def test_kind_of_memory_is_remembered_while_the_model_is_unloaded(reported: Reported) -> None:
    """Or each unloading would register the agent as another machine."""
    reported.report.take_sample(WITH_CARD)
    reported.models.loaded = (LoadedModel(name="tiny:latest", total_mb=100, vram_mb=0),)
    assert reported.report.memory_kind == "ram"
    reported.models.loaded = ()
    assert reported.report.memory_kind == "ram"


async def test_totals_count_each_end_once(reported: Reported) -> None:
    report = reported.report
    for reason in (EndReason.COMPLETED, EndReason.CLIENT_GONE, EndReason.ENGINE_FAILED, EndReason.FAULT):
        report.take_ended(ended(end_reason=reason, completion_tokens=5))
    report.take_refused()
    totals = report.totals
    assert (totals.requests_processed, totals.requests_failed, totals.requests_refused) == (4, 2, 1)
    assert (totals.sessions_served, totals.tokens) == (4, 20)


async def test_session_that_the_engine_refused_counts_as_refused_and_not_as_served(reported: Reported) -> None:
    """A prompt that doesn't fit is found at the door or by the engine, which is the same to the owner."""
    reported.report.take_ended(ended(end_reason=EndReason.REFUSED, completion_tokens=0))
    totals = reported.report.totals
    assert (totals.requests_processed, totals.requests_failed, totals.requests_refused) == (0, 0, 1)
    assert totals.sessions_served == 0


async def test_session_that_ended_before_its_first_token_was_not_served(reported: Reported) -> None:
    """As the ledger counts, or the dashboard would say two numbers of one day."""
    reported.report.take_ended(ended(end_reason=EndReason.CLIENT_GONE, completion_tokens=0))
    assert (reported.report.totals.requests_processed, reported.report.totals.sessions_served) == (1, 0)


async def test_notices_are_kept_once_replaced_and_bounded(reported: Reported) -> None:
    report = reported.report
    for _ in range(2):
        report.add_notice("the disk is full")
    report.add_notice("")
    assert report.notices == ["the disk is full"]
    report.replace_notice("the disk is full", "")
    for number in range(MAX_NOTICES + 5):
        report.add_notice(f"notice {number}")
    assert len(report.notices) == MAX_NOTICES
    assert report.notices[-1] == f"notice {MAX_NOTICES + 4}"


async def test_front_ends_get_every_field_of_the_snapshot(reported: Reported) -> None:
    fields = reported.report.snapshot_fields()
    snapshot = AgentSnapshot(**fields)
    assert set(AgentSnapshot.__dataclass_fields__) - set(fields) == {"state"}
    assert (snapshot.engine.name, snapshot.engine.chosen_because) == ("ollama", "Ollama answers")
    assert snapshot.capacity == reported.report.capacity()
    assert snapshot.machine == RAM_ONLY
