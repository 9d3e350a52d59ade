"""What a front end may show: one frozen, comparable value at one instant, and the store that publishes it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from core.engines import ChosenQuant, EngineModel, EngineStatus, LoadedModel, MissingModel
from core.first_tokens import FirstToken
from core.memory_need import LoadPlan
from core.sizes import memory_text
from core.speed_book import Measuring, Speed
from core.state import AgentState, check_transition
from core.stats_collector import SystemStats
from core.updates.release_index import Release


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One reason not to serve (or, with `blocks` false, something the owner should know)."""

    code: str  # stable: "paused_by_owner", "draining", "model_not_ready", "no_public_address", "coordinator_away" ...
    sentence: str
    icon: str = "info"
    setting: str = ""  # the setting that changes it, "" when none does
    remedy: str = ""
    ends_at: float | None = None  # seconds since the epoch; None means "not known"
    sessions_end_at: float | None = None  # when it ends the running sessions; None: it doesn't, or none runs
    blocks: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleView:
    """One of the owner's rules now. Its title and meaning stand in core/reasons/catalogue.py under the same code."""

    code: str
    is_on: bool = False
    holds: bool = False
    sentence: str = ""  # while it holds
    unknown: str = ""  # why its signal can't be told here, one sentence; "" when it can, or nobody asks
    effect: str = "off"  # as the setting says it: core/rules/effects.py
    since: float | None = None  # while it holds; seconds since the epoch
    ends_at: float | None = None  # None: not known
    sessions_end_at: float | None = None  # as in Reason
    waits_until: float | None = None  # it holds, and the owner shares until then all the same; seconds since the epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorHeatView:
    """The processor's temperature by its own sensor, °C; `problem` says why there is none, one sentence."""

    celsius: float | None = None
    sensor: str = ""  # "k10temp, Tdie"
    high_c: float | None = None  # the sensor's own marks
    critical_c: float | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyView:
    """What serving took today (since local midnight). None means "not measured", or no tariff."""

    served_s: float = 0.0  # with at least one session
    kwh: float | None = None
    cost: float | None = None  # at the owner's tariff, in the owner's currency
    wh_per_1000_tokens: float | None = None
    cost_per_1000_tokens: float | None = None
    source: str = ""  # where the figure comes from, or why there is none: one sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """A live session. No text of a prompt or an answer, ever."""

    session_id: str
    model: str
    client: str  # a short hash
    phase: str  # "queued" | "running"
    started_at: float  # seconds since the epoch
    tokens: int = 0
    tokens_per_second: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineView:
    """The chosen engine, why it was chosen, and its circuit breaker."""

    name: str = ""  # "" while none is chosen
    requested: str = "auto"
    chosen_because: str = ""
    status: EngineStatus = field(default_factory=EngineStatus)
    breaker: str = "closed"  # "closed" | "open" | "half-open"
    breaker_retry_at: float | None = None  # seconds since the epoch
    pids: tuple[int, ...] = ()  # the engine's processes on this machine, as far as they are known


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorView:
    """The link to the coordinator."""

    endpoint: str = ""
    link: str = "off"  # "off", "connecting", "registered", "away" or "not-registered" (nothing to offer ...)
    detail: str = ""
    rtt_ms: float | None = None
    last_ack_at: float | None = None  # seconds since the epoch
    heartbeat_interval_s: float | None = None
    registrations: int = 0
    has_key: bool = False


