"""What one rule sees in one instant, and how a rule begins and ends to hold: by hold times, so that nothing flaps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from enum import Enum

from core.rules import Effect, Holding, Now, Own, RuleState
from core.rules.settings import RuleSettings
from core.signals import Signals, Unknown

# One reading that fails (a busy driver) changes nothing; a signal that stays away is one that can't be told.
UNKNOWN_GRACE_S = 30.0
UNKNOWN_USE_GRACE_S = 5.0
# What is more likely over than not after so long, once nothing tells it any more.
LOST_S = 600.0
# An end that is worked out anew from each reading moves by fractions of a second: the first one is kept.
SAME_END_S = 3.0
ROUNDING_S = 0.001


class Level(Enum):
    ON = "on"  # the rule has a reason to begin
    OFF = "off"  # it has none to go on
    BETWEEN = "between"  # between its two thresholds: whatever is, stays


class WhenLost(Enum):
    """What a rule does once its signal, which was told, isn't any more. One failed reading never counts."""

    BLOCKS = "doubt counts as a reason: it holds until somebody is known to be away"
    STAYS = "if it holds, it goes on holding until it is told that it needn't; if not, you are told"
    STAYS_A_WHILE = "if it holds, it goes on holding for 10 minutes at most; if not, you are told"
    ENDS = "it ends"


@dataclass(frozen=True, slots=True)
class Look:
    """What there is to say is for ON; else a rule that still holds keeps what it said, but for a sentence that names a
    limit, which the owner may have changed. `ends_at` as in Holding."""

    level: Level
    sentence: str = ""
    ends_at: float | None = None
    setting: str = ""  # the setting behind it, where it isn't the one that the catalogue names
    is_urgent: bool = False  # begins without its hold time, and ends sessions without theirs


