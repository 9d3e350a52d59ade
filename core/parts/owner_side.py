"""The owner's say: pause, sharing now, the rules with what they look at, sessions at once, and the machine's sleep."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from core.boot import since_boot_s
from core.capacity import OwnMemory
from core.config import Settings
from core.energy_log import FILE_NAME as ENERGY_NAME
from core.energy_log import EnergyLog
from core.keep_awake import KeepAwake, open_inhibitor
from core.logs import get_logger
from core.owner import OwnerControl
from core.owner_rules import OpenSignals, OwnerRules
from core.parts.serving import Serving
from core.paths import ProfilePaths
from core.rules_keeper import GiveBack
from core.signals import Signals
from core.signals.power import power_probe
from core.signals.watch import SignalWatch

log = get_logger(__name__)


class OwnerSide:
    """What was ruled and paused before holds again before the first call; kept as long as the agent runs."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        paths: ProfilePaths,
        *,
        serving: Serving,
        own_memory: Callable[[], OwnMemory],
        give_back: GiveBack,
        sample: Callable[[], Awaitable[None]],
        open_signals: OpenSignals | None,
        is_held: bool,
        on_owner_changed: Callable[[], None],
        on_change: Callable[[], None],
        on_pace: Callable[[], None],
        on_notice: Callable[[str, str], None],
    ) -> None:
        """`settings` as they are now. `is_held`: the first questions are open, so nothing is shared.

        `on_owner_changed` is called after a pause, a finish, a resume or a word about sharing now, `on_pace` when
        another number of sessions may run at once; the others as in OwnerRules.
        """
        self._settings = settings
        self._is_held = is_held
        self._serving = serving
        self._on_owner_changed = on_owner_changed
        self._on_change = on_change
        self._on_pace = on_pace
        self.awake = KeepAwake(open_inhibitor(), lambda: power_probe().read())
        self.owner = self._make_owner(paths, on_notice)
        energy = _energy_log(settings(), paths, on_notice)
        self.rules = self._make_rules(open_signals or self._watch, energy, own_memory, give_back, sample)

    async def load(self) -> None:
        """Read what the last days took of energy."""
        await self.rules.energy.open()

    def restore(self) -> None:
        """Pause, or share now, as before the restart; pause where sharing begins by hand. What the rules know holds
        from now on."""
        self.owner.restore()
        if self._settings().share == "by_hand" and not self.owner.is_paused:
            self.owner.pause()
        self.rules.share_until(self.owner.share_until)
        if not self._is_held:
            self.rules.begin()

    async def run(self) -> None:
        """Keep the rules for ever."""
        if not self._is_held:
            await self.rules.run()

    async def ask_metered(self) -> bool:
        """Whether the network is known to cost by its traffic.

        Asked now: also where no rule looks at it, and before the first questions are answered.
        """
        return await self.rules.signals.read_now("is_metered") is True

    def fit_sessions(self) -> None:
        """Admit no more sessions at once than the loaded model has room for: it may have been loaded with fewer."""
        admission, wanted = self._serving.admission, self._settings().max_concurrent_jobs
        places = [model.sessions for model in self._serving.models.loaded if model.sessions]
        before = admission.max_jobs
        self.rules.keeper.use_max_jobs(min([wanted, *places]))
        if admission.max_jobs != before:
            log.info("sessions at once", wanted=wanted, now=admission.max_jobs)
            self._on_pace()

    def sessions_changed(self) -> None:
        """A session has perhaps begun or ended, or something else that front ends show beside them."""
        self.rules.sessions_changed()
        if not self._serving.admission.running_jobs:
            self.let_sleep()
        self._on_change()

    def keep_awake_if_serving(self) -> None:
        """Looked at with each sample, so a session of a moment costs nothing; let go at once, elsewhere."""
        is_serving = self._serving.admission.running_jobs > 0 and not self._serving.reasons.is_blocked
        self.awake.want(is_serving and self._settings().keep_awake)

    def let_sleep(self) -> None:
        self.awake.want(False)

    async def close(self) -> None:
        await self.owner.close()
        await self.rules.close()
        await self.awake.close()

    def _follow_owner(self) -> None:
        """The rules first: they only see what holds anyway, and a pause stands in the reasons already."""
        self.rules.share_until(self.owner.share_until)
        self._on_owner_changed()

    def _make_owner(self, paths: ProfilePaths, on_notice: Callable[[str, str], None]) -> OwnerControl:
        return OwnerControl(
            admission=self._serving.admission,
            reasons=self._serving.reasons,
            state_file=paths.state_dir / "pause.json",
            finish_limit_s=self._settings().finish_limit_s,
            since_boot_s=since_boot_s,
            on_change=self._follow_owner,
            on_notice=on_notice,
        )

    def _make_rules(
        self,
        open_signals: OpenSignals,
        energy: EnergyLog,
        own_memory: Callable[[], OwnMemory],
        give_back: GiveBack,
        sample: Callable[[], Awaitable[None]],
    ) -> OwnerRules:
        serving = self._serving
        return OwnerRules(
            self._settings(),
            open_signals=open_signals,
            reasons=serving.reasons,
            admission=serving.admission,
            energy=energy,
            own_memory=own_memory,
            least_ram_mb=lambda: getattr(serving.models.engine, "least_mb", None),
            engine_name=lambda: serving.models.engine.name,
            owner_use=lambda: serving.keeper.owner_use,
            give_back=give_back,
            sample=sample,
            on_change=self._on_change,
            on_pace=self._on_pace,
        )

    def _watch(self, on_change: Callable[[Signals], None]) -> SignalWatch:
        return SignalWatch(on_change, own_pids=lambda: self._serving.processes.known)


def _energy_log(settings: Settings, paths: ProfilePaths, on_notice: Callable[[str, str], None]) -> EnergyLog:
    return EnergyLog(
        paths.state_dir / ENERGY_NAME,
        tariff_per_kwh=settings.tariff_per_kwh,
        owners_figure_w=settings.serving_power_w,
        on_notice=on_notice,
    )
