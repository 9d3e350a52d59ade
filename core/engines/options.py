"""The client's sampling options: an allow-list with types and ranges. Everything else is refused, never dropped.

The wire carries options as map<string,string>: every value is text until it is parsed here. Rules:
- max_tokens 0 and an absent num_predict mean the owner's output limit; more is held at it (a client
  cannot know it, and finish_reason "length" tells what happened); a negative value, Ollama's "without end", is refused.
- A value sent twice (max_tokens and num_predict, the field temperature and the option) must agree; a field that is 0
  counts as not sent, because proto3 cannot tell the two apart.
- num_ctx is checked against our context and never passed on: another value would make the engine load the model again.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from core.errors import RequestError

MAX_TEMPERATURE = 2.0
MAX_STOPS = 8
MAX_STOP_CHARS = 128
_MAX_OPTIONS = 32
_MAX_VALUE_CHARS = 4096  # room for the stop list; numbers are held shorter by their patterns

_INTEGER = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_NUMBER = re.compile(r"-?(?:[0-9]{1,18}(?:\.[0-9]{0,32})?|\.[0-9]{1,32})(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingOptions:
    """Options a client may set. None means "not sent": the engine's own default holds."""

    temperature: float | None = None  # sent as an option; None: the request's field `temperature` holds
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None


NO_OPTIONS = SamplingOptions()  # most requests

_N = TypeVar("_N", int, float)


def parse_options(
    options: Mapping[str, str],
    *,
    max_tokens: int,
    temperature: float,
    max_output_tokens: int,
    context_tokens: int,
) -> tuple[int, SamplingOptions]:
    """Check a request's options against the allow-list and the owner's limits; give (max_tokens ≥ 1, sampling options).

    `max_tokens` and `temperature` are the request's own fields. Raises RequestError that names the option and what is
    allowed. `max_output_tokens` and `context_tokens` (per session) are the owner's.
    """
    if not options and 0.0 <= temperature <= MAX_TEMPERATURE:
        return _resolve_max_tokens(None, max_tokens, max_output_tokens), NO_OPTIONS
    if len(options) > _MAX_OPTIONS:
        raise RequestError(f"{len(options)} options were sent; at most {_MAX_OPTIONS} are read", hint=_allowed_hint())
    for name, text in options.items():
        if name not in _ALLOWED:
            raise RequestError(f"option {_shown(name)} is not allowed", hint=_allowed_hint())
        if len(text) > _MAX_VALUE_CHARS:
            raise RequestError(f"option {name} is longer than {_MAX_VALUE_CHARS} characters")
    if "num_ctx" in options:
        _check_num_ctx(options["num_ctx"], context_tokens)
    values = {name: read(name, options[name]) for name, read in _SAMPLING.items() if name in options}
    sampling = SamplingOptions(
        temperature=_check_temperature(options.get("temperature"), temperature),
        stop=_read_stop(options["stop"]) if "stop" in options else (),
        **values,  # type: ignore[arg-type]  # keys and types are those of _SAMPLING
    )
    return _resolve_max_tokens(options.get("num_predict"), max_tokens, max_output_tokens), sampling


def effective_temperature(field: float, options: SamplingOptions) -> float:
    """The option when it was sent, else the field, freed of its 32-bit rounding (0.7 arrives as 0.699999988)."""
    return float(f"{field:.6g}") if options.temperature is None else options.temperature


def _in_range(name: str, value: _N, low: _N, high: _N) -> _N:
    if not low <= value <= high:  # a NaN is in no range
        raise RequestError(f"option {name} is out of range", hint=f"Send {name} between {low} and {high}.")
    return value


def _read_int(low: int, high: int) -> Callable[[str, str], int]:
    def read(name: str, text: str) -> int:
        if not _INTEGER.fullmatch(text):
            raise RequestError(f"option {name} must be a whole number", hint=f"Send {name} between {low} and {high}.")
        return _in_range(name, int(text), low, high)

    return read


