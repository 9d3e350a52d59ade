"""Reasons not to serve, each with its sentence, its remedy, and the setting behind it; strongest first.

Those of the owner's rules (core/rules) come from `core/rules_keeper.py`; a front end shows whatever stands here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from core.plurals import counted
from core.rules import CannotTell, Holding, SessionsThen
from core.rules.effects import DEFAULT_EFFECTS, effect_in_words, parse_effect
from core.rules.look import time_text, within_sentence
from core.snapshot import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonKind:
    """One kind of reason, for pages and docs that list them all; `Reason` is one that holds now."""

    code: str
    title: str
    meaning: str  # when it holds
    effect: str  # what follows from it
    setting: str = ""  # the setting that changes it, "" when none does
    blocks: bool = True
    icon: str = "info"  # of a rule's reason; the others name theirs below


_REFUSES = "New sessions are refused, and the coordinator is told that nothing is free; running sessions go on."
_GOES_ON = "Sessions whose token is valid are served all the same; new ones arrive once it is over."


def _rule(code: str, title: str, meaning: str, *, setting: str, icon: str) -> ReasonKind:
    """A rule of the owner's; what it does is a setting of its own, of which the catalogue tells the default."""
    effect = effect_in_words(parse_effect(DEFAULT_EFFECTS[code]))
    return ReasonKind(code=code, title=title, meaning=meaning, effect=effect, setting=setting, icon=icon)