DEGRADED_CPU_PERCENT = 90  # used by others: above it the public coordinator sends no work (contract.md)


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityView:
    """What is reported to the coordinator: capacity to serve, not the raw meter (contract.md)."""

    kind: str = "ram"  # "vram" or "ram": the memory that the models live in
    total_mb: int = 0
    free_mb: int = 0
    free_ram_mb: int = 0
    cpu_percent_others: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Counters since the agent started."""

    requests_processed: int = 0  # whatever became of them, but for those that were refused
    sessions_served: int = 0  # those that got an answer, or a part of one, as the ledger counts them
    requests_failed: int = 0
    requests_refused: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PullView:
    """A download of a model that the owner asked for."""

    model: str
    phase: str = "running"  # "running", "done", "failed" or "cancelled"
    status: str = ""  # the engine's own words
    completed_bytes: int | None = None  # None: the engine doesn't say yet
    total_bytes: int | None = None  # of what is known so far; grows when another part comes
    bytes_per_second: float | None = None
    problem: str = ""  # one sentence, when failed
    hint: str = ""
    wanted_as: str = ""  # the offered name that it was asked for; "" for none
    here_as: str = ""  # when done: the engine's name of it
    served_as: str = ""  # when done: the offered name that it serves now, "" where it is offered to nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveBack:
    """What came back when our models were unloaded, as measured. `ok`: at least 90 % within 5 s."""

    held_mb: int  # by our models and the engine's processes for them, MiB of `kind`
    freed_mb: int
    seconds: float  # from the unloading until it was back, or until the measuring was given up
    kind: str  # "vram" or "ram": where most of it was
    ok: bool
    holder: str = ""  # the program that still holds it, when not ok
    at: float = 0.0  # seconds since the epoch

    @property
    def sentence(self) -> str:
        """ "9.8 GB back in 1.4 s"."""
        if self.ok:
            return f"{memory_text(self.freed_mb)} back in {self.seconds:.1f} s"
        held = f"; {self.holder} still holds the rest" if self.holder else ""
        return f"Only {memory_text(self.freed_mb)} of {memory_text(self.held_mb)} back after {self.seconds:.0f} s{held}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveBackView:
    """The last measured give-back, and the median time of those that were kept."""

    last: GiveBack
    sentence: str
    median_s: float | None = None  # of the ones that worked; None: none has yet
    count: int = 0  # how many the median is of


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSnapshot:
    """Everything a front end may show, at one instant. Never mutated."""

    state: AgentState = AgentState.STOPPED
    agent_id: str = ""
    profile: str = ""
    version: str = ""
    pid: int = 0
    started_at: float | None = None  # seconds since the epoch
    endpoint: str = ""  # host:port that clients are sent to
    listening_on: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()  # strongest first
    rules: tuple[RuleView, ...] = ()  # all of the owner's rules, strongest first; () while they aren't looked at
    energy: EnergyView = EnergyView()
    processor_heat: ProcessorHeatView = ProcessorHeatView()
    pause_until: float | None = None  # seconds since the epoch; None: not paused, or until resumed
    share_until: float | None = None  # whatever the rules of comfort say; None: they hold as always
    is_draining: bool = False
    running_jobs: int = 0
    queued_jobs: int = 0
    max_jobs: int = 0
    sessions: tuple[SessionView, ...] = ()
    tokens_per_second: float = 0.0  # all sessions together, over the last seconds
    engine: EngineView = EngineView()
    load_plan: LoadPlan | None = None  # how the engine is to load a model; None where it keeps that to itself
    models: tuple[EngineModel, ...] = ()  # what the engine has
    offered_models: tuple[str, ...] = ()
    missing_models: tuple[MissingModel, ...] = ()  # wanted, not here; () also while the engine hasn't said what it has
    chosen_quants: tuple[ChosenQuant, ...] = ()  # for offered names that several files would do for
    loaded_models: tuple[LoadedModel, ...] = ()
    pulls: tuple[PullView, ...] = ()  # downloads, running and just ended, oldest first
    pulled_models: tuple[str, ...] = ()  # the engine's models that this program downloaded, and so may delete
    coordinator: CoordinatorView = CoordinatorView()
    capacity: CapacityView = CapacityView()
    machine: SystemStats | None = None  # the raw meter; None before the first sample
    speeds: tuple[Speed, ...] = ()  # of models, as measured on this machine
    measuring: Measuring | None = None  # the measurement that runs
    first_tokens: tuple[FirstToken, ...] = ()  # how long sessions waited for one, by model
    tier: str = ""  # quantisation tier for this machine
    tier_reason: str = ""  # the memory behind it, in one sentence
    totals: Totals = Totals()
    give_back: GiveBackView | None = None  # None: no memory has been given back yet
    notices: tuple[str, ...] = ()  # things that happened and that the owner should know
    tls_fingerprint: str = ""
    update: Release | None = None  # a newer version, to be told; None for none, or a skipped one

    @property
    def is_busy(self) -> bool:
        return self.running_jobs > 0

    @property
    def blocking_reasons(self) -> tuple[Reason, ...]:
        return tuple(reason for reason in self.reasons if reason.blocks)

    def to_json(self) -> str:
        """The snapshot as one JSON object, for `titan status --json` and the control door."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"))


Listener = Callable[[AgentSnapshot], None]


class SnapshotStore:
    """Own the current snapshot. Only the loop thread publishes; any thread reads."""

    def __init__(self, initial: AgentSnapshot) -> None:
        self._current = initial
        self._listeners: list[Listener] = []
        self._watchers = 0

    @property
    def current(self) -> AgentSnapshot:
        return self._current

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` on the loop thread for every new value; returns the call that ends it."""
        self._listeners.append(listener)
        return partial(self._listeners.remove, listener)

    def watch(self) -> Callable[[], None]:
        """Somebody sees the figures as they come, and not only the state; until the call that is returned. On the loop
        thread.
        """
        self._watchers += 1
        return self._end_watch

    @property
    def is_watched(self) -> bool:
        return self._watchers > 0

    def publish(self, **changes: Any) -> None:
        """Replace fields. An unchanged value is not published; a state change must be in the table of moves."""
        updated = replace(self._current, **changes)
        if updated.state is not self._current.state:
            check_transition(self._current.state, updated.state)
        if updated != self._current:
            self._current = updated
            for listener in tuple(self._listeners):
                listener(updated)

    def _end_watch(self) -> None:
        self._watchers -= 1