def _read_float(low: float, high: float) -> Callable[[str, str], float]:
    def read(name: str, text: str) -> float:
        if not _NUMBER.fullmatch(text):
            raise RequestError(f"option {name} must be a number", hint=f"Send {name} between {low} and {high}.")
        return _in_range(name, float(text), low, high)

    return read


# Ranges are what Ollama, llama.cpp and vLLM all take. The seed is held to 31 bits: llama.cpp reads 2³² − 1 as "random".
_SAMPLING: dict[str, Callable[[str, str], int | float]] = {
    "top_p": _read_float(0.0, 1.0),
    "top_k": _read_int(0, 1000),
    "min_p": _read_float(0.0, 1.0),
    "seed": _read_int(0, 2**31 - 1),
    "repeat_penalty": _read_float(0.1, 2.0),
    "presence_penalty": _read_float(-2.0, 2.0),
    "frequency_penalty": _read_float(-2.0, 2.0),
}
_ALLOWED = frozenset(_SAMPLING) | {"num_predict", "temperature", "stop", "num_ctx"}


def _allowed_hint() -> str:
    return f"Allowed are {', '.join(sorted(_ALLOWED))}."


def _shown(name: str) -> str:
    """A client's name for an option, safe in an error: printable and short."""
    return ascii(name[:40])


def _check_num_ctx(text: str, context_tokens: int) -> None:
    wanted = _INTEGER.fullmatch(text) and int(text)
    if not wanted or not 1 <= wanted <= context_tokens:
        raise RequestError(
            "option num_ctx asks for a context that this agent does not give",
            hint=f"Leave num_ctx out, or send at most {context_tokens}.",
        )


def _resolve_max_tokens(num_predict: str | None, max_tokens: int, limit: int) -> int:
    asked = 0 if num_predict is None else _read_predict(num_predict)
    if max_tokens < 0:
        raise RequestError("max_tokens is negative", hint="Send max_tokens ≥ 1, or 0 for this agent's own limit.")
    if asked and max_tokens and asked != max_tokens:
        raise RequestError("max_tokens and the option num_predict differ", hint="Send one of them, or the same value.")
    return min(asked or max_tokens or limit, limit)


def _read_predict(text: str) -> int:
    """num_predict; 0 counts as not sent, like max_tokens 0."""
    if not _INTEGER.fullmatch(text) or int(text) < 0:
        raise RequestError(
            "option num_predict must be a whole number that is not negative",
            hint="Send num_predict ≥ 1, or 0 for this agent's own limit.",
        )
    return int(text)


def _check_temperature(option: str | None, field: float) -> float | None:
    """The option's value, or None when only the field counts."""
    if not 0.0 <= field <= MAX_TEMPERATURE:  # a NaN is in no range
        raise RequestError("temperature is out of range", hint=f"Send a temperature between 0 and {MAX_TEMPERATURE}.")
    if option is None:
        return None
    asked = _read_float(0.0, MAX_TEMPERATURE)("temperature", option)
    if field and not math.isclose(field, asked, rel_tol=1e-5):  # the field is a 32-bit float
        raise RequestError(
            "the field temperature and the option temperature differ", hint="Send one of them, or the same value."
        )
    return asked


def _read_stop(text: str) -> tuple[str, ...]:
    """Stop texts: a JSON list of strings, or anything else as one stop text. Their text never goes into an error."""
    stops: object = [text]
    if text.startswith("["):
        try:
            stops = json.loads(text)
        except (ValueError, RecursionError):
            stops = [text]  # a stop text may itself start with a bracket, like "[INST]"
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise RequestError("option stop must be one text or a JSON list of texts")
    if len(stops) > MAX_STOPS or any(not 1 <= len(stop) <= MAX_STOP_CHARS for stop in stops):
        raise RequestError(
            "option stop holds too many texts, or one that is empty or too long",
            hint=f"Send at most {MAX_STOPS} texts of 1 to {MAX_STOP_CHARS} characters.",
        )
    if any(_has_lone_surrogate(stop) for stop in stops):
        raise RequestError("option stop holds a text that is not Unicode")
    return tuple(stops)


def _has_lone_surrogate(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)
