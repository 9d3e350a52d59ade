"""Carry out the owner's rules: refuse, let running sessions end in time, give memory back, and take it up again.

What holds is worked out in core/rules. This steps it at once when a signal has changed, when a time is over (of
holding, an hour of the week), each second while sessions run, and each CALM_STEP_S in any case: our own memory and the
wall clock may have changed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace

from core.errors import AgentError
from core.logs import get_logger
from core.reasons import ReasonBook
from core.reasons.of_rules import rule_blind, rule_holds, sharing_now, slowed_for_heat
from core.rules import Holding, MemoryThen, Now, Own, SessionsThen
from core.rules.effects import format_effect
from core.rules.evaluate import Evaluation, active_rules, after_change, evaluate, next_turn_at, wanted_signals
from core.rules.pace import Heat, Pace, next_pace, next_pace_times
from core.rules.settings import RuleSettings
from core.rules.table import COMFORT, RULES
from core.sessions import Admission, EndReason
from core.shared_beat import sleep_to_beat
from core.signals import Signals, Unknown
from core.snapshot import Reason, RuleView

log = get_logger(__name__)

STEP_S = 1.0  # while sessions run, and how often it is looked whether a step is due
CALM_STEP_S = 5.0
SHORTEST_WAIT_S = 0.02
RETRY_UNLOAD_S = 30.0
# An engine that doesn't let go of an ended session must not keep the memory: unloading ends it the harder way.
END_LIMIT_S = 3.0

GiveBack = Callable[[Collection[str]], Awaitable[object]]


class RulesKeeper:
    """The rules of one agent. Everything runs on the loop thread; `step` does all of it and returns at once."""

    def __init__(
        self,
        settings: RuleSettings,
        *,
        reasons: ReasonBook,
        admission: Admission,
        own: Callable[[], Own],
        give_back: GiveBack,
        want: Callable[[frozenset[str]], None] = lambda names: None,
        on_change: Callable[[], None] = lambda: None,
        on_pace: Callable[[], None] = lambda: None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = sleep_to_beat,
    ) -> None:
        """`give_back` unloads our own models, and those named in case they are still loading. Raises AgentError.

        `want` hears which signals the rules need; `on_change` that `views` differ; `on_pace` that another number of
        sessions may run.
        """
        self._reasons = reasons
        self._admission = admission
        self._own = own
        self._give_back = give_back
        self._want = want
        self._on_change = on_change
        self._on_pace = on_pace
        self._wall = wall
        self._monotonic = monotonic
        self._sleep = sleep
        self._signals = Signals()
        self._last = Evaluation()
        self._share_until: float | None = None
        self._acting: tuple[Holding, ...] = ()  # what holds, but for what waits while the owner shares now
        self._began: dict[str, Now] = {}  # of each that acts
        self._ended_for: dict[str, float] = {}  # rules that have ended the sessions, and when; monotonic
        self._ended_models: set[str] = set()  # of sessions that were ended: one may still be loading
        self._stepped_at = self._next_at = float("-inf")
        self._is_given_back = False
        self._retry_at = float("-inf")
        self._unloading: asyncio.Task[None] | None = None
        self._pace = Pace(admission.max_jobs)
        self._most_jobs = admission.max_jobs
        self.views: tuple[RuleView, ...] = ()
        self._shown: tuple[object, ...] = ()  # what they were made from
        self._settings = settings
        self._want(wanted_signals(settings))

    def use_settings(self, settings: RuleSettings) -> None:
        """Work by these from the next step on; a rule that is off now, or that the change ends, holds no longer."""
        now = Now(wall=self._wall(), monotonic=self._monotonic())
        memory = after_change(self._settings, settings, self._signals, self._own(), now, self._last.memory)
        self._last, self._settings = replace(self._last, memory=memory), settings
        self._want(wanted_signals(settings))

    def use_max_jobs(self, most: int) -> None:
        """As many as the owner and the loaded model allow; fewer may run while it is warmer than the target."""
        is_slowed = self._pace.sessions < self._most_jobs
        self._most_jobs = most
        self._pace = replace(self._pace, sessions=min(self._pace.sessions, most) if is_slowed else most)
        self._keep_pace(self._monotonic(), told=False)
        if self._admission.max_jobs != max(1, self._pace.sessions):
            self._admission.resize(max(1, self._pace.sessions))

    def share_until(self, until: float | None) -> None:
        """From the next step on the rules of comfort hold nothing back (seconds since the epoch); None: every rule
        counts, and one that has waited begins anew."""
        self._share_until = until

    def take_signals(self, signals: Signals) -> None:
        """Something has changed: act on it now."""
        self._signals = signals
        self.step()

    def sessions_changed(self) -> None:
        """A session has begun or ended. What loaded a model again while a rule keeps it away is unloaded again."""
        self._next_at = min(self._next_at, self._stepped_at + STEP_S)  # what it served may have spent the budget
        if self._admission.running_jobs:
            self._is_given_back = False
        elif self._acting:
            self._unload_if_due(self._monotonic())
            self._show()

    async def run(self) -> None:
        """Step for ever. A step that a signal has brought about is as good."""
        while True:
            if self._due_in_s() <= SHORTEST_WAIT_S:
                self.step()
            await self._sleep(max(SHORTEST_WAIT_S, min(STEP_S, self._due_in_s())))

    async def close(self) -> None:
        """An unloading that has begun goes on to its end."""
        if self._unloading is not None:
            await asyncio.wait([self._unloading])

    def step(self) -> None:
        """Look at the rules now, and do what follows."""
        now = Now(wall=self._wall(), monotonic=self._monotonic())
        self._stepped_at = now.monotonic
        before, memory = {holding.code for holding in self._acting}, self._last.memory
        self._last = evaluate(self._settings, self._signals, self._own(), now, memory)
        self._acting = tuple(item for item in self._last.holdings if not self._waits(item))
        holding = {item.code: item for item in self._acting}
        for code in holding.keys() - before:
            self._began[code] = now
            log.info("rule holds", rule=code, effect=format_effect(holding[code].effect))
        self._keep_pace(now.monotonic)
        self._end_sessions(now.monotonic)
        self._show()  # the new ones first: there is no instant without a reason not to serve
        for code in before - holding.keys():
            log.info("rule ends", rule=code)
            self._began.pop(code, None)
            self._ended_for.pop(code, None)
            self._reasons.drop(code)
        self._unload_if_due(now.monotonic)
        turn_at = next_turn_at(self._settings, memory, self._last.memory, now)
        times = [turn_at, *next_pace_times(self._pace), self._retry_at]
        self._next_at = min([now.monotonic + CALM_STEP_S, *(at for at in times if at > now.monotonic)])

    def _waits(self, holding: Holding) -> bool:
        """A rule that only tells goes on telling."""
        is_told_only = holding.effect.sessions is SessionsThen.SERVE
        return self._share_until is not None and holding.code in COMFORT and not is_told_only

    @property
    def is_turning(self) -> bool:
        """Whether a rule is about to begin or to end, should its signal go on saying so."""
        return any(state.turning_since is not None for state in self._last.memory.values())

    # Sessions

    def _deadline(self, holding: Holding) -> float | None:
        """When this rule ends the running sessions, monotonic; None: it doesn't."""
        if holding.effect.sessions is SessionsThen.SERVE or holding.effect.limit_s is None:
            return None
        return self._began[holding.code].monotonic + _limit_s(holding)

    def _end_sessions(self, now: float) -> None:
        for holding in self._acting:
            deadline = self._deadline(holding)
            if deadline is None or now < deadline or holding.code in self._ended_for:
                continue
            self._ended_for[holding.code] = now
            self._ended_models |= {session.model for session in self._admission.sessions}
            ended = self._admission.end_all(EndReason.RULE)
            if ended:
                log.info("sessions ended for a rule", rule=holding.code, sessions=ended)

    def _due_in_s(self) -> float:
        """Until the next step; 0 or less: now."""
        now = self._monotonic()
        next_at = self._stepped_at + STEP_S if self._admission.running_jobs else self._next_at
        deadlines = [
            deadline - now
            for holding in self._acting
            if holding.code not in self._ended_for and (deadline := self._deadline(holding)) is not None
        ]
        return min([next_at - now, *deadlines])

    # Memory

    @property
    def wants_unload(self) -> bool:
        """Whether a rule that holds keeps our models out of memory."""
        return any(holding.effect.memory is MemoryThen.UNLOAD for holding in self._acting)

    def _unload_if_due(self, now: float) -> None:
        if not self.wants_unload:
            self._is_given_back = False
            self._retry_at = float("-inf")
            return
        if self._admission.running_jobs and not self._is_stuck(now):
            return
        if not self._is_given_back and self._unloading is None and now >= self._retry_at:
            self._unloading = asyncio.get_running_loop().create_task(self._unload(), name="rule-give-back")
            self._unloading.add_done_callback(self._on_unloaded)

    def _is_stuck(self, now: float) -> bool:
        """Whether whatever still runs was told to end long ago: not the owner's own test, which may run meanwhile."""
        ended_at = min(self._ended_for.values(), default=now)
        return now - ended_at >= END_LIMIT_S and all(item.end_reason is not None for item in self._admission.sessions)

    async def _unload(self) -> None:
        self._is_given_back = True
        models, self._ended_models = self._ended_models, set()
        try:
            await self._give_back(models)
        except AgentError as error:
            log.warning("not unloaded for a rule", error=error.detail, hint=error.hint)
            self._is_given_back = False
            self._ended_models |= models
            self._retry_at = self._monotonic() + RETRY_UNLOAD_S

    def _on_unloaded(self, task: asyncio.Task[None]) -> None:
        self._unloading = None
        if not task.cancelled() and (bug := task.exception()) is not None:
            log.error("giving memory back for a rule failed", exc_info=bug)

    # Fewer sessions

    def _keep_pace(self, now: float, *, told: bool = True) -> None:
        before, heats = self._pace, self._heats()
        self._pace = next_pace(before, heats, most=self._most_jobs, now=now)
        sessions = self._pace.sessions
        is_slowed = sessions < self._most_jobs
        for heat in heats:
            is_it = is_slowed and heat.code == self._pace.code
            untold = heat.celsius.cause if isinstance(heat.celsius, Unknown) else ""
            reason = slowed_for_heat(heat.code, sessions, self._most_jobs, heat.target_c, untold) if is_it else None
            self._reasons.put_or_drop(heat.code, reason)
        if told and sessions != before.sessions:
            log.info("sessions for the target temperature", sessions=sessions, of=self._most_jobs)
            self._admission.resize(max(1, sessions))
            self._on_pace()

    def _heats(self) -> tuple[Heat, ...]:
        values, processor = self._settings.values, self._signals.processor_heat
        return (
            Heat("gpu_warm", self._signals.gpu_temperature_c, values.gpu_target_c),
            Heat("cpu_warm", processor if isinstance(processor, Unknown) else processor.mean_c, values.cpu_target_c),
        )

    # What is shown

    def _show(self) -> None:
        for holding in self._acting:
            self._reasons.put(rule_holds(holding, self._sessions_end_at(holding)))
        self._reasons.put_or_drop("sharing_now", self._sharing())
        held = {holding.code for holding in self._last.holdings}  # those name the cause in their own sentence
        named = {item.cause for item in self._last.unknown if item.code in held}
        blind = [item for item in self._last.unknown if item.cause not in named]
        self._reasons.put_or_drop("rule_blind", rule_blind(blind, self._wall()))
        is_running = self._admission.running_jobs > 0
        holdings, unknown = self._last.holdings, self._last.unknown
        shown = (self._settings, self._share_until, holdings, unknown, is_running, tuple(self._ended_for))
        if shown != self._shown:
            self._shown = shown
            self.views = self._make_views()
            self._on_change()

    def _sharing(self) -> Reason | None:
        if self._share_until is None:
            return None
        waiting = (holding.code for holding in self._last.holdings if self._waits(holding))
        return sharing_now(self._share_until, waiting, self._wall())

    def _sessions_end_at(self, holding: Holding) -> float | None:
        """By the wall clock, and fixed at the rule's beginning: it is counted down by whoever shows it."""
        is_ahead = self._admission.running_jobs and holding.code not in self._ended_for
        deadline = self._deadline(holding) if is_ahead else None
        return None if deadline is None else self._began[holding.code].wall + _limit_s(holding)

    def _make_views(self) -> tuple[RuleView, ...]:
        settings = self._settings
        active = {rule.code for rule in active_rules(settings)}
        holdings = {holding.code: holding for holding in self._last.holdings}
        unknown = {item.code: item.cause for item in self._last.unknown}
        return tuple(
            self._view(rule.code, rule.code in active, holdings.get(rule.code), unknown.get(rule.code, ""))
            for rule in RULES
        )

    def _view(self, code: str, is_on: bool, holding: Holding | None, unknown: str) -> RuleView:
        waits = holding is not None and self._waits(holding)
        return RuleView(
            code=code,
            is_on=is_on,
            holds=holding is not None,
            sentence=holding.words if holding else "",
            unknown=unknown,
            effect=format_effect(self._settings.effects.get(code)),
            since=holding.since if holding else None,
            ends_at=holding.ends_at if holding else None,
            sessions_end_at=self._sessions_end_at(holding) if holding and not waits else None,
            waits_until=self._share_until if waits else None,
        )


def _limit_s(holding: Holding) -> float:
    """How long running sessions may go on."""
    return 0.0 if holding.is_urgent else holding.effect.limit_s or 0.0
