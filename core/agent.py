"""The agent: owns every part, composes them from the settings, and knows the order in which they start and stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from types import TracebackType
from typing import Self

from core import __version__
from core.circuit_breaker import CircuitBreaker
from core.config import Settings
from core.config_load import LoadedSettings
from core.energy_log import FILE_NAME as ENERGY_NAME
from core.energy_log import EnergyLog
from core.engine_keeper import EngineKeeper
from core.engine_processes import EngineProcesses
from core.engines import EngineFactory
from core.engines.absent import NoEngine
from core.engines.factory import EngineSecrets, engine_factories
from core.engines.names import find_model
from core.errors import AgentError
from core.fit import room_of
from core.give_back import MemoryKeeper
from core.give_back_file import GiveBackFile
from core.hub.hub import HubLimits, ModelHub, open_hub
from core.inference import ENGINE_SILENT, InferenceService, SessionRecord, TokenDoor
from core.keep_awake import KeepAwake, open_inhibitor
from core.logs import get_logger
from core.memory_meter import SystemMemoryMeter
from core.memory_watch import MemoryWatch
from core.model_manager import ModelManager
from core.model_names import parse_model_names
from core.model_shelf import ModelShelf
from core.model_starter import ModelStarter
from core.network import is_loopback_endpoint, public_address_problem
from core.owner import OwnerControl
from core.owner_engine_use import gpu_percent_of
from core.owner_rules import OpenSignals, OwnerRules
from core.parts.coordinator_side import CoordinatorSide
from core.parts.public_side import PublicSide
from core.parts.records import Records
from core.public_door import AgentDoor, request_limits, session_limits
from core.publisher import SnapshotPublisher, wanted_state
from core.pull_room import PullRoom
from core.pulled_models import PulledModels
from core.reasons import (
    ReasonBook,
    memory_going_back,
    no_public_address,
    setup_not_done,
    stopping,
)
from core.reporting import Reporter
from core.sessions import Admission, EndReason
from core.signals import Signals
from core.signals.power import power_probe
from core.signals.watch import SignalWatch
from core.snapshot import AgentSnapshot, GiveBack, SnapshotStore
from core.speed_book import SpeedBook
from core.state import AgentState
from core.stats_collector import StatsCollector, SystemStats
from core.updates.update_watch import UpdateWatch, shipped_keys

log = get_logger(__name__)

SAMPLE_INTERVAL_S = 2.0
USE_LIMIT_S = 1.0  # for the ledger's answer which model is to be loaded at the start
LEAVE_LIMIT_S = 2.0  # telling the coordinator, on the way out
END_LIMIT_S = 3.0  # for sessions that were told to end: an engine that doesn't let go must not hold us up
GRACE_S = 0.5  # for the last messages of calls that were ended


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
        open_signals: OpenSignals | None = None,
        allow_selftest: bool | None = None,
        is_held: bool = False,
    ) -> None:
        """`stats` and `open_signals` take the place of the real machine in tests.

        `allow_selftest` None: the self-test model is offered only to a coordinator on this machine.

        `is_held`: nothing is shared until another agent takes this one's place (the first questions are open).
        """
        self.loaded = loaded  # as it was at the start
        self.settings = settings = loaded.settings  # follows the owner's changes (core/live_settings.py)
        self.paths = loaded.paths
        self.store = store or SnapshotStore(AgentSnapshot(agent_id=settings.agent_id, profile=settings.profile))
        self.drain_limit_s = settings.drain_limit_s  # a front end may shorten it (a logout leaves 3 s)
        self._engine_secrets = EngineSecrets()
        self._pulled = PulledModels(self.paths.pulled_models_file)
        self._tasks: asyncio.TaskGroup | None = None
        self._kept: list[asyncio.Task[None]] = []
        self._leaving: asyncio.Task[None] | None = None
        self._is_up = False  # between "listening" and "stopping"
        self._was_blocked = False
        self._had_capacity = True  # as the coordinator was last told
        self._blocked_changed = asyncio.Event()
        if allow_selftest is None:
            allow_selftest = is_loopback_endpoint(settings.coordinator_endpoint)
        self._make_serving_parts(
            factories or engine_factories(settings, loaded.paths, self._engine_secrets, current=lambda: self.settings),
            allow_selftest,
        )
        self._make_reporting_parts(stats)
        self._make_network_sides()
        self._make_rules(open_signals)
        self.is_held = is_held
        if is_held:
            self.reasons.put(setup_not_done())
        for notice in loaded.notices:
            log.warning("noticed while reading the settings", notice=notice)
            self.report.add_notice(notice)

    def _make_serving_parts(self, factories: Mapping[str, EngineFactory], allow_selftest: bool) -> None:
        """What a request goes through: reasons, admission, models, and who keeps and pauses them."""
        settings = self.settings
        self.reasons = ReasonBook(self._on_reasons_changed)
        self.admission = Admission(
            max_jobs=settings.max_concurrent_jobs,
            queue_size=settings.queue_size,
            limits=session_limits(settings),
            closed_because=self.reasons.closed_because,
            closed_to_owner=self.reasons.closed_to_owner,
            on_change=self._on_sessions_changed,
        )
        self.models = ModelManager(
            engine=NoEngine(),
            supported=settings.supported_models,
            allow_selftest=allow_selftest,
            breaker=CircuitBreaker(),
            card_mb=lambda: self.report.machine.total_vram_mb if self.report.machine else None,
            room=lambda: room_of(self.store.current),
            names=parse_model_names(settings.model_names),
        )
        self.keeper = EngineKeeper(
            requested=settings.engine,
            factories=factories,
            models=self.models,
            admission=self.admission,
            reasons=self.reasons,
            on_offer_changed=self._on_offer_changed,
            on_unload=lambda: self.memory.give_back_when_idle(),
            unload_after_idle_s=settings.unload_after_idle_s,
            engine_gpu_percent=lambda: gpu_percent_of(self.report.machine, self._engine_processes.known),
        )
        self._hub = ModelHub(
            settings.models_dir,
            open_source=lambda reference: open_hub(reference, self.settings.hub_endpoint),
            limits=lambda: HubLimits(
                bytes_per_second=self.settings.download_limit_mb_s * 1e6,
                disk_budget_bytes=self._disk_budget_bytes(),
                is_metered=self._is_metered(),
            ),
            room_bytes=lambda: (self.store.current.capacity.total_mb << 20) or None,
        )
        self.shelf = ModelShelf(
            models=self.models,
            pulled=self._pulled,
            refresh=self.keeper.refresh,
            hub=self._hub,
            room=PullRoom(budget_bytes=self._disk_budget_bytes),
            is_metered=self._is_metered,
            on_change=self._on_sessions_changed,
        )
        self.owner = OwnerControl(
            admission=self.admission,
            reasons=self.reasons,
            state_file=self.paths.state_dir / "pause.json",
            finish_limit_s=settings.finish_limit_s,
            on_change=self._on_owner_changed,
            on_notice=self._on_notice,
        )

    def _make_reporting_parts(self, stats: StatsCollector | None) -> None:
        """What is measured, and who hears of it: the coordinator and the front ends."""
        settings = self.settings
        self._engine_processes = EngineProcesses(lambda: self.models.engine)
        self.stats = stats or StatsCollector(own_pids=self._engine_processes.look, lent_gpus=lambda: self.settings.gpus)
        self.memory = MemoryKeeper(
            models=self.models,
            admission=self.admission,
            meter=SystemMemoryMeter(self.stats.memory, self._engine_processes, lambda: self.models.engine.name),
            file=GiveBackFile(self.paths.state_dir / "give-back.json"),
            on_change=self._on_sessions_changed,
            on_going_back=lambda is_going: self.reasons.put_or_drop(
                "memory_going_back", memory_going_back() if is_going else None
            ),
        )
        self.memory_watch = MemoryWatch(
            self.stats.ram,
            is_needed=lambda: bool(self.models.loaded) or self.admission.running_jobs > 0,
            kept_mb=lambda ram: self.report.kept_ram_mb(ram.total_mb, ram.available_mb),
            on_reading=lambda ram: self.rules.take_ram(ram),
        )
        self.awake = KeepAwake(open_inhibitor(), lambda: power_probe().read())
        self.starter = ModelStarter(
            models=self.models,
            reasons=self.reasons,
            last_used=lambda: self.memory.unloaded,
            most_used=lambda: self.records.model_use.names,
            how_many=lambda: self.settings.preload_models,
            is_enabled=lambda: self.settings.preload_on_resume,
            limit_s=lambda: self.settings.first_token_timeout_s,
            on_failed=self.keeper.show,
        )
        self.report = Reporter(
            settings,
            models=self.models,
            keeper=self.keeper,
            admission=self.admission,
            reasons=self.reasons,
            owner=self.owner,
            shelf=self.shelf,
            engine_pids=lambda: self._engine_processes.known,
            give_back=lambda: self.memory.view,
            update=lambda: self.updates.offered,
            rules=lambda: self.rules.snapshot_fields(),
            first_tokens=lambda: self.records.first_tokens.views,
        )
        self.records = Records(self.paths, on_notice=self._on_notice)
        self.ledger, self.time_use = self.records.ledger, self.records.time_use
        self.store.subscribe(self.time_use.look)
        self.updates = UpdateWatch(
            path=self.paths.updates_file,
            version=__version__,
            keys=shipped_keys,
            url=lambda: self.settings.update_index_url,
            is_busy=lambda: self.admission.running_jobs > 0,
            is_metered=self._is_metered,
            on_change=self.publish_now,
        )
        self.publisher = SnapshotPublisher(
            self.store, self.report.snapshot_fields, is_busy=lambda: self.admission.running_jobs > 0
        )

    def _make_network_sides(self) -> None:
        """The coordinator, and the port for everybody else."""
        self.coordinator_side = CoordinatorSide(
            self.settings, report=self.report, reasons=self.reasons, on_link=self._on_link, on_woke=self._on_woke
        )
        self.coordinator, self.keys = self.coordinator_side.client, self.coordinator_side.keys
        self.public = PublicSide(
            self.settings,
            self.paths,
            keys=self.keys,
            make_service=self.make_service,
            report=self.report,
            snapshot=lambda: self.store.current,
            on_change=self.publish_now,
        )

    def _make_rules(self, open_signals: OpenSignals | None) -> None:
        """The owner's rules: what they look at, and what follows from them."""
        settings = self.settings
        energy = EnergyLog(
            self.paths.state_dir / ENERGY_NAME,
            tariff_per_kwh=settings.tariff_per_kwh,
            owners_figure_w=settings.serving_power_w,
            on_notice=self._on_notice,
        )

        def watch(on_change: Callable[[Signals], None]) -> SignalWatch:
            return SignalWatch(on_change, own_pids=lambda: self._engine_processes.known)

        self.rules = OwnerRules(
            settings,
            open_signals=open_signals or watch,
            reasons=self.reasons,
            admission=self.admission,
            energy=energy,
            own_memory=self.report.own_memory,
            least_ram_mb=lambda: getattr(self.models.engine, "least_mb", None),
            engine_name=lambda: self.models.engine.name,
            owner_use=lambda: self.keeper.owner_use,
            give_back=self._give_back_for_rule,
            on_change=self._publish_soon,
            on_pace=self.tell_coordinator,
        )

    async def __aenter__(self) -> Self:
        """Listen, choose the engine, start reporting. Raises PortTakenError, StorageError, ConfigError."""
        self.store.publish(state=AgentState.STARTING)
        try:
            await self._start()
        except BaseException as error:
            await self._close_parts(0.0)
            if isinstance(error, asyncio.CancelledError):  # told to stop before it was up
                self._publish_state(AgentState.STOPPING)
                self._publish_state(AgentState.STOPPED)
            else:
                self._publish_state(AgentState.FAILED)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drain and stop, in order; raises an ExceptionGroup when a kept task has died."""
        assert self._tasks is not None
        end = AgentState.STOPPED
        try:
            try:
                await self.drain(None if error is None else 0.0)
            finally:
                for task in self._kept:
                    task.cancel()
                await self._tasks.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            if any(part is not error for part in group.exceptions):
                end = AgentState.FAILED
                raise
            # Only the caller's own error, which leaves by itself.
        finally:
            await self._close_parts(GRACE_S)
            self._publish_state(end)

    @property
    def service(self) -> InferenceService | None:
        """Behind the public door; None before it listens."""
        return self.public.service

    def make_service(self, door: TokenDoor, *, is_owner: bool = False) -> InferenceService:
        """A way in to the same engine and admission behind another door (the self-test has its own key)."""
        return InferenceService(
            door=door,
            models=self.models,
            admission=self.admission,
            limits=request_limits(self.settings),
            on_ended=self._on_given if isinstance(door, AgentDoor) else self._on_ended,
            on_refused=lambda error: self.report.take_refused(),
            client_key=self.public.client_key,
            is_owner=is_owner,
        )

    def use_settings(self, settings: Settings) -> None:
        """Work by changed settings; core/live_settings.py has told the parts that it concerns."""
        self.settings = settings
        self.report.use_settings(settings)
        self.rules.use_settings(settings)
        self.publish_now()

    def tell_coordinator(self) -> None:
        """Register again: what was said of this agent (sessions, memory, models) no longer holds."""
        if self._is_up:
            self.coordinator.register_again()

    def publish_now(self) -> None:
        """Bring the snapshot up to date, its state included."""
        if self._is_up:
            self._publish_state(wanted_state(self.report.link.link, is_blocked=self.reasons.is_blocked))
        else:
            self.publisher.now()

    async def drain(self, limit_s: float | None = None) -> None:
        """Zero capacity first, then let sessions end, then end them. Leaving does it too; a second time is harmless.

        `limit_s` None is `drain_limit_s`; over after it, LEAVE_LIMIT_S and END_LIMIT_S at the latest.
        """
        leaving = self._begin_leaving()
        running = self.admission.running_jobs
        if running:
            limit_s = self.drain_limit_s if limit_s is None else limit_s
            log.info("draining", running=running, limit_s=limit_s)
            if not await self._wait_idle(limit_s):
                self.admission.end_all(EndReason.STOPPING)
                if not await self._wait_idle(END_LIMIT_S):
                    log.warning("sessions did not end in time", running=self.admission.running_jobs)
        await asyncio.wait([leaving])

    # Start and stop

    async def _start(self) -> None:
        settings = self.settings
        self.paths.ensure()
        await asyncio.to_thread(self._engine_secrets.read, settings, self.paths)
        await self.public.load()
        await self.records.open()
        await asyncio.to_thread(self._pulled.load)
        self.report.speeds = await asyncio.to_thread(SpeedBook(self.paths.speeds_file).read)
        await asyncio.to_thread(self._hub.load)
        await self.memory.load()
        await self.rules.energy.open()
        problem = public_address_problem(settings)
        if problem is not None:
            self.reasons.put(no_public_address(problem.sentence, problem.remedy))
        self.owner.restore()
        if settings.share == "by_hand" and not self.owner.is_paused:
            self.owner.pause()
        if not self.is_held:
            self.rules.begin()  # what is known already holds before the first call
        await self.public.listen()
        sampling = asyncio.create_task(asyncio.to_thread(self.stats.collect), name="first-sample")
        looking = asyncio.create_task(self.rules.look(), name="first-look")
        try:
            await self.keeper.start()
            self.report.take_sample(stats := await sampling)
            self.rules.take_sample(stats, self.report.cpu_percent_others)
            await looking  # a game that runs already keeps us closed: nobody hears of this machine, nothing is loaded
            if settings.preload_at_start:
                await self.records.model_use.refreshed(USE_LIMIT_S)
        finally:
            sampling.cancel()  # when it didn't come to that
            looking.cancel()
        self._tasks = await asyncio.TaskGroup().__aenter__()
        # Nothing is awaited from here on: a start that is given up now would leave these tasks behind.
        self._publish_state(AgentState.CONNECTING)
        self._is_up = True
        self._was_blocked = self.reasons.is_blocked
        self._had_capacity = not self._was_blocked
        if self.owner.is_paused:
            self.starter.want()
        elif self.settings.preload_at_start:
            self.starter.want_at_start()
            if not self._was_blocked:
                self.starter.begin()
        self._kept = [
            self._tasks.create_task(self.stats.run(SAMPLE_INTERVAL_S, self._on_sample), name="stats"),
            self._tasks.create_task(self.keeper.run(), name="engine-keeper"),
            *([] if self.is_held else [self._tasks.create_task(self.rules.run(), name="rules")]),
            self._tasks.create_task(self.keeper.watch(), name="engine-use"),
            self._tasks.create_task(self.memory_watch.run(), name="memory-watch"),
            self._tasks.create_task(self._keep_health(), name="health-service"),
            self._tasks.create_task(self.coordinator.run(), name="coordinator"),
            self._tasks.create_task(self.updates.run(), name="updates"),
        ]

    def _begin_leaving(self) -> asyncio.Task[None]:
        if self._leaving is None:
            self._publish_state(AgentState.STOPPING)
            self._is_up = False
            self.reasons.put(stopping())
            self._blocked_changed.set()
            self.admission.refuse_queue()
            self._leaving = asyncio.create_task(self.coordinator.leave(LEAVE_LIMIT_S), name="leave-coordinator")
            self.publisher.now()
        return self._leaving

    async def _wait_idle(self, limit_s: float) -> bool:
        try:
            async with asyncio.timeout(limit_s):
                await self.admission.wait_idle()
        except TimeoutError:
            return False
        return True

    async def _close_parts(self, grace_s: float) -> None:
        """Close what was opened, in the reverse order; nothing here waits for a client."""
        self.publisher.close()
        await self.shelf.close()
        await self.owner.close()
        await self.rules.close()
        await self.starter.close()
        await self.awake.close()
        await self.memory.close()
        await self.public.stop(grace_s)
        await self.keys.close()
        try:
            await self.models.engine.close()
        except AgentError as error:
            log.warning("engine not closed cleanly", error=error.detail)
        await asyncio.to_thread(self.stats.close)
        self.public.close()
        await self.records.close()

    async def _keep_health(self) -> None:
        """Answer grpc.health.v1 as the reasons say, for ever."""
        while True:
            self._blocked_changed.clear()
            await self.public.set_serving(not self.reasons.is_blocked)
            await self._blocked_changed.wait()

    def _publish_state(self, state: AgentState) -> None:
        if state is not self.store.current.state:
            log.info("state", state=state, was=self.store.current.state)
        self.store.publish(**self.report.snapshot_fields(), state=state)

    # What the parts report

    def _on_reasons_changed(self) -> None:
        if not self._is_up:
            return
        if "going_to_sleep" in self.reasons and self.models.loaded:
            self.starter.want_check()  # begun in the step in which the machine wakes: the clocks tell seconds later
        is_blocked = self.reasons.is_blocked
        if self._was_blocked and not is_blocked and self.starter.begin():
            return  # another reason has taken its place, and told everybody
        if is_blocked != self._was_blocked:
            self._was_blocked = is_blocked
            if is_blocked:
                self.admission.refuse_queue()
                self.awake.want(False)
            self._blocked_changed.set()
        has_capacity = not is_blocked and "engine_resting" not in self.reasons
        if has_capacity != self._had_capacity:
            self._had_capacity = has_capacity
            if has_capacity:
                self.coordinator.register_again()
            else:
                self.coordinator.beat_now()
        self.publish_now()

    def _on_owner_changed(self) -> None:
        """A pause, a finish or a resume by the owner."""
        if self._is_up:
            if self.owner.is_paused:
                self._unload_when_idle()
            else:
                self.memory.keep()
        self.publish_now()

    def _unload_when_idle(self) -> None:
        """Give our models' memory back once the last session has ended; serving again begins with loading one."""
        self.memory.give_back_when_idle(also=self.starter.stop())
        self.starter.want()
        self.records.model_use.refresh_soon()

    async def _give_back_for_rule(self, also: Collection[str]) -> GiveBack | None:
        """A rule wants the memory, now; raises EngineError. Serving again begins with loading a model."""
        loading = self.starter.stop()
        self.starter.want()
        self.records.model_use.refresh_soon()
        return await self.memory.give_back({*also, *loading})

    def _on_woke(self, slept_s: float) -> None:
        """The machine slept: a timed pause may be over, and a card may have lost what was on it."""
        self.owner.check_clock()
        self.keeper.look_now()
        if self.models.loaded:
            self.starter.want_check()
            if not self.reasons.is_blocked:
                self.starter.begin()

    def _on_offer_changed(self) -> None:
        if self._is_up:
            self.coordinator.register_again()
            self.publish_now()

    def _on_sessions_changed(self) -> None:
        self.rules.sessions_changed()
        if not self.admission.running_jobs:
            self.awake.want(False)
        self._publish_soon()

    def _publish_soon(self) -> None:
        if self._tasks is not None:  # while stopping too: the owner sees how many still run
            self.publisher.soon()

    def _on_sample(self, stats: SystemStats) -> None:
        self.report.take_sample(stats)
        self._fit_sessions()
        self.rules.take_sample(stats, self.report.cpu_percent_others)
        self.time_use.look(self.store.current)  # also where nothing changes
        self.keeper.show()  # a child may have given up between two looks
        self.keep_awake_if_serving()
        if self._has_loaded_unseen():
            self._engine_processes.refresh()
            self.keeper.look_now()
        if self._is_up and self.report.is_registration_outdated():
            log.info("capacity changed", total_mb=self.report.capacity().total_mb, kind=self.report.memory_kind)
            self.coordinator.register_again()
        self.publisher.soon()

    def keep_awake_if_serving(self) -> None:
        """Looked at with each sample, so a session of a moment costs nothing; let go at once, elsewhere."""
        is_serving = self.admission.running_jobs > 0 and not self.reasons.is_blocked
        self.awake.want(is_serving and self._is_up and self.settings.keep_awake)

    def _fit_sessions(self) -> None:
        """Admit no more sessions at once than the loaded model has room for: it may have been loaded with fewer."""
        places = [model.sessions for model in self.models.loaded if model.sessions]
        before = self.admission.max_jobs
        self.rules.keeper.use_max_jobs(min([self.settings.max_concurrent_jobs, *places]))
        if self.admission.max_jobs != before:
            log.info("sessions at once", wanted=self.settings.max_concurrent_jobs, now=self.admission.max_jobs)
            self.tell_coordinator()

    def _is_metered(self) -> bool:
        return self.rules.signals.current.is_metered is True

    def _disk_budget_bytes(self) -> int:
        return int(self.settings.models_disk_budget_gb * 1e9)

    def _has_loaded_unseen(self) -> bool:
        """Whether a session streams from a model that isn't known as loaded: its memory would count as others'."""
        loaded = [model.name for model in self.models.loaded]
        return any(
            session.has_first_token and find_model(session.model, loaded) is None for session in self.admission.sessions
        )

    def _on_given(self, record: SessionRecord) -> None:
        """A session of the network has ended: one of the owner's own tests is no contribution."""
        found = find_model(record.model, (model.name for model in self.models.models))
        quant = next((model.quant for model in self.models.models if model.name == found), "")
        self.ledger.record(record, quant=quant)
        self._on_ended(record)

    def _on_ended(self, record: SessionRecord) -> None:
        self.report.take_ended(record)
        self.records.take(record)
        self.rules.energy.count_tokens(record.completion_tokens)
        if record.end_reason is EndReason.ENGINE_FAILED or record.end_reason in ENGINE_SILENT:
            self.keeper.look_now()  # also ends a child that is stuck
        is_well = record.end_reason is EndReason.COMPLETED
        if not is_well or "engine_resting" in self.reasons:  # the breaker closes with a good session
            self.keeper.show()

    def _on_link(self) -> None:
        if self._is_up:
            self.publish_now()

    def _on_notice(self, old: str, new: str) -> None:
        self.report.replace_notice(old, new)
        if self._is_up:
            self.publisher.soon()
