"""What a person can do about a reason or an error: the window's own words, and the buttons that do it. Pure.

The core's remedies are for the command line too: here stands what the window says in their place, where it must.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from core.config import DECLARATIONS
from core.errors import (
    AgentError,
    AgentNotRunning,
    AlreadyRunningError,
    ConfigError,
    ControlError,
    CoordinatorError,
    EngineError,
    EngineNeedsAttention,
    EngineUnreachable,
    ModelError,
    ModelNotFound,
    PortTakenError,
)
from core.snapshot import Reason
from titan_gui.plain_text import plain, sentences
from titan_gui.settings_text import as_sentence, place_problems, title_of


class Does(StrEnum):
    """What a button does."""

    SETTING = "setting"  # turn to one setting
    START = "start"
    RETRY = "retry"
    RESUME = "resume"
    FOLLOW_RULES = "follow_rules"
    SETUP = "setup"
    MODELS = "models"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class Action:
    """One button. `setting` is the setting's name for `Does.SETTING`."""

    does: Does
    setting: str = ""

    @property
    def title(self) -> str:
        return f"Open the setting “{title_of(self.setting)}”" if self.does is Does.SETTING else _TITLES[self.does]

    @property
    def short_title(self) -> str:
        """Where there is little room; `title` says it in full to a screen reader."""
        return "Setting" if self.does is Does.SETTING else _TITLES[self.does]


@dataclass(frozen=True, slots=True)
class Remedy:
    """What to do, as sentences ("" where the buttons say it all), and the buttons, the likeliest first."""

    sentence: str = ""
    actions: tuple[Action, ...] = ()


_TITLES: Mapping[Does, str] = MappingProxyType(
    {
        Does.START: "Start now",
        Does.RETRY: "Try again",
        Does.RESUME: "Resume",
        Does.FOLLOW_RULES: "Follow my rules again",
        Does.SETUP: "Set up",
        Does.MODELS: "Open the models",
        Does.LOG: "Open the log",
    }
)


@dataclass(frozen=True, slots=True)
class _Known:
    """`sentence` is said where the core's own hint holds nothing for a window, and always where it is `always`."""

    sentence: str = ""
    does: tuple[Does, ...] = ()
    setting: str = ""
    always: bool = False
    is_setting_shown: bool = True  # False where another button leads to the better place

    def actions(self, setting: str) -> tuple[Action, ...]:
        """With `setting` before the log, which only says more."""
        doing = [Action(does) for does in self.does if does is not Does.LOG]
        if setting in DECLARATIONS and self.is_setting_shown:
            doing.append(Action(Does.SETTING, setting))
        return (*doing, Action(Does.LOG)) if Does.LOG in self.does else tuple(doing)


# A reason's setting gets a button by itself: here stands what else can be done.
FOR_REASONS: Mapping[str, _Known] = MappingProxyType(
    {
        "stopping": _Known(always=True),
        "setup_not_done": _Known("Answer the first questions.", (Does.SETUP,), always=True),
        "paused_by_owner": _Known("", (Does.RESUME,), always=True),
        "draining": _Known("", (Does.RESUME,), always=True),
        "sharing_now": _Known("", (Does.FOLLOW_RULES,), always=True),
        "engine_attention": _Known("Mend that, and try again.", (Does.RETRY, Does.LOG)),
        "engine_unreachable": _Known("It is tried again by itself.", (Does.RETRY,)),
        "engine_resting": _Known("It is tried again by itself, or now.", (Does.RETRY, Does.LOG), always=True),
        "model_not_ready": _Known("Choose what to offer, or add a model.", (Does.MODELS,), is_setting_shown=False),
        "no_public_address": _Known("Type the name or address under which others reach this machine.", always=True),
        "registration_refused": _Known("It is tried again by itself.", (Does.LOG,), always=True),
        "coordinator_away": _Known("", (Does.LOG,), always=True),  # its sentence says that it is tried again
        "agent_failed": _Known("Start it again. The log has more.", (Does.START, Does.LOG)),
    }
)
# The first class that fits counts, so the narrower one stands first.
FOR_ERRORS: tuple[tuple[type[AgentError], _Known], ...] = (
    (PortTakenError, _Known("Choose another port, and start it again.", setting="agent_port", always=True)),
    (AlreadyRunningError, _Known("Quit the other one first, or use its window.", always=True)),
    (AgentNotRunning, _Known("Start it first.", always=True)),
    (ControlError, _Known("The log may show why.", always=True)),
    (ConfigError, _Known()),
    (CoordinatorError, _Known("It is tried again by itself.", setting="coordinator_endpoint", always=True)),
    (ModelNotFound, _Known("Add it on the Models page.", (Does.MODELS,))),
    (ModelError, _Known("The Models page shows what there is.", (Does.MODELS,))),
    (EngineNeedsAttention, _Known("Mend that, and try again.", (Does.RETRY,), setting="engine")),
    (EngineUnreachable, _Known("Does the program that runs the models run?", setting="engine")),
    (EngineError, _Known(setting="engine")),
    (AgentError, _Known()),
)


def remedy_of(reason: Reason) -> Remedy:
    """What to do about a reason that holds now; one that this version doesn't know gets its setting."""
    known = FOR_REASONS.get(reason.code, _Known())
    sentence = known.sentence if known.always else plain(reason.remedy) or known.sentence
    return Remedy(sentence, known.actions(reason.setting))


def remedy_of_error(error: AgentError) -> Remedy:
    """What to do about an error. Its actions are for a page that has room for buttons."""
    known = next(known for kind, known in FOR_ERRORS if isinstance(error, kind))
    sentence = known.sentence if known.always else plain(error.hint) or known.sentence
    return Remedy(sentence, known.actions(setting_behind(error)))


def setting_behind(error: AgentError) -> str:
    """The setting that an error comes from; "" where it isn't one."""
    if isinstance(error, ConfigError):
        by_field, _ = place_problems(error.problems)
        return next(iter(by_field), "")
    return next(known for kind, known in FOR_ERRORS if isinstance(error, kind)).setting


def error_text(error: AgentError) -> str:
    """What went wrong and what to do, as sentences."""
    detail = " ".join(as_sentence(line) for line in plain(error.detail).splitlines() if line.strip())
    return sentences(detail, remedy_of_error(error).sentence)