OFF = Look(Level.OFF)
BETWEEN = Look(Level.BETWEEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything that a rule may look at."""

    settings: RuleSettings
    signals: Signals
    own: Own
    now: Now
    before: RuleState


Seconds = Callable[[RuleSettings], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: what it looks at, and its hold times."""

    code: str
    signals: tuple[str, ...]  # fields of Signals
    is_on: Callable[[RuleSettings], bool]  # whether the owner has it on, its effect aside
    look: Callable[[Scene], Look | Unknown]
    begins_after: Seconds = lambda _: 0.0  # for how long it must be ON without a break
    ends_after: Seconds = lambda _: 0.0  # for how long OFF
    least: Seconds = lambda _: 0.0  # the shortest time that it holds
    when_lost: WhenLost = WhenLost.ENDS
    is_comfort: bool = False  # there for the owner's presence or wish alone: it waits while the owner shares now


def hold_time_s(rule: Rule, settings: RuleSettings) -> float:
    """Between two beginnings of a rule lies at least this long, and between two ends too."""
    return max(rule.ends_after(settings), rule.least(settings)) + rule.begins_after(settings)


def next_state(rule: Rule, scene: Scene, effect: Effect) -> tuple[RuleState, str]:
    """The rule's next state, and why its signal can't be told ("" when it can)."""
    before, now = scene.before, scene.now.monotonic
    look = rule.look(scene)
    cause = ""
    if isinstance(look, Unknown):
        cause = look.cause
        if before.was_told and before.untold_since is None:
            return replace(before, untold_since=now), cause
        if before.untold_since is not None and now - before.untold_since < _grace_s(rule, scene.settings):
            return before, cause
        if rule.when_lost is not WhenLost.BLOCKS:
            return _lost(rule, scene, look, effect), cause
        look = Look(Level.ON, cause)
        before = replace(before, was_told=False, untold_since=None)
    elif before.holding is None and look.level is not Level.ON:
        return _TOLD, ""  # nothing, as nearly always: nothing else is worth remembering
    else:
        before = _told(before)
    wanted = Level.OFF if before.holding else Level.ON
    if look.level is not wanted:
        return _stay(replace(before, turning_since=None), look, effect), cause
    since = now if before.turning_since is None else before.turning_since
    is_time = now - since >= _turns_after_s(rule, scene.settings, before, since)
    if before.holding:
        if is_time:
            return RuleState(was_told=before.was_told), cause
        return replace(before, turning_since=since, holding=_said(before.holding, look)), cause
    if not is_time and not look.is_urgent:
        return replace(before, turning_since=since), cause
    holding = _holding(rule, scene, look, effect)
    began = replace(before, turning_since=None, began_at=now, is_in_doubt=bool(cause), holding=holding)
    return began, cause


def is_ended_by_owner(rule: Rule, scene: Scene, settings: RuleSettings) -> bool:
    """Whether changing to these settings takes away what the rule holds for, with all else as it is. `scene` has the
    settings from before."""
    then, now = rule.look(scene), rule.look(replace(scene, settings=settings))
    if isinstance(then, Unknown) or isinstance(now, Unknown) or now.level is Level.ON:
        return False
    return then.level is Level.ON or (then.level is Level.BETWEEN and now.level is Level.OFF)


def next_turn(rule: Rule, settings: RuleSettings, state: RuleState, now: Now) -> float:
    """When time alone may change what the rule says: monotonic seconds, after `now`; infinity for never."""
    turns: list[float] = []
    if state.turning_since is not None:
        turns.append(state.turning_since + _turns_after_s(rule, settings, state, state.turning_since))
    if state.untold_since is not None:
        grace_s = _grace_s(rule, settings)
        turns += [state.untold_since + grace_s, state.untold_since + max(LOST_S, grace_s)]
    if state.holding is not None and state.holding.ends_at is not None:
        turns.append(now.monotonic + state.holding.ends_at - now.wall)
    # A hair late: at the very instant rounding may still see a little less than the whole time.
    return min((turn + ROUNDING_S for turn in turns if turn + ROUNDING_S > now.monotonic), default=math.inf)


def time_text(moment: float, wall: float, zone: tzinfo | None) -> str:
    """ "14:05", with the day where it is another one than today: "14:05 on Saturday". Seconds since the epoch."""
    when = datetime.fromtimestamp(moment, zone)
    is_today = when.date() == datetime.fromtimestamp(wall, zone).date()
    return f"{when:%H:%M}" if is_today else f"{when:%H:%M} on {when:%A}"


def within_sentence(sentence: str) -> str:
    """The cause as the end of a longer sentence: "No desktop session." → "no desktop session."."""
    is_word = len(sentence) > 1 and sentence[1].islower()
    return f"{sentence[0].lower()}{sentence[1:]}" if is_word else sentence


_TOLD = RuleState(was_told=True)


def _told(state: RuleState) -> RuleState:
    """The signal is known, be it again: what was said in doubt is said no longer."""
    holding = state.holding
    if holding is not None and holding.doubt:
        state = replace(state, holding=replace(holding, doubt="", ends_at=None))
    return replace(state, was_told=True, untold_since=None, lost_at=None)


def _lost(rule: Rule, scene: Scene, unknown: Unknown, effect: Effect) -> RuleState:
    """The signal has been away for longer than the grace, or was never there."""
    before, now = scene.before, scene.now
    if unknown.is_no_loss or (not before.was_told and before.lost_at is None):
        return RuleState()
    away_s = now.monotonic - before.untold_since if before.untold_since is not None else 0.0
    lost_at = now.wall - away_s if before.lost_at is None else before.lost_at
    lasts_s = max(LOST_S, _grace_s(rule, scene.settings))
    is_over = rule.when_lost is WhenLost.ENDS or (rule.when_lost is WhenLost.STAYS_A_WHILE and away_s >= lasts_s)
    if before.holding is None or is_over:
        return RuleState(lost_at=lost_at)
    since = time_text(lost_at, now.wall, scene.settings.zone)
    holding = replace(
        before.holding, effect=effect, doubt=f"Since {since} that can't be told: {within_sentence(unknown.cause)}"
    )
    if rule.when_lost is WhenLost.STAYS_A_WHILE and not before.holding.doubt:
        holding = replace(holding, ends_at=now.wall + lasts_s - away_s)
    return replace(before, holding=holding, turning_since=None, lost_at=lost_at)


def _turns_after_s(rule: Rule, settings: RuleSettings, state: RuleState, since: float) -> float:
    """For how long its signal must say the opposite of what holds, where it does so `since` then (monotonic)."""
    if state.holding is None:
        return rule.begins_after(settings)
    if state.is_in_doubt:  # it began because nothing was known: now it is
        return UNKNOWN_USE_GRACE_S
    return max(rule.ends_after(settings), state.began_at + rule.least(settings) - since)


def _grace_s(rule: Rule, settings: RuleSettings) -> float:
    if rule.when_lost is WhenLost.BLOCKS:
        return UNKNOWN_USE_GRACE_S
    return max(UNKNOWN_GRACE_S, hold_time_s(rule, settings))


def _holding(rule: Rule, scene: Scene, look: Look, effect: Effect) -> Holding:
    return Holding(
        code=rule.code,
        sentence=look.sentence,
        effect=effect,
        since=scene.now.wall,
        ends_at=look.ends_at,
        setting=look.setting,
        is_urgent=look.is_urgent,
    )


def _stay(state: RuleState, look: Look, effect: Effect) -> RuleState:
    """What holds goes on holding, with what the look says now."""
    holding = state.holding
    if holding is None:
        return state
    if look.level is Level.ON:
        ends_at = look.ends_at
        if ends_at is not None and holding.ends_at is not None and abs(ends_at - holding.ends_at) < SAME_END_S:
            ends_at = holding.ends_at
        holding = replace(
            holding,
            sentence=look.sentence,
            ends_at=ends_at,
            setting=look.setting,
            is_urgent=holding.is_urgent or look.is_urgent,
        )
        state = replace(state, is_in_doubt=state.is_in_doubt and not state.was_told)
    return replace(state, holding=replace(_said(holding, look), effect=effect))


def _said(holding: Holding, look: Look) -> Holding:
    return replace(holding, sentence=look.sentence) if look.sentence else holding