# Strongest first: what the owner did and ruled, then what is broken, then what is merely good to know.
CATALOGUE = (
    ReasonKind(
        code="stopping",
        title="The agent is stopping",
        meaning="You quit the program, or the system ends it.",
        effect="New sessions are refused; running ones may finish for a moment.",
        setting="drain_limit_s",
    ),
    ReasonKind(
        code="setup_not_done",
        title="Not set up yet",
        meaning="The first questions are not answered.",
        effect="Nothing is shared, and no coordinator knows this machine. Your own test works.",
    ),
    ReasonKind(
        code="paused_by_owner",
        title="Paused by you",
        meaning="You paused, for a time or until you resume; it holds over a restart too.",
        effect="New sessions are refused. Running ones finish, or end at once if you took your memory back.",
        setting="finish_limit_s",
    ),
    ReasonKind(
        code="draining",
        title="Finishing, then pausing",
        meaning="You asked to let the running sessions finish before the pause.",
        effect="New sessions are refused; the pause begins once the last session has ended.",
        setting="finish_limit_s",
    ),
    ReasonKind(
        code="going_to_sleep",
        title="Going to sleep",
        meaning="The machine is about to sleep, says its system; a session that begins now would be cut off.",
        effect="New sessions are refused until it is awake.",
    ),
    _rule(
        "schedule",
        "Outside your hours",
        "It is an hour of the week in which you don't share.",
        setting="schedule",
        icon="clock",
    ),
    _rule(
        "in_use",
        "In use",
        "Somebody uses mouse or keyboard, or whether somebody does can't be told.",
        setting="pause_while_in_use",
        icon="in_use",
    ),
    _rule(
        "listed_app",
        "A program of your list runs",
        "One of the programs that you named runs, or one in a folder that you named.",
        setting="listed_apps",
        icon="program",
    ),
    _rule(
        "gpu_in_use",
        "The graphics card is in use",
        "Another program computes on the graphics card.",
        setting="gpu_others_percent",
        icon="gpu",
    ),
    _rule(
        "full_screen",
        "Full screen",
        "A program fills the screen: a game, a film, a presentation.",
        setting="pause_in_full_screen",
        icon="full_screen",
    ),
    _rule(
        "on_battery",
        "On battery",
        "The machine is unplugged.",
        setting="pause_on_battery",
        icon="battery",
    ),
    _rule(
        "battery_low",
        "Battery low",
        "The machine is unplugged, and its battery is low.",
        setting="battery_low_percent",
        icon="battery",
    ),
    _rule(
        "gpu_hot",
        "The graphics card is too hot",
        "The graphics card has reached the temperature that you allow.",
        setting="gpu_max_c",
        icon="heat",
    ),
    ReasonKind(
        code="gpu_warm",
        title="Slowed down to stay cool",
        meaning="The graphics card is warmer than your target.",
        effect="Fewer sessions run at once; if one alone is still too many, the card gets breaks to cool down.",
        setting="gpu_target_c",
        blocks=False,
        icon="heat",
    ),
    _rule(
        "cpu_hot",
        "The processor is too hot",
        "The processor has reached the temperature that you allow, or has come near to its own critical mark.",
        setting="cpu_max_c",
        icon="heat",
    ),
    ReasonKind(
        code="cpu_warm",
        title="Slowed down for the processor",
        meaning="The processor is warmer than your target.",
        effect="Fewer sessions run at once; if one alone is still too many, the processor gets breaks to cool down.",
        setting="cpu_target_c",
        blocks=False,
        icon="heat",
    ),
    _rule(
        "vram_short",
        "Graphics memory is short",
        "Other programs need the graphics memory that stays yours.",
        setting="vram_reserve_mb",
        icon="memory",
    ),
    _rule(
        "ram_short",
        "Memory is short",
        "Other programs need the memory that stays yours.",
        setting="ram_reserve_mb",
        icon="memory",
    ),
    _rule(
        "memory_tight",
        "Memory is getting short",
        "Less is free than what stays yours, in the memory or on the graphics card: the step before the model leaves.",
        setting="memory_tight_effect",
        icon="memory",
    ),
    _rule(
        "cpu_busy",
        "The processor is busy",
        "Other programs keep the processor busy.",
        setting="cpu_others_percent",
        icon="cpu",
    ),
    _rule(
        "metered",
        "Metered network",
        "The network costs by its traffic, such as a phone's.",
        setting="pause_on_metered",
        icon="network",
    ),
    _rule(
        "budget_spent",
        "The day's budget is spent",
        "The hours or the energy that you give a day are used up; both begin anew at midnight.",
        setting="hours_per_day",
        icon="clock",
    ),
    _rule(
        "gpu_lost",
        "The graphics card is gone",
        "The graphics card was there, and its driver says that it is gone.",
        setting="gpu_lost_effect",
        icon="attention",
    ),
    _rule(
        "engine_used_by_owner",
        "You use the engine yourself",
        "A program of yours works with the engine that is shared.",
        setting="engine_used_by_owner_effect",
        icon="in_use",
    ),
    ReasonKind(
        code="engine_attention",
        title="The engine needs you",
        meaning="The program that runs the models has a problem that doesn't go away by itself.",
        effect=_REFUSES,
        setting="engine",
    ),
    ReasonKind(
        code="engine_unreachable",
        title="The engine does not answer",
        meaning="The program that runs the models is not running, or doesn't answer; it is tried again all the time.",
        effect=_REFUSES,
        setting="engine",
    ),
    ReasonKind(
        code="memory_going_back",
        title="The memory is going back",
        meaning="A model is leaving memory: what begins now would be unloaded under its first word.",
        effect="New sessions are refused until it has left, and its memory is measured: 5 s at most for that.",
        icon="memory",
    ),
    ReasonKind(
        code="model_loading",
        title="The model is loading",
        meaning="At the start, if you want it, after a pause, and after a sleep of the machine, the model is loaded "
        "and must give a first real token.",
        effect="New sessions are refused until it has; if it can't, another one is offered, or you are told why.",
        setting="preload_on_resume",
    ),
    ReasonKind(
        code="model_not_ready",
        title="No model to offer",
        meaning="The engine has none of the models that you offer.",
        effect=_REFUSES,
        setting="supported_models",
    ),
    ReasonKind(
        code="no_public_address",
        title="No public address",
        meaning="The coordinator is on another machine, and this one is only known under a name that works here alone.",
        effect="Nobody could reach this machine, so it is not registered and serves nobody.",
        setting="public_host",
    ),
    ReasonKind(
        code="rule_blind",
        title="A rule can't tell any more",
        meaning="What a rule looks at was told, and isn't any more: a sensor, a driver or a service fell silent.",
        effect="A rule that doesn't hold can't begin before it is told again; one that holds goes on for a while.",
        blocks=False,
    ),
    ReasonKind(
        code="gpu_look",
        title="Looking at the graphics card",
        meaning="While sessions run, the driver can't tell whether another program uses the card too, and there was no "
        "moment without one for some time.",
        effect="New sessions wait until the running ones have ended and the card was looked at, 3 s later at most; if "
        "they don't end within 30 s, it is tried again later.",
        setting="gpu_look_after_s",
        blocks=False,
        icon="gpu",
    ),
    ReasonKind(
        code="engine_resting",
        title="The engine rests after failures",
        meaning="The engine failed three times in a row.",
        effect="The agent waits before it tries again; one request is then the probe.",
        blocks=False,
    ),
    ReasonKind(
        code="registration_refused",
        title="Not registered",
        meaning="The coordinator was reached, and doesn't take this machine.",
        effect=_GOES_ON,
        setting="coordinator_endpoint",
        blocks=False,
    ),
    ReasonKind(
        code="coordinator_away",
        title="The coordinator is away",
        meaning="The coordinator doesn't answer; it is tried again all the time.",
        effect=_GOES_ON,
        setting="coordinator_endpoint",
        blocks=False,
    ),
)
STRENGTH = tuple(kind.code for kind in CATALOGUE)
KINDS: Mapping[str, ReasonKind] = MappingProxyType({kind.code: kind for kind in CATALOGUE})


