"""The agent: owns every part, composes them from the settings, and knows the order in which they start and stop."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from core.agent_server import AgentServer, ServerOptions
from core.circuit_breaker import CircuitBreaker
from core.config import Settings
from core.config_load import LoadedSettings
from core.coordinator_client import CoordinatorClient
from core.engine_keeper import EngineKeeper
from core.engine_processes import EngineProcesses
from core.engines import EngineFactory
from core.engines.factory import engine_factories
from core.errors import AgentError, ConfigError, CoordinatorError
from core.inference import InferenceService, RequestLimits, SessionRecord, TokenDoor
from core.jwt_validator import JwtValidator, TokenClaims
from core.key_keeper import KeyKeeper
from core.logs import get_logger
from core.model_manager import ModelManager
from core.network import effective_listen_addresses, has_ipv6, is_loopback_endpoint, public_address_problem
from core.owner import OwnerControl
from core.paths import ensure_private_folder
from core.publisher import SnapshotPublisher, wanted_state
from core.reasons import ReasonBook, coordinator_away, no_public_address, stopping
from core.replay_store import ReplayStore
from core.reporting import Reporter
from core.sessions import Admission, EndReason, SessionLimits
from core.snapshot import AgentSnapshot, CoordinatorView, SnapshotStore
from core.state import AgentState
from core.stats_collector import StatsCollector, SystemStats
from core.tls import TlsMaterial, ensure_self_signed, load_pair

log = get_logger(__name__)

SAMPLE_INTERVAL_S = 2.0
LEAVE_LIMIT_S = 2.0  # telling the coordinator, on the way out


@dataclass(frozen=True, slots=True)
class AgentDoor:
    """The public door: tokens of the coordinator, checked with its key and spent in the replay store."""

    keys: KeyKeeper
    spent: ReplayStore

    async def verify(self, token: str) -> TokenClaims:
        claims = await self.keys.verify_refreshing(token)
        self.spent.check_not_before_start(claims)
        return claims

    def spend(self, claims: TokenClaims) -> None:
        self.spent.spend(claims.jti, claims.exp)


class Agent:
    """One running agent, an async context manager. Front ends read `store`; everything happens on the entering loop.

    A kept task that dies cancels whoever entered, and leaving raises its error: FAILED, on purpose and visibly.
    """

    def __init__(
        self,
        loaded: LoadedSettings,
        *,
        store: SnapshotStore | None = None,
        factories: Mapping[str, EngineFactory] | None = None,
        stats: StatsCollector | None = None,
        allow_selftest: bool | None = None,
    ) -> None:
        self.settings = settings = loaded.settings
        self.paths = loaded.paths
        self.store = store or SnapshotStore(AgentSnapshot(agent_id=settings.agent_id, profile=settings.profile))
        self._tasks: asyncio.TaskGroup | None = None
        self._was_blocked = False
        self.drain_limit_s = settings.drain_limit_s  # a front end may shorten it (a logout leaves 3 s)
        self._is_up = False  # between "listening" and "stopping"
        self.server: AgentServer | None = None

        self.reasons = ReasonBook(self._on_reasons_changed)
        self.admission = Admission(
            max_jobs=settings.max_concurrent_jobs,
            queue_size=settings.queue_size,
            limits=session_limits(settings),
            closed_because=self.reasons.closed_because,
            on_change=self._on_sessions_changed,
        )
        factories = factories or engine_factories(settings, loaded.paths)
        on_loopback = is_loopback_endpoint(settings.coordinator_endpoint)
        self.models = ModelManager(
            engine=factories["ollama" if settings.engine == "auto" else settings.engine](),
            supported=settings.supported_models,
            allow_selftest=on_loopback if allow_selftest is None else allow_selftest,
            breaker=CircuitBreaker(),
        )
        self.keeper = EngineKeeper(
            requested=settings.engine,
            factories=factories,
            models=self.models,
            admission=self.admission,
            reasons=self.reasons,
            on_offer_changed=self._on_offer_changed,
        )
        self.owner = OwnerControl(
            admission=self.admission,
            reasons=self.reasons,
            state_file=loaded.paths.state_dir / "pause.json",
            finish_limit_s=settings.finish_limit_s,
            on_change=self.publish_now,
        )
        processes = EngineProcesses(lambda: self.models.engine)
        self.stats = stats or StatsCollector(own_pids=processes.look)
        self.report = Reporter(
            settings,
            models=self.models,
            keeper=self.keeper,
            admission=self.admission,
            reasons=self.reasons,
            owner=self.owner,
            engine_pids=lambda: processes.known,
        )
        for notice in loaded.notices:
            self.report.add_notice(notice)
        self.coordinator = CoordinatorClient(
            endpoint=settings.coordinator_endpoint,
            heartbeat_interval_s=settings.heartbeat_interval_s,
            get_registration=self.report.registration,
            get_health=self.report.health,
            on_key=self._on_key,
            on_view=self._on_link,
            on_notice=self.report.add_notice,
            tls=settings.coordinator_tls,
            ca_path=settings.coordinator_ca,
        )
        self.keys = KeyKeeper(JwtValidator(settings.agent_id), self.coordinator.fetch_key)
        self._client_key = secrets.token_bytes(16)
        self.publisher = SnapshotPublisher(
            self.store, self.report.snapshot_fields, is_busy=lambda: self.admission.running_jobs > 0
        )

    async def __aenter__(self) -> Self:
        """Listen, choose the engine, start reporting. Raises PortTakenError, StorageError, ConfigError."""
        self.store.publish(state=AgentState.STARTING)
        try:
            await self._start()
        except BaseException:
            await self._close_parts(0.0)
            self._publish_state(AgentState.FAILED)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drain and stop, in order; raises an ExceptionGroup when a kept task has died."""
        assert self._tasks is not None
        self._publish_state(AgentState.STOPPING)
        try:
            await self._drain(self.drain_limit_s if error is None else 0.0)
            for task in self._kept:
                task.cancel()
            await self._tasks.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            if any(part is not error for part in group.exceptions):
                await self._close_parts(0.0)
                self._publish_state(AgentState.FAILED)
                raise
            # Only the caller's own error, which leaves by itself.
        await self._close_parts(0.5)
        self._publish_state(AgentState.STOPPED)

    def make_service(self, door: TokenDoor) -> InferenceService:
        """A way in to the same engine and admission behind another door (the self-test has its own key)."""
        settings = self.settings
        return InferenceService(
            door=door,
            models=self.models,
            admission=self.admission,
            limits=RequestLimits(
                max_prompt_bytes=settings.max_prompt_bytes,
                max_output_tokens=settings.max_output_tokens,
                context_tokens=settings.context_tokens,
            ),
            on_ended=self._on_ended,
            on_refused=lambda error: self.report.take_refused(),
            client_key=self._client_key,
        )

    def publish_now(self) -> None:
        """Bring the snapshot up to date, its state included."""
        if self._is_up:
            self._publish_state(wanted_state(self.report.link.link, is_blocked=self.reasons.is_blocked))
        else:
            self.publisher.now()

    # Start and stop

    async def _start(self) -> None:
        settings = self.settings
        self.paths.ensure()
        self.spent = await asyncio.to_thread(ReplayStore, self.paths.spent_tokens_file)
        self.report.add_notice(self.spent.notice)
        problem = public_address_problem(settings)
        if problem is not None:
            self.reasons.put(no_public_address(problem.sentence, problem.remedy))
        self.owner.restore()
        if settings.share == "by_hand" and not self.owner.is_paused:
            self.owner.pause()
        await self._listen()
        sampling = asyncio.create_task(asyncio.to_thread(self.stats.collect))
        await self.keeper.start()
        self.report.take_sample(await sampling)
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._kept = [
            self._tasks.create_task(self.stats.run(SAMPLE_INTERVAL_S, self._on_sample), name="stats"),
            self._tasks.create_task(self.keeper.run(), name="engine-keeper"),
        ]
        self._publish_state(AgentState.CONNECTING)
        self._is_up = True
        self._was_blocked = self.reasons.is_blocked
        await self._show_health()
        self._reporting = self._tasks.create_task(self.coordinator.run(), name="coordinator")
        self._kept.append(self._reporting)

    async def _listen(self) -> None:
        settings = self.settings
        tls = await asyncio.to_thread(tls_material, settings, self.paths.tls_dir)
        self.server = AgentServer(
            service=self.make_service(AgentDoor(self.keys, self.spent)),
            options=ServerOptions(
                addresses=effective_listen_addresses(settings, ipv6=has_ipv6()),
                max_calls=settings.max_concurrent_jobs + settings.queue_size,
                max_prompt_bytes=settings.max_prompt_bytes,
                tls=None if tls is None else (tls.private_key, tls.certificate_chain),
            ),
            snapshot=lambda: self.store.current,
        )
        if tls is not None:
            self.report.tls_fingerprint = tls.fingerprint
            self.report.add_notice(tls.notice)
        await self.server.start()
        self.report.port = self.server.ports[0]
        self.report.listening_on = self.server.listening_on
        log.info("listening", addresses=list(self.server.listening_on), agent_id=settings.agent_id)

    async def _drain(self, limit_s: float) -> None:
        """Zero capacity first, then let sessions end, then end them; at the latest after `limit_s` + LEAVE_LIMIT_S."""
        self._is_up = False
        self.reasons.put(stopping())
        self.admission.refuse_queue()
        leaving = asyncio.create_task(self.coordinator.leave(LEAVE_LIMIT_S), name="leave-coordinator")
        running = self.admission.running_jobs
        if running:
            log.info("draining", running=running, limit_s=limit_s)
            try:
                async with asyncio.timeout(limit_s):
                    await self.admission.wait_idle()
            except TimeoutError:
                self.admission.end_all(EndReason.STOPPING)
                await self.admission.wait_idle()
        await leaving

    async def _close_parts(self, grace_s: float) -> None:
        """Close what was opened, in the reverse order; nothing here waits for a client."""
        self.publisher.close()
        await self.owner.close()
        if self.server is not None:
            await self.server.stop(grace_s)
        await self.keys.close()
        try:
            await self.models.engine.close()
        except AgentError as error:
            log.warning("engine not closed cleanly", error=error.detail)
        await asyncio.to_thread(self.stats.close)
        if hasattr(self, "spent"):
            self.spent.close()

    def _publish_state(self, state: AgentState) -> None:
        if state is not self.store.current.state:
            log.info("state", state=state, was=self.store.current.state)
        self.store.publish(**self.report.snapshot_fields(), state=state)

    async def _show_health(self) -> None:
        if self.server is not None:
            await self.server.set_serving(not self.reasons.is_blocked)

    # What the parts report

    def _on_reasons_changed(self) -> None:
        if not self._is_up:
            return
        is_blocked = self.reasons.is_blocked
        if is_blocked != self._was_blocked:
            self._was_blocked = is_blocked
            if is_blocked:
                self.admission.refuse_queue()
                self.coordinator.beat_now()
            else:
                self.coordinator.register_again()
            assert self._tasks is not None
            self._tasks.create_task(self._show_health(), name="show-health")
        self.publish_now()

    def _on_offer_changed(self) -> None:
        if self._is_up:
            self.coordinator.register_again()
            self.publish_now()

    def _on_sessions_changed(self) -> None:
        if self._is_up:
            self.publisher.soon()

    def _on_sample(self, stats: SystemStats) -> None:
        self.report.take_sample(stats)
        self.publisher.soon()

    def _on_ended(self, record: SessionRecord) -> None:
        self.report.take_ended(record)
        log.info(
            "session ended",
            model=record.model,
            client=record.client,
            reason=record.end_reason,
            prompt_tokens=record.prompt_tokens,
            tokens=record.completion_tokens,
            seconds=round(record.seconds, 3),
        )
        if record.end_reason is EndReason.ENGINE_FAILED:
            self.keeper.look_now()
        self.keeper.show()

    def _on_key(self, pem: str) -> None:
        try:
            self.keys.adopt(pem)
        except CoordinatorError as error:
            log.warning("coordinator key refused", error=error.detail)
            self.report.add_notice(error.detail)

    def _on_link(self, view: CoordinatorView) -> None:
        self.report.link = view
        away = view.link in ("away", "connecting") and bool(view.detail)
        self.reasons.put_or_drop("coordinator_away", coordinator_away(view.detail) if away else None)
        if self._is_up:
            self.publish_now()


def session_limits(settings: Settings) -> SessionLimits:
    return SessionLimits(
        queue_wait_s=settings.queue_wait_s,
        max_session_s=settings.max_session_s,
        slow_client_s=settings.slow_client_s,
        first_token_timeout_s=settings.first_token_timeout_s,
        token_gap_timeout_s=settings.token_gap_timeout_s,
    )


def tls_material(settings: Settings, tls_dir: Path) -> TlsMaterial | None:
    """The certificate and key to serve with, None for plaintext. Blocks; raises ConfigError and StorageError."""
    if settings.tls_cert is not None or settings.tls_key is not None:
        if settings.tls_cert is None or settings.tls_key is None:
            raise ConfigError(["tls_cert and tls_key belong together; one is missing"], hint="Set both, or none.")
        return load_pair(settings.tls_cert, settings.tls_key)
    if settings.tls_self_signed:
        ensure_private_folder(tls_dir)
        return ensure_self_signed(settings.public_host, tls_dir / "agent.crt", tls_dir / "agent.key")
    return None
