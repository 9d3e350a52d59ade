"""Models in memory: loaded before serving begins, given back when the owner or a rule wants the memory, and watched."""

from __future__ import annotations

from collections.abc import Callable, Collection

from core.config import Settings
from core.give_back import MemoryKeeper
from core.give_back_file import GiveBackFile
from core.host_meter import RamReading
from core.logs import get_logger
from core.memory_meter import SystemMemoryMeter
from core.memory_watch import MemoryWatch
from core.model_starter import ModelStarter
from core.model_use import ModelUse
from core.parts.serving import Serving
from core.paths import ProfilePaths
from core.reasons.of_engine import memory_going_back
from core.snapshot import GiveBack
from core.stats_collector import StatsCollector

USE_LIMIT_S = 1.0  # for the ledger's answer, at the start

log = get_logger(__name__)


class ModelMemory:
    """What gives memory back and what loads again afterwards belong together: the one leaves a wish to the other."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        paths: ProfilePaths,
        *,
        serving: Serving,
        stats: StatsCollector,
        model_use: ModelUse,
        kept_mb: Callable[[RamReading], int],
        on_ram: Callable[[RamReading], None],
        on_change: Callable[[], None],
        on_notice: Callable[[str, str], None],
    ) -> None:
        """`settings` as they are now; `kept_mb` is what of the RAM must stay free, `on_ram` gets each reading of it."""
        self._models, self._reasons = serving.models, serving.reasons
        self._admission = serving.admission
        self._settings, self._model_use = settings, model_use
        self.keeper = MemoryKeeper(
            models=serving.models,
            admission=serving.admission,
            meter=SystemMemoryMeter(stats.memory, serving.processes, lambda: self._models.engine.name),
            file=GiveBackFile(paths.state_dir / "give-back.json"),
            on_change=on_change,
            on_going_back=self._on_going_back,
            on_notice=on_notice,
        )
        self.watch = MemoryWatch(
            stats.ram,
            is_needed=lambda: bool(self._models.loaded) or serving.admission.running_jobs > 0,
            kept_mb=kept_mb,
            on_reading=on_ram,
        )
        self.starter = ModelStarter(
            models=serving.models,
            reasons=serving.reasons,
            last_used=lambda: self.keeper.unloaded,
            most_used=lambda: model_use.names,
            how_many=lambda: settings().preload_models,
            is_enabled=lambda: settings().preload_on_resume,
            limit_s=lambda: settings().first_token_timeout_s,
            on_failed=serving.keeper.show,
        )
        serving.keeper.on_outgrown = self.load_better

    async def load(self) -> None:
        """Read how giving back went before."""
        await self.keeper.load()

    async def prepare(self) -> None:
        """Before `begin`: which model is to be there before the first request, where the owner wants one."""
        if self._settings().preload_at_start:
            await self._model_use.refreshed(USE_LIMIT_S)

    def begin(self, *, is_paused: bool) -> None:
        """The agent is up."""
        if is_paused:
            self.starter.want()
        elif self._settings().preload_at_start:
            self.starter.want_at_start()
            if not self._reasons.is_blocked:
                self.starter.begin()

    def follow_owner(self, *, is_paused: bool) -> None:
        """A pause gives the memory back once the last session has ended; a resume before that keeps it."""
        if is_paused:
            in_use = {session.model for session in self._admission.sessions}  # one may just be loading its model
            also = {*in_use, *self._models.loading, *self._stop_loading()}
            self.keeper.give_back_when_idle(also=also, until_done=True)
        else:
            self.keeper.keep()

    def load_better(self) -> None:
        """A better quantisation fits now, or the whole context: what is in memory leaves, and comes back so."""
        log.info("model leaves to come back in a better form", loaded=[model.name for model in self._models.loaded])
        self.keeper.give_back_when_idle(also=self._stop_loading())

    async def give_back_for_rule(self, also: Collection[str]) -> GiveBack | None:
        """A rule wants the memory, now; raises EngineError."""
        return await self.keeper.give_back({*also, *self._models.loading, *self._stop_loading()})

    def check_after_sleep(self) -> None:
        """A card may have lost what was on it."""
        if self._models.loaded:
            self.starter.want_check()
            if not self._reasons.is_blocked:
                self.starter.begin()

    async def close(self) -> None:
        await self.starter.close()
        await self.keeper.close()

    def _on_going_back(self, is_going: bool) -> None:
        self._reasons.put_or_drop("memory_going_back", memory_going_back() if is_going else None)

    def _stop_loading(self) -> tuple[str, ...]:
        """The models that may still be loading. Serving again begins with loading one."""
        loading = self.starter.stop()
        self.starter.want()
        self._model_use.refresh_soon()
        return loading