def rule_holds(holding: Holding, sessions_end_at: float | None = None) -> Reason:
    """A rule of the owner's holds; `sessions_end_at` is when it ends the running sessions, None when it doesn't."""
    kind = KINDS[holding.code]
    return Reason(
        code=holding.code,
        sentence=holding.words,
        icon=kind.icon,
        setting=holding.setting or kind.setting,
        ends_at=holding.ends_at,
        sessions_end_at=sessions_end_at,
        blocks=holding.effect.sessions is not SessionsThen.SERVE,
    )


def slowed_for_heat(code: str, sessions: int, of: int, target_c: float, untold: str = "") -> Reason:
    """`code` is "gpu_warm" or "cpu_warm". Without any session it is a break, and blocks.

    `untold` is why its temperature can't be told now, one sentence.
    """
    kind = KINDS[code]
    what = f"Serves {sessions} of {of} sessions" if sessions else "A break to cool down"
    part = "processor" if code == "cpu_warm" else "graphics card"
    # Also on the way back, when it is well below it: one session more each half minute.
    sentence = f"{what}, to keep the {part} at your target of {target_c:g} °C."
    if untold:
        sentence += f" How warm it is can't be told now: {within_sentence(untold)}"
    return Reason(code=code, sentence=sentence, icon=kind.icon, setting=kind.setting, blocks=sessions == 0)


def rule_blind(unknown: Iterable[CannotTell], wall: float) -> Reason | None:
    """Rules that could tell before, and can't any more; None where there is none. `wall` is now."""
    lost: dict[str, list[CannotTell]] = {}
    for item in unknown:
        if item.lost_at is not None:
            lost.setdefault(item.cause, []).append(item)
    if not lost:
        return None
    sentences = []
    for cause, items in lost.items():
        titles = ", ".join(f"“{KINDS[item.code].title}”" for item in items)
        since = time_text(min(item.lost_at or wall for item in items), wall, None)
        sentences.append(f"Since {since} it can't be told whether {titles} should hold: {within_sentence(cause)}")
    first = next(iter(lost.values()))[0].code
    return Reason(
        code="rule_blind", sentence=" ".join(sentences), icon="attention", setting=KINDS[first].setting, blocks=False
    )


