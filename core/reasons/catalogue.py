"""Every kind of reason not to serve, strongest first: when it holds, what follows, and the setting behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from core.rules.effects import DEFAULT_EFFECTS, effect_in_words, parse_effect


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
        code="sharing_now",
        title="Sharing now at your word",
        meaning="You said to share for a time although you are here, or your hours say no.",
        effect="The rules that are there for you alone wait until it is over; those that protect the machine hold.",
        blocks=False,
        icon="clock",
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
