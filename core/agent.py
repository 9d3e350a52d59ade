"""The agent: owns every part, composes them from the settings, and knows the order in which they start and stop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from core.config import Settings
from core.config_load import LoadedSettings
from core.engines import EngineFactory
from core.fit import room_of
from core.logs import get_logger
from core.owner_rules import OpenSignals
from core.parts.coordinator_side import CoordinatorSide
from core.parts.kept_tasks import KeptTasks
from core.parts.model_files import ModelFiles
from core.parts.model_memory import ModelMemory
from core.parts.owner_side import OwnerSide
from core.parts.public_side import PublicSide
from core.parts.records import Records
from core.parts.reports import Reports
from core.parts.sampling import Sampling
from core.parts.services import Services
from core.parts.serving import Serving
from core.parts.serving_switch import ServingSwitch
from core.reasons.of_owner import setup_not_done
from core.snapshot import AgentSnapshot, SnapshotStore
from core.speed_book import SpeedBook
from core.state import AgentState
from core.stats_collector import StatsCollector

log = get_logger(__name__)

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

        `allow_selftest` None: the self-test model is offered only to a coordinator on this machine. `is_held`: nothing
        is shared until another agent takes this one's place (the first questions are open).
        """
        self.loaded = loaded  # as it was at the start
        self.settings = settings = loaded.settings  # follows the owner's changes (core/live_settings.py)
        self.paths = loaded.paths
        self.store = store or SnapshotStore(AgentSnapshot(agent_id=settings.agent_id, profile=settings.profile))
        self.drain_limit_s = settings.drain_limit_s  # a front end may shorten it (a logout leaves 3 s)
        self.is_held = is_held
        self._kept = KeptTasks()
        self._current_settings = lambda: self.settings
        self.records = Records(self.paths, on_notice=self._on_notice)
        self.ledger, self.time_use = self.records.ledger, self.records.time_use
        self.store.subscribe(self.time_use.look)
        self._make_serving(factories, allow_selftest)
        self.stats = stats or StatsCollector(own_pids=self.serving.processes.look, lent_gpus=lambda: self.settings.gpus)
        self._make_model_sides()
        self._make_owner_side(open_signals)
        self._make_reports()
        self._make_network_sides()
        self.reports.note_settings(loaded.notices)
        if is_held:
            self.reasons.put(setup_not_done())

    def _make_serving(self, factories: Mapping[str, EngineFactory] | None, allow_selftest: bool | None) -> None:
        """What a request goes through."""
        self.serving = Serving(
            self._current_settings,
            self.paths,
            factories=factories,
            allow_selftest=allow_selftest,
            machine=lambda: self.report.machine,
            room=lambda: room_of(self.store.current),
            on_reasons_changed=lambda: self.switch.follow_reasons(),
            on_sessions_changed=lambda: self.owner_side.sessions_changed(),
            on_offer_changed=lambda: self.switch.follow_offer(),
            on_unload=lambda: self.memory.give_back_when_idle(),
        )
        self.reasons, self.admission = self.serving.reasons, self.serving.admission
        self.models, self.keeper = self.serving.models, self.serving.keeper

    def _make_model_sides(self) -> None:
        """The engine's models, on the disk and in memory."""
        self.model_files = ModelFiles(
            self._current_settings,
            self.paths,
            models=self.models,
            refresh=self.keeper.refresh,
            room_bytes=lambda: (self.store.current.capacity.total_mb << 20) or None,
            is_metered=lambda: self.owner_side.ask_metered(),
            on_change=lambda: self.owner_side.sessions_changed(),
        )
        self.model_memory = ModelMemory(
            self._current_settings,
            self.paths,
            serving=self.serving,
            stats=self.stats,
            model_use=self.records.model_use,
            kept_mb=lambda ram: self.report.kept_ram_mb(ram.total_mb, ram.available_mb),
            on_ram=lambda ram: self.rules.take_ram(ram),
            on_change=lambda: self.owner_side.sessions_changed(),
            on_notice=self._on_notice,
        )
        self.shelf, self.memory = self.model_files.shelf, self.model_memory.keeper

    def _make_owner_side(self, open_signals: OpenSignals | None) -> None:
        """What the owner rules and pauses."""
        self.owner_side = OwnerSide(
            self._current_settings,
            self.paths,
            serving=self.serving,
            own_memory=lambda: self.report.own_memory(),
            give_back=self.model_memory.give_back_for_rule,
            sample=lambda: self.sampling.now(),
            open_signals=open_signals,
            is_held=self.is_held,
            on_owner_changed=self._on_owner_changed,
            on_change=lambda: self.reports.soon(),
            on_pace=lambda: self.switch.tell_coordinator(),
            on_notice=self._on_notice,
        )
        self.owner, self.rules = self.owner_side.owner, self.owner_side.rules

    def _make_reports(self) -> None:
        """What is told to the coordinator and to front ends."""
        self.reports = Reports(
            self._current_settings,
            self.paths,
            self.store,
            serving=self.serving,
            files=self.model_files,
            memory=self.model_memory,
            owner_side=self.owner_side,
            records=self.records,
            is_up=lambda: self.switch.is_up,
        )
        self.report, self.updates, self.publish_now = self.reports.report, self.reports.updates, self.reports.now
        self.sampling = Sampling(
            self.stats,
            self.report,
            self.serving,
            self.owner_side,
            is_watched=lambda: self.store.is_watched,
            on_sampled=self._on_sampled,
        )

    def _make_network_sides(self) -> None:
        """The coordinator, the port for everybody else, and what opens and closes both."""
        self.coordinator_side = CoordinatorSide(
            self.settings, self.report, self.reasons, on_link=self.reports.follow_link, on_woke=self._on_woke
        )
        self.coordinator, self.keys = self.coordinator_side.client, self.coordinator_side.keys
        self.services = Services(
            self._current_settings, self.serving, self.records, self.report, count_tokens=self.rules.energy.count_tokens
        )
        self.public = PublicSide(
            self.settings,
            self.paths,
            keys=self.keys,
            services=self.services,
            report=self.report,
            reasons=self.reasons,
            snapshot=lambda: self.store.current,
            on_change=self.reports.now,
        )
        self.switch = ServingSwitch(
            self.serving,
            starter=self.model_memory.starter,
            coordinator=self.coordinator,
            let_sleep=self.owner_side.let_sleep,
            set_serving=self.public.set_serving,
            publish=self.reports.now,
        )

    async def __aenter__(self) -> Self:
        """Listen, choose the engine, start reporting. Raises PortTakenError, StorageError, ConfigError."""
        self.store.publish(state=AgentState.STARTING)
        try:
            await self._start()
        except BaseException as error:
            await self._close_parts(0.0)
            self.reports.show_failed_start(error)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drain and stop, in order; raises an ExceptionGroup when a kept task has died."""
        end = AgentState.STOPPED
        try:
            try:
                await self.drain(None if error is None else 0.0)
            finally:
                await self._kept.close(kind, error, trace)
        except BaseExceptionGroup:
            end = AgentState.FAILED
            raise
        finally:
            await self._close_parts(GRACE_S)
            self.reports.show_state(end)

    def use_settings(self, settings: Settings) -> None:
        """Work by changed settings; core/live_settings.py has told the parts that it concerns."""
        self.settings = settings
        self.report.use_settings(settings)
        self.rules.use_settings(settings)
        self.reports.now()

    async def drain(self, limit_s: float | None = None) -> None:
        """Zero capacity first, then let sessions end, then end them. Leaving does it too; a second time is harmless.

        `limit_s` None is `drain_limit_s`; over after it, the switch's LEAVE_LIMIT_S and serving's END_LIMIT_S.
        """
        if not self.switch.is_leaving:
            self.reports.show_state(AgentState.STOPPING)
            self.switch.turn_off()
            self.reports.now()
        if self.admission.running_jobs:
            await self.serving.end_sessions(self.drain_limit_s if limit_s is None else limit_s)
        await self.switch.wait_left()

    # Start and stop

    async def _start(self) -> None:
        # What was kept over the restart.
        self.paths.ensure()
        await self.serving.load()
        await self.public.load()
        await self.services.load(self.paths)
        await self.records.open()
        await self.model_files.load()
        self.report.speeds = await asyncio.to_thread(SpeedBook(self.paths.speeds_file).read)
        await self.model_memory.load()
        await self.owner_side.load()
        # What the owner ruled holds before the first call, and what the machine tells before anybody hears of us.
        self.owner_side.restore()
        await self.public.listen()
        await self.sampling.start()
        await self.model_memory.prepare()
        await self._kept.open()
        # Nothing is awaited from here on: a start that is given up now would leave the kept tasks behind.
        self.reports.open()
        self.reports.show_state(AgentState.CONNECTING)
        self.switch.turn_on()
        self.model_memory.begin(is_paused=self.owner.is_paused)
        self._kept.add("stats", self.sampling.run())
        self._kept.add("engine-keeper", self.keeper.run())
        self._kept.add("rules", self.owner_side.run())
        self._kept.add("engine-use", self.keeper.watch())
        self._kept.add("memory-watch", self.model_memory.watch.run())
        self._kept.add("health-service", self.switch.keep_health())
        self._kept.add("coordinator", self.coordinator.run())
        self._kept.add("updates", self.updates.run())

    async def _close_parts(self, grace_s: float) -> None:
        """Close what was opened, in the reverse order; nothing here waits for a client."""
        self.reports.close()
        await self.model_files.close()
        await self.owner_side.close()
        await self.model_memory.close()
        await self.public.stop(grace_s)
        await self.keys.close()
        await self.serving.close()
        await asyncio.to_thread(self.stats.close)
        self.public.close()
        await self.records.close()

    # What the parts report

    def _on_owner_changed(self) -> None:
        """A pause, a finish or a resume by the owner."""
        if self.switch.is_up:
            self.model_memory.follow_owner(is_paused=self.owner.is_paused)
        self.reports.now()

    def _on_woke(self, slept_s: float) -> None:
        """The machine slept: a timed pause may be over, and a card may have lost what was on it."""
        self.owner.check_clock()
        self.keeper.look_now()
        self.model_memory.check_after_sleep()

    def _on_sampled(self) -> None:
        self.time_use.look(self.store.current)  # also where nothing changes
        self.coordinator_side.check_capacity()
        self.reports.take_sample()

    def _on_notice(self, old: str, new: str) -> None:
        self.reports.replace_notice(old, new)