def gpu_look(*, is_waiting: bool = False, is_used: bool = False) -> Reason:
    """`is_waiting`: sessions still run. `is_used`: another program does use the card, so it is looked at for longer."""
    kind = KINDS["gpu_look"]
    sentence = "Looking whether somebody else uses the graphics card: new sessions wait for a moment."
    if is_waiting:
        sentence = "New sessions wait for the running ones, to look whether somebody else uses the graphics card."
    elif is_used:
        sentence = "Another program seems to use the graphics card: looking for some seconds more."
    return Reason(code="gpu_look", sentence=sentence, icon=kind.icon, setting=kind.setting, blocks=False)


def stopping() -> Reason:
    return Reason(code="stopping", sentence="The agent is stopping.", icon="stop")


def going_to_sleep() -> Reason:
    return Reason(code="going_to_sleep", sentence="The machine is going to sleep.", icon="pause")


def setup_not_done() -> Reason:
    return Reason(
        code="setup_not_done",
        sentence="Not set up yet: nothing is shared.",
        icon="pause",
        remedy="Answer the first questions: Set up.",
    )


@dataclass(frozen=True, slots=True)
class Ending:
    """Sessions that may still go on for a while: how many, how long (whole seconds), and until when (epoch)."""

    running: int
    left_s: int
    at: float

    @property
    def words(self) -> str:
        """ "Finishing 2 sessions: 95 s left"."""
        return f"Finishing {counted(self.running, 'session')}: {self.left_s} s left"


def paused_by_owner(until: float | None, ending: Ending | None = None) -> Reason:
    """`until` in seconds since the epoch; None means until the owner resumes."""
    when = "until you resume" if until is None else f"until {time.strftime('%H:%M', time.localtime(until))}"
    return Reason(
        code="paused_by_owner",
        sentence=f"Paused by you {when}." + (f" {ending.words}." if ending else ""),
        icon="pause",
        remedy="titan resume",
        ends_at=until,
        sessions_end_at=ending.at if ending else None,
    )


def paused_in_doubt() -> Reason:
    """What the owner had done before the restart can't be read: closed, until the owner says otherwise."""
    return Reason(
        code="paused_by_owner",
        sentence="Paused until you resume: whether you had paused could not be read.",
        icon="pause",
        remedy="titan resume",
    )


def draining(running: int, ending: Ending | None = None) -> Reason:
    words = ending.words if ending else f"Finishing {counted(running, 'session')}"
    return Reason(
        code="draining",
        sentence=f"{words}, then pausing.",
        icon="drain",
        remedy="titan resume",
        sessions_end_at=ending.at if ending else None,
    )


def model_loading(name: str, *, is_check: bool = False) -> Reason:
    """Until the model has given a first real token. `is_check`: it was loaded before the machine slept."""
    what = f"Trying {name} after the machine slept" if is_check else f"Loading {name}"
    return Reason(code="model_loading", sentence=f"{what}.", icon="info", setting="preload_on_resume")


def memory_going_back() -> Reason:
    return Reason(code="memory_going_back", sentence="The model is leaving memory.", icon="memory")


def engine_attention(detail: str, hint: str) -> Reason:
    return Reason(
        code="engine_attention",
        sentence=f"The engine needs attention: {detail}",
        icon="attention",
        setting="engine",
        remedy=hint or "Start the engine again: titan retry",
    )


def engine_unreachable(detail: str, hint: str) -> Reason:
    return Reason(
        code="engine_unreachable",
        sentence=f"The engine does not answer: {detail}",
        icon="attention",
        setting="engine",
        remedy=hint or "titan doctor",
    )


def engine_resting(retry_at: float | None) -> Reason:
    """The circuit breaker is open. Doesn't block: when it may be tried again, one request is the probe."""
    return Reason(
        code="engine_resting",
        sentence="The engine failed three times in a row; the agent waits before it tries again.",
        icon="attention",
        remedy="See what is wrong: titan doctor. Try it at once: titan retry",
        ends_at=retry_at,
        blocks=False,
    )


