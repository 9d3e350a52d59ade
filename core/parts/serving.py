"""What a request goes through: the reasons not to serve, admission, the models, and the keeper of their engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from core.circuit_breaker import CircuitBreaker
from core.config import Settings
from core.engine_keeper import EngineKeeper
from core.engine_processes import EngineProcesses
from core.engines import EngineFactory
from core.engines.absent import NoEngine
from core.engines.factory import EngineSecrets, engine_factories
from core.engines.names import find_model
from core.errors import AgentError
from core.fit import Room
from core.inference import ENGINE_SILENT, SessionRecord
from core.logs import get_logger
from core.model_manager import ModelManager
from core.model_names import parse_model_names
from core.network import is_loopback_endpoint
from core.owner_engine_use import gpu_percent_of
from core.paths import ProfilePaths
from core.public_door import session_limits
from core.reasons import ReasonBook
from core.sessions import Admission, EndReason
from core.stats_collector import SystemStats

log = get_logger(__name__)

END_LIMIT_S = 3.0  # for sessions that were told to end: an engine that doesn't let go must not hold us up


class Serving:
    """One engine at a time, and the sessions on it. There is none before the keeper's start."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        paths: ProfilePaths,
        *,
        factories: Mapping[str, EngineFactory] | None,
        allow_selftest: bool | None,
        machine: Callable[[], SystemStats | None],
        room: Callable[[], Room | None],
        on_reasons_changed: Callable[[], None],
        on_sessions_changed: Callable[[], None],
        on_offer_changed: Callable[[], None],
        on_unload: Callable[[], None],
    ) -> None:
        """`settings` as they are now. `factories` None: the engines that the settings name. `allow_selftest` None: only
        where the coordinator is on this machine. `machine` is its last sample, `room` what a model may take now;
        `on_unload` as in EngineKeeper.
        """
        self._paths = paths
        self._secrets = EngineSecrets()
        self._at_start = at_start = settings()
        self.reasons = ReasonBook(on_reasons_changed)
        self.admission = _admission(at_start, self.reasons, on_sessions_changed)
        self.models = _models(at_start, allow_selftest, machine, room)
        self.processes = EngineProcesses(lambda: self.models.engine)
        self.keeper = EngineKeeper(
            requested=at_start.engine,
            factories=factories or engine_factories(at_start, paths, self._secrets, current=settings),
            models=self.models,
            admission=self.admission,
            reasons=self.reasons,
            on_offer_changed=on_offer_changed,
            on_unload=on_unload,
            unload_after_idle_s=at_start.unload_after_idle_s,
            engine_gpu_percent=lambda: gpu_percent_of(machine(), self.processes.known),
        )

    async def load(self) -> None:
        """Read what an engine needs from the keyring, before the keeper's start. Raises ConfigError, StorageError."""
        await asyncio.to_thread(self._secrets.read, self._at_start, self._paths)

    def quant_of(self, model: str) -> str:
        """Of a model by the engine's name; "" where it isn't known."""
        return next((each.quant for each in self.models.models if each.name == model), "")

    def note_end(self, record: SessionRecord) -> None:
        """A session has ended: what it tells of the engine."""
        if record.end_reason is EndReason.ENGINE_FAILED or record.end_reason in ENGINE_SILENT:
            self.keeper.look_now()  # also ends a child that is stuck
        is_well = record.end_reason is EndReason.COMPLETED
        if not is_well or "engine_resting" in self.reasons:  # the breaker closes with a good session
            self.keeper.show()

    def look_for_unseen(self) -> None:
        """A session that streams from a model that isn't known as loaded: its memory would count as others'."""
        loaded = [model.name for model in self.models.loaded]
        streaming = (session.model for session in self.admission.sessions if session.has_first_token)
        if any(find_model(name, loaded) is None for name in streaming):
            self.processes.refresh()
            self.keeper.look_now()

    async def end_sessions(self, limit_s: float) -> None:
        """Let them end by themselves, then end them; over END_LIMIT_S after `limit_s` at the latest."""
        log.info("draining", running=self.admission.running_jobs, limit_s=limit_s)
        if not await self._wait_idle(limit_s):
            self.admission.end_all(EndReason.STOPPING)
            if not await self._wait_idle(END_LIMIT_S):
                log.warning("sessions did not end in time", running=self.admission.running_jobs)

    async def close(self) -> None:
        """Leave the engine, once nobody can call it any more."""
        try:
            await self.models.engine.close()
        except AgentError as error:
            log.warning("engine not closed cleanly", error=error.detail)

    async def _wait_idle(self, limit_s: float) -> bool:
        try:
            async with asyncio.timeout(limit_s):
                await self.admission.wait_idle()
        except TimeoutError:
            return False
        return True


def _admission(settings: Settings, reasons: ReasonBook, on_change: Callable[[], None]) -> Admission:
    return Admission(
        max_jobs=settings.max_concurrent_jobs,
        queue_size=settings.queue_size,
        limits=session_limits(settings),
        closed_because=reasons.closed_because,
        closed_to_owner=reasons.closed_to_owner,
        on_change=on_change,
    )


def _models(
    settings: Settings,
    allow_selftest: bool | None,
    machine: Callable[[], SystemStats | None],
    room: Callable[[], Room | None],
) -> ModelManager:
    """Without an engine yet."""
    is_local = is_loopback_endpoint(settings.coordinator_endpoint)
    return ModelManager(
        engine=NoEngine(),
        supported=settings.supported_models,
        allow_selftest=is_local if allow_selftest is None else allow_selftest,
        breaker=CircuitBreaker(),
        card_mb=lambda: stats.total_vram_mb if (stats := machine()) else None,
        room=room,
        names=parse_model_names(settings.model_names),
    )
