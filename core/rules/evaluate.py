"""(settings, signals, own, now, what was before) → the rules that hold, strongest first. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from core.rules import CannotTell, Holding, Now, Own, RuleState
from core.rules.look import Rule, Scene, is_ended_by_owner, next_state, next_turn
from core.rules.schedule import next_change
from core.rules.settings import RuleSettings
from core.rules.table import RULES
from core.signals import Signals

_OF_MEMORY = ("vram_short", "ram_short")

AGAIN_S = 1.0  # after a look that changed something

Memory = Mapping[str, RuleState]  # by the rule's code; a rule that is not in it is new


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One instant's answer. `memory` goes into the next call."""

    holdings: tuple[Holding, ...] = ()
    unknown: tuple[CannotTell, ...] = ()
    memory: Memory = field(default_factory=dict)


def evaluate(settings: RuleSettings, signals: Signals, own: Own, now: Now, before: Memory) -> Evaluation:
    """`before` is the last evaluation's memory, {} at first. `now.monotonic` never goes back."""
    memory: dict[str, RuleState] = {}
    unknown: list[CannotTell] = []
    for rule in active_rules(settings):
        state = before.get(rule.code, RuleState())
        scene = Scene(settings=settings, signals=signals, own=own, now=now, before=state)
        state, cause = next_state(rule, scene, settings.effects[rule.code])
        if cause:
            unknown.append(CannotTell(code=rule.code, cause=cause, lost_at=state.lost_at))
        memory[rule.code] = _with_held_memory(rule, state, own)
    holdings = tuple(state.holding for state in memory.values() if state.holding is not None)
    return Evaluation(holdings=holdings, unknown=tuple(unknown), memory=memory)


def after_change(
    before: RuleSettings, settings: RuleSettings, signals: Signals, own: Own, now: Now, memory: Memory
) -> Memory:
    """What to remember once the owner has changed the settings: a rule that the change itself ends isn't kept by its
    hold times, which are there for signals that come and go. Those of memory are: a load must not be one too many.
    """
    kept = dict(memory)
    for rule in active_rules(settings):
        state = memory.get(rule.code)
        if state is None or state.holding is None or rule.code not in before.effects or rule.code in _OF_MEMORY:
            continue
        scene = Scene(settings=before, signals=signals, own=own, now=now, before=state)
        if is_ended_by_owner(rule, scene, settings):
            kept[rule.code] = RuleState(was_told=state.was_told, untold_since=state.untold_since)
    return kept


def next_turn_at(settings: RuleSettings, before: Memory, memory: Memory, now: Now) -> float:
    """When the answer may change though no signal does: monotonic seconds, infinity for never. `before` and `memory`
    went into the evaluation at `now` and came out of it.

    As long as no session runs: what is served, and with it a day's budget, isn't foreseen.
    """
    if memory != before:  # what a rule says may follow from whether it holds
        return now.monotonic + AGAIN_S
    turns = [
        next_turn(rule, settings, state, now)
        for rule in active_rules(settings)
        if (state := memory.get(rule.code)) is not None
    ]
    changes_at = next_change(settings.grid, now.wall, settings.zone)
    if changes_at is not None:
        turns.append(now.monotonic + changes_at - now.wall)
    return min(turns, default=math.inf)


def active_rules(settings: RuleSettings) -> tuple[Rule, ...]:
    """The rules that the owner has on."""
    return tuple(rule for rule in RULES if rule.code in settings.effects and rule.is_on(settings))


def wanted_signals(settings: RuleSettings) -> frozenset[str]:
    """The fields of Signals that these rules look at; no other needs to be asked for."""
    wanted = {name for rule in active_rules(settings) for name in rule.signals}
    if settings.values.gpu_target_c:
        wanted.add("gpu_temperature_c")
    if settings.values.cpu_target_c:
        wanted.add("processor_heat")
    return frozenset(wanted)


def _with_held_memory(rule: Rule, state: RuleState, own: Own) -> RuleState:
    """A memory rule must know what our model held once that is unloaded."""
    if rule.code not in _OF_MEMORY or state.holding is None:
        return state
    held_mb = own.vram_mb if rule.code == "vram_short" else own.ram_mb
    return state if held_mb <= state.held_mb else replace(state, held_mb=held_mb)
