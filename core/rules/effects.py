"""What a rule does, as a text that an owner can read and write: "stop after 5 s, unload", "finish, keep", "off"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from core.rules import Effect, MemoryThen, SessionsThen

OFF = "off"
TELL = "only tell"
FORM = 'like "stop after 5 s, unload", "finish within 30 s, keep", "only tell" or "off"'
LONGEST_S = 86_400.0

# The seconds are plain digits with at most three decimals, so that every text has one value and every value one text.
_PATTERN = re.compile(
    r"(?:(?P<stop>stop)(?: after (?P<after>\d{1,5}(?:\.\d{1,3})?) ?s)?"
    r"|finish(?: within (?P<within>\d{1,5}(?:\.\d{1,3})?) ?s)?)"
    r" ?, ?(?P<memory>unload|keep)",
    re.ASCII,
)


class BadEffect(ValueError):
    """A text that is no effect. Its text is the remedy, in the form "must be ..."."""


def parse_effect(text: str) -> Effect | None:
    """The effect that a text says, None for "off": such a rule is not looked at. Raises BadEffect."""
    words = " ".join(text.lower().split())
    if words == OFF:
        return None
    if words == TELL:
        return Effect(sessions=SessionsThen.SERVE, limit_s=None, memory=MemoryThen.KEEP)
    found = _PATTERN.fullmatch(words)
    if found is None:
        raise BadEffect(f"must be {FORM}")
    memory = MemoryThen(found["memory"])
    if found["stop"]:
        return Effect(sessions=SessionsThen.STOP, limit_s=_limit(found["after"] or "0"), memory=memory)
    limit_s = None if found["within"] is None else _limit(found["within"])
    return Effect(sessions=SessionsThen.FINISH, limit_s=limit_s, memory=memory)


def format_effect(effect: Effect | None) -> str:
    """The text that `parse_effect` takes back."""
    if effect is None:
        return OFF
    if effect.sessions is SessionsThen.SERVE:
        return TELL
    if effect.sessions is SessionsThen.STOP:
        sessions = f"stop after {_seconds(effect.limit_s)} s" if effect.limit_s else "stop"
    else:
        sessions = "finish" if effect.limit_s is None else f"finish within {_seconds(effect.limit_s)} s"
    return f"{sessions}, {effect.memory}"


def effect_in_words(effect: Effect | None) -> str:
    """One or two sentences for the owner."""
    if effect is None:
        return "This rule is off."
    if effect.sessions is SessionsThen.SERVE:
        return "You are told, and sessions go on."
    if effect.sessions is SessionsThen.STOP:
        running = f"are stopped after {_seconds(effect.limit_s)} s" if effect.limit_s else "are stopped at once"
    elif effect.limit_s is None:
        running = "finish by themselves"
    else:
        running = f"may finish within {_seconds(effect.limit_s)} s"
    memory = "the model's memory is given back" if effect.memory is MemoryThen.UNLOAD else "the model stays in memory"
    return f"New sessions are refused, running ones {running}, and {memory}."


# The table; "gpu_lost" and "engine_used_by_owner" follow the nearest of its kind (too hot; another's GPU use).
_TAKE_BACK, _FINISH, _FINISH_LONG = (
    "stop after 5 s, unload",
    "finish within 30 s, unload",
    "finish within 120 s, unload",
)
DEFAULT_EFFECTS: Mapping[str, str] = MappingProxyType(
    {
        "gpu_lost": "stop, unload",
        "gpu_hot": "stop, unload",
        "cpu_hot": "stop, unload",
        "battery_low": "stop, unload",
        "vram_short": _TAKE_BACK,
        "ram_short": _TAKE_BACK,
        "listed_app": _TAKE_BACK,
        "full_screen": _TAKE_BACK,
        "gpu_in_use": _TAKE_BACK,
        "engine_used_by_owner": _TAKE_BACK,
        "in_use": _FINISH,
        "on_battery": _FINISH,
        "schedule": _FINISH_LONG,
        "budget_spent": _FINISH_LONG,
        "metered": _FINISH_LONG,
        "memory_tight": "finish, keep",
        "cpu_busy": "finish, keep",
    }
)


def _limit(text: str) -> float:
    seconds = float(text)
    if seconds > LONGEST_S:
        raise BadEffect(f"must be {FORM}, with at most {LONGEST_S:g} s")
    return seconds


def _seconds(seconds: float | None) -> str:
    return f"{seconds or 0:.3f}".rstrip("0").rstrip(".")
