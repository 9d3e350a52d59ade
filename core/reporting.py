"""What the agent says about itself: to front ends (the snapshot's fields) and to the coordinator (registration, beats).

The coordinator gets capacity to serve; front ends get that and the raw meter beside it (contract.md).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from core import __version__
from core.capacity import (
    CapacityLimits,
    CpuOfOthers,
    MemoryKind,
    OwnMemory,
    capacity_to_serve,
    kept_cards_in_use,
    kept_free_mb,
    memory_kind,
    own_memory,
    why_no_capacity,
)
from core.config import Settings
from core.contribution import is_served
from core.coordinator_types import Health, NotRegistering, Registration
from core.engine_keeper import EngineKeeper
from core.engines.load_room import load_plan
from core.first_tokens import FirstToken
from core.gpu.advice import REMEDY, unused_card, used_kept_card
from core.inference import SessionRecord
from core.model_manager import ModelManager
from core.model_shelf import ModelShelf
from core.network import format_endpoint
from core.owner import OwnerControl
from core.publisher import TokenRate
from core.quantization import TierChoice, tier_for
from core.reasons import ReasonBook
from core.sessions import Admission, EndReason
from core.snapshot import (
    CapacityView,
    CoordinatorView,
    EnergyView,
    EngineView,
    GiveBackView,
    ProcessorHeatView,
    Totals,
)
from core.speed_book import Measuring, Speed
from core.stats_collector import SystemStats
from core.updates.release_index import Release

MAX_NOTICES = 20
NO_RULES: Mapping[str, Any] = {"rules": (), "energy": EnergyView(), "processor_heat": ProcessorHeatView()}
CAPACITY_CHANGE = 0.05  # of the total: worth registering again


class Reporter:
    """Collects what is known and answers at once, from memory. All on the loop thread."""

    def __init__(
        self,
        settings: Settings,
        *,
        models: ModelManager,
        keeper: EngineKeeper,
        admission: Admission,
        reasons: ReasonBook,
        owner: OwnerControl,
        shelf: ModelShelf,
        engine_pids: Callable[[], Collection[int]],
        give_back: Callable[[], GiveBackView | None] = lambda: None,
        update: Callable[[], Release | None] = lambda: None,
        rules: Callable[[], Mapping[str, Any]] = lambda: NO_RULES,
        first_tokens: Callable[[], tuple[FirstToken, ...]] = tuple,
    ) -> None:
        self._settings = settings
        self._models = models
        self._keeper = keeper
        self._admission = admission
        self._reasons = reasons
        self._owner = owner
        self._shelf = shelf
        self._engine_pids = engine_pids
        self._give_back = give_back
        self._rules = rules
        self._first_tokens = first_tokens
        self._update = update
        self._limits = _capacity_limits(settings)
        self._cpu_of_others = CpuOfOthers()
        self._rate = TokenRate()
        self._started_at = time.time()
        self.machine: SystemStats | None = None
        self.link = CoordinatorView(endpoint=settings.coordinator_endpoint)
        self.totals = Totals()
        self.speeds: tuple[Speed, ...] = ()  # as the agent's file has them
        self.measuring: Measuring | None = None
        self.port = settings.agent_port  # the bound one, once the server listens
        self.listening_on: tuple[str, ...] = ()
        self.tls_fingerprint = ""
        self.notices: list[str] = []
        self._card_notice = ""
        self._registered: CapacityView | None = None  # what the coordinator was last told; None: nothing
        self._kind_seen: tuple[str, MemoryKind] | None = None  # engine, and where its last loaded model lived

    # What comes in

    def use_settings(self, settings: Settings) -> None:
        """Report by changed settings from now on."""
        self._settings, self._limits = settings, _capacity_limits(settings)

    def take_sample(self, stats: SystemStats) -> None:
        self.machine = stats
        self._cpu_of_others.update(stats)
        self._say_unused_card(stats)

    def take_ended(self, record: SessionRecord) -> None:
        is_failed = record.end_reason in (EndReason.ENGINE_FAILED, EndReason.FAULT)
        is_refused = record.end_reason is EndReason.REFUSED  # by the engine: as if at the door, nothing was answered
        self.totals = Totals(  # not `replace`, which takes five times as long: once for each session
            requests_processed=self.totals.requests_processed + (not is_refused),
            sessions_served=self.totals.sessions_served + is_served(record.end_reason, record.completion_tokens),
            requests_failed=self.totals.requests_failed + is_failed,
            requests_refused=self.totals.requests_refused + is_refused,
            tokens=self.totals.tokens + record.completion_tokens,
        )

    def take_refused(self) -> None:
        self.totals = replace(self.totals, requests_refused=self.totals.requests_refused + 1)

    def add_notice(self, sentence: str) -> None:
        """Something that the owner should know; each is kept once, the newest last."""
        if sentence and sentence not in self.notices:
            self.notices = [*self.notices, sentence][-MAX_NOTICES:]

    def replace_notice(self, old: str, new: str) -> None:
        """A trouble changed, or ended (`new` ""): what was said of it no longer holds."""
        self.notices = [notice for notice in self.notices if notice != old]
        self.add_notice(new)

    # What goes to the coordinator

    @property
    def endpoint(self) -> str:
        """host:port that clients are sent to."""
        return format_endpoint(self._settings.public_host, self._settings.public_port or self.port)

    @property
    def memory_kind(self) -> MemoryKind:
        engine, loaded = self._models.engine, self._models.loaded
        kind = memory_kind(engine.name, self.machine, loaded, engine.status.device)
        if any(model.vram_mb is not None for model in loaded):
            self._kind_seen = (engine.name, kind)
        elif self._kind_seen is not None and self._kind_seen[0] == engine.name:
            return self._kind_seen[1]  # an unloaded model comes back to where it was
        return kind

    def capacity(self) -> CapacityView:
        return capacity_to_serve(
            self.machine,
            self.memory_kind,
            self._limits,
            own=self.own_memory(),
            is_serving=not self._reasons.is_blocked and self._models.breaker.state != "open",
            cpu_percent_others=self._cpu_of_others.percent,
        )

    def registration(self) -> Registration | NotRegistering:
        """What is offered now, or why nothing is: a coordinator reads an empty list of models as "any model"."""
        self._registered = None
        for reason in self._reasons.all:
            if reason.blocks:
                return NotRegistering(reason.sentence)
        capacity = self.capacity()
        nothing = why_no_capacity(self.machine, capacity)
        if nothing:
            return NotRegistering(nothing)
        if not self._models.offered:
            return NotRegistering(self._models.problem or "There is no model to offer.")
        self._registered = capacity
        return Registration(
            agent_id=self._settings.agent_id,
            endpoint=self.endpoint,
            total_vram_mb=capacity.total_mb,
            total_ram_mb=(self.machine and self.machine.total_ram_mb) or 0,
            max_jobs=self._admission.max_jobs,
            supported_models=self._models.offered,
            capabilities=self._capabilities(capacity),
        )

    def is_registration_outdated(self) -> bool:
        """Whether the coordinator works with a capacity that is no longer true: another kind of memory, or 5 % off.

        A driver came late, or the engine turned out to compute elsewhere than expected. Never while a reason blocks.
        """
        if self._reasons.is_blocked or not self._models.offered:
            return False
        now, told = self.capacity(), self._registered
        if told is None:
            return now.total_mb > 0
        return now.kind != told.kind or abs(now.total_mb - told.total_mb) > CAPACITY_CHANGE * told.total_mb

    @property
    def cpu_percent_others(self) -> float:
        """The processor's use that isn't ours, smoothed: 0 to 100 over all cores."""
        return self._cpu_of_others.percent

    def health(self) -> Health:
        capacity = self.capacity()
        return Health(
            free_vram_mb=capacity.free_mb,
            free_ram_mb=capacity.free_ram_mb,
            running_jobs=self._admission.running_jobs,
            queued_jobs=self._admission.queued_jobs,
            cpu_percent=capacity.cpu_percent_others,
        )

    def _capabilities(self, capacity: CapacityView) -> dict[str, str]:
        """Free text for people and clients; never an engine's address."""
        machine = self.machine
        return {
            "agent_version": __version__,
            "engine": self._models.engine.name,
            "device": self._models.engine.status.device,
            "memory_kind": capacity.kind,  # "ram": total_vram_mb is what a CPU engine may use of the RAM
            "gpu_count": str(sum(card.is_lent for card in machine.gpus) if machine else 0),
            "tier": tier.tier.value if (tier := self._tier()) else "",
            "context_tokens": str(self._context_tokens()),
            "max_output_tokens": str(self._settings.max_output_tokens),
            "tls": f"sha256:{self.tls_fingerprint}" if self.tls_fingerprint else "off",
        }

    # What goes to front ends

    def snapshot_fields(self) -> dict[str, Any]:
        """Every field of AgentSnapshot but the lifecycle state."""
        running_tokens = sum(session.tokens for session in self._admission.sessions)
        tier = self._tier()
        return {
            "agent_id": self._settings.agent_id,
            "profile": self._settings.profile,
            "version": __version__,
            "pid": os.getpid(),
            "started_at": self._started_at,
            "endpoint": self.endpoint,
            "listening_on": self.listening_on,
            "reasons": self._reasons.all,
            "pause_until": self._owner.pause_until,
            "share_until": self._owner.share_until,
            "is_draining": self._owner.is_draining,
            "running_jobs": self._admission.running_jobs,
            "queued_jobs": self._admission.queued_jobs,
            "max_jobs": self._admission.max_jobs,
            "sessions": self._admission.views(),
            "tokens_per_second": self._rate.update(self.totals.tokens + running_tokens),
            "engine": self._engine_view(),
            "load_plan": load_plan(self._models.engine, self._settings),
            "models": self._models.models,
            "offered_models": self._models.offered,
            "missing_models": self._models.missing,
            "chosen_quants": self._models.chosen_quants,
            "speeds": self.speeds,
            "measuring": self.measuring,
            "first_tokens": self._first_tokens(),
            "loaded_models": self._models.loaded,
            "pulls": self._shelf.pulls,
            "pulled_models": self._shelf.pulled_names,
            "coordinator": self.link,
            "capacity": self.capacity(),
            "machine": self.machine,
            "tier": tier.tier.value if tier else "",
            "tier_reason": tier.reason if tier else "",
            "totals": self.totals,
            "give_back": self._give_back(),
            **self._rules(),
            "notices": tuple(self.notices),
            "tls_fingerprint": self.tls_fingerprint,
            "update": self._update(),
        }

    def _say_unused_card(self, stats: SystemStats) -> None:
        cards = [(card.name, card.total_mb) for card in stats.gpus if not card.is_unified and card.is_lent]
        engine = self._models.engine
        sentence = unused_card(engine.name, engine.status.device, cards)
        notice = f"{sentence} {REMEDY}" if sentence else ""
        kept = kept_cards_in_use(stats, self._engine_pids())
        notice = notice or used_kept_card(engine.name, [card.name for card in kept])
        if notice != self._card_notice:
            self.replace_notice(self._card_notice, notice)
            self._card_notice = notice

    def _engine_view(self) -> EngineView:
        breaker = self._models.breaker
        return EngineView(
            name=self._models.engine.name if self._keeper.chosen_because else "",
            requested=self._keeper.requested,
            chosen_because=self._keeper.chosen_because,
            status=self._models.engine.status,
            breaker=breaker.state.value,
            breaker_retry_at=breaker.retry_at,
            pids=tuple(self._engine_pids()),
        )

    def _context_tokens(self) -> int:
        """Of a session now: less than set where memory is short, or the model was trained for less."""
        loaded = [model.context_tokens for model in self._models.loaded if model.context_tokens]
        return min([self._settings.context_tokens, *loaded])

    def own_memory(self) -> OwnMemory:
        """What our engine holds now."""
        return own_memory(self.machine, self._models.loaded, self._engine_pids())

    def kept_ram_mb(self, total_mb: int, free_mb: int) -> int:
        """What of the RAM must stay free now, MiB."""
        own_mb = self.own_memory().ram_mb or 0
        return kept_free_mb(total_mb, free_mb, own_mb=own_mb, reserve_mb=self._settings.ram_reserve_mb)

    def _tier(self) -> TierChoice | None:
        if self.machine is None:
            return None
        uses_gpu = self.memory_kind == "vram"
        own = self.own_memory()
        return tier_for(self.machine, uses_gpu, own_mb=(own.vram_mb if uses_gpu else own.ram_mb) or 0)


def _capacity_limits(settings: Settings) -> CapacityLimits:
    return CapacityLimits(
        ram_budget_mb=settings.ram_budget_mb,
        ram_reserve_mb=settings.ram_reserve_mb,
        vram_reserve_mb=settings.vram_reserve_mb,
    )