def model_not_ready(wanted: Iterable[str], detail: str, hint: str) -> Reason:
    names = ", ".join(wanted) or "no model"
    return Reason(
        code="model_not_ready",
        sentence=f"Model not ready: {detail or f'the engine has none of the models to offer ({names})'}.",
        icon="attention",
        setting="supported_models",
        remedy=hint,
    )


def no_public_address(sentence: str, remedy: str) -> Reason:
    return Reason(
        code="no_public_address",
        sentence=sentence,
        icon="attention",
        setting="public_host",
        remedy=remedy,
    )


def coordinator_away(detail: str, remedy: str = "titan doctor", *, endpoint: str = "") -> Reason:
    """Blocks nobody: valid tokens are served while a key is held. `detail` is gRPC's text: only its kind is said."""
    where = f"The coordinator at {endpoint}" if endpoint else "The coordinator"
    return Reason(
        code="coordinator_away",
        sentence=f"{where} can't be reached ({kind_of_silence(detail)}). It is tried again by itself.",
        icon="offline",
        setting="coordinator_endpoint",
        remedy=remedy,
        blocks=False,
    )


def kind_of_silence(detail: str) -> str:
    """The few kinds that an owner can tell apart; the log has the text itself."""
    text = detail.lower()
    if "refused" in text:
        return "connection refused"
    if any(word in text for word in ("dns", "resolution", "name or service", "not known")):
        return "its name isn't found"
    if any(word in text for word in ("certificate", "handshake", "ssl")):
        return "no secure connection"
    return "no answer"


def registration_refused(detail: str, remedy: str = "titan doctor") -> Reason:
    """The coordinator was reached, and doesn't have us. Blocks nobody: tokens that it signed before still hold."""
    return Reason(
        code="registration_refused",
        sentence=f"Not registered with the coordinator: {detail}",
        icon="offline",
        setting="coordinator_endpoint",
        remedy=remedy,
        blocks=False,
    )


class ReasonBook:
    """The reasons that hold now, one per code. Runs on the loop thread."""

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self._reasons: dict[str, Reason] = {}
        self._on_change = on_change

    def put(self, reason: Reason) -> None:
        """Add the reason, or replace the one of the same code."""
        if self._reasons.get(reason.code) != reason:
            self._reasons[reason.code] = reason
            self._on_change()

    def drop(self, code: str) -> None:
        """Remove a reason; one that doesn't hold is no error."""
        if self._reasons.pop(code, None) is not None:
            self._on_change()

    def put_or_drop(self, code: str, reason: Reason | None) -> None:
        if reason is None:
            self.drop(code)
        else:
            self.put(reason)

    def __contains__(self, code: str) -> bool:
        return code in self._reasons

    @property
    def all(self) -> tuple[Reason, ...]:
        """Every reason, strongest first; blocking ones before the others of unknown strength."""
        return tuple(sorted(self._reasons.values(), key=_strength))

    @property
    def is_blocked(self) -> bool:
        return any(reason.blocks for reason in self._reasons.values())

    def closed_because(self) -> str:
        """The strongest blocking reason in words for a client, "" when serving is allowed."""
        for reason in self.all:
            if reason.blocks:
                return CLIENT_WORDS.get(reason.code, "this agent is not serving now")
        return ""

    def closed_to_owner(self) -> str:
        """The same for the owner's own test, which works while nothing is shared."""
        return CLIENT_WORDS["stopping"] if "stopping" in self else ""


# What a stranger may know: never the owner's machine, models or habits.
CLIENT_WORDS = {
    "stopping": "this agent is stopping",
    "paused_by_owner": "this agent is paused by its owner",
    "draining": "this agent is finishing its sessions before a pause",
    "memory_going_back": "this agent is unloading its model",
    "model_loading": "this agent is loading its model",
}


def _strength(reason: Reason) -> tuple[int, int]:
    rank = STRENGTH.index(reason.code) if reason.code in STRENGTH else len(STRENGTH)
    return (0 if reason.blocks else 1, rank)
