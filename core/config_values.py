"""One setting's declaration, and the two ways in (text, TOML) and the two ways out of its value.

core/config.py declares the settings; this module knows nothing of any particular one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import MISSING, Field, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

Value = bool | int | float | str | Path | tuple[str, ...] | None
TomlValue = bool | int | float | str | list[str]

_MAX_TEXT_CHARACTERS = 4096
_MAX_SHOWN_CHARACTERS = 100
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", re.ASCII)
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


class Kind(StrEnum):
    """What a value is; the window picks its widget by it."""

    BOOL = "yes or no"
    INT = "whole number"
    FLOAT = "number"
    TEXT = "text"
    PATH = "path"
    LIST = "list"
    CHOICE = "choice"


_KIND_OF_ANNOTATION = {
    "bool": Kind.BOOL,
    "int": Kind.INT,
    "float": Kind.FLOAT,
    "str": Kind.TEXT,
    "Path": Kind.PATH,
    "Path | None": Kind.PATH,
    "tuple[str, ...]": Kind.LIST,
}


class BadValue(ValueError):
    """A value that the declaration doesn't allow. Its text is the remedy, in the form "must be ..."."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """Everything there is to know about one setting; front ends and documents are made from it."""

    name: str
    kind: Kind
    default: Value
    group: str
    help: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    seed_name: str = ""  # the environment name that the seed's agent used, "" when it had none
    is_live: bool = False  # true: a change takes effect at once; false: at the next start
    is_held_in_range: bool = False  # a number outside the range is moved to its edge, with a notice
    is_in_file: bool = True  # false: only the environment and the command line can say it
    form: str = ""  # what a text must be, where that is more than text
    default_text: str = ""  # shown instead of `default` where that is worked out at start

    @property
    def environment_name(self) -> str:
        return f"TITAN_{self.name.upper()}"

    @property
    def option(self) -> str:
        """The command line's spelling: agent_port → --agent-port."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def environment_names(self) -> tuple[str, ...]:
        return (self.seed_name, self.environment_name) if self.seed_name else (self.environment_name,)

    @property
    def expectation(self) -> str:
        """What a value must be, as the end of "agent_port must be ..."."""
        unit = f" ({self.unit})" if self.unit else ""
        match self.kind:
            case Kind.BOOL:
                return "true or false"
            case Kind.CHOICE:
                return "one of " + ", ".join(self.choices)
            case Kind.INT | Kind.FLOAT:
                return f"a {self.kind}{self._range_text()}{unit}"
            case Kind.PATH:
                return "an absolute path, or one that starts with ~/"
            case Kind.LIST:
                return "a list of names, separated by commas"
            case Kind.TEXT:
                return self.form or "text on one line"

    def _range_text(self) -> str:
        if self.minimum is None or self.maximum is None:
            return ""
        return f" from {display(self.minimum)} to {display(self.maximum)}"


def setting(
    default: Value,
    help: str,
    *,
    choices: Sequence[str] = (),
    between: tuple[float, float] | None = None,
    **details: Any,
) -> Any:
    """A dataclass field that carries its declaration. `between` gives the inclusive range of a number."""
    minimum, maximum = between or (None, None)
    details |= {"help": help, "choices": tuple(choices), "minimum": minimum, "maximum": maximum}
    return field(default=default, metadata=details)


def declare(group_of: dict[str, str], fields: Sequence[Field[Any]]) -> dict[str, Declaration]:
    """The declarations of a settings dataclass, in its order. `group_of` maps a group's first field to the group."""
    declarations: dict[str, Declaration] = {}
    group = ""
    for item in fields:
        group = group_of.get(item.name, group)
        assert item.default is not MISSING, item.name
        kind = Kind.CHOICE if item.metadata["choices"] else _KIND_OF_ANNOTATION[str(item.type)]
        declarations[item.name] = Declaration(
            name=item.name, kind=kind, default=item.default, group=group, **item.metadata
        )
    return declarations


def parse_text(declaration: Declaration, text: str, *, relative_to: Path | None = None) -> Value:
    """A value from the environment or the command line. Raises BadValue.

    A relative path is taken from `relative_to` (the caller's current directory); None refuses it.
    """
    text = _checked_text(declaration, text)
    match declaration.kind:
        case Kind.BOOL:
            if text.lower() not in _TRUE | _FALSE:
                raise BadValue(f"must be {declaration.expectation}")
            return text.lower() in _TRUE
        case Kind.INT:
            if not _INTEGER.fullmatch(text):
                raise BadValue(f"must be {declaration.expectation}")
            return _in_range(declaration, int(text))
        case Kind.FLOAT:
            if not _NUMBER.fullmatch(text):
                raise BadValue(f"must be {declaration.expectation}")
            return _in_range(declaration, float(text))
        case Kind.CHOICE:
            return _choice(declaration, text.lower())
        case Kind.PATH:
            return _path(declaration, text, relative_to)
        case Kind.LIST:
            return _names(text.split(","))
        case Kind.TEXT:
            return text


def parse_toml(declaration: Declaration, value: object) -> Value:
    """A value from the settings file, as tomllib gave it. Raises BadValue."""
    match declaration.kind, value:
        case (Kind.BOOL, bool()):
            return value
        case (Kind.INT, int()) if not isinstance(value, bool):
            return _in_range(declaration, value)
        case (Kind.FLOAT, int() | float()) if not isinstance(value, bool):
            return _in_range(declaration, value)
        case (Kind.LIST, list()) if all(isinstance(item, str) for item in value):
            return _names([_checked_text(declaration, item) for item in value])
        case (Kind.LIST | Kind.CHOICE | Kind.PATH | Kind.TEXT, str()):
            return parse_text(declaration, value)
    quoted = ", without quotes" if isinstance(value, str) else ""
    raise BadValue(f"must be {declaration.expectation}{quoted}")


def toml_value(value: Value) -> TomlValue | None:
    """The value as the settings file holds it; None where the file has no line for it."""
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def display(value: Value) -> str:
    """The value as a person reads it, and as `parse_text` takes it back."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            return str(int(value)) if value.is_integer() else repr(value)
        case tuple():
            return ",".join(value)
    return str(value)


def masked(text: str) -> str:
    """Text of a value without the password of a URL."""
    return re.sub(r"//[^/@]*@", "//***@", text)


def shown(text: str) -> str:
    """Text of a value for a message or a table: masked, and short."""
    text = masked(text)
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else f"{text[: _MAX_SHOWN_CHARACTERS - 3]}..."


def held(declaration: Declaration, value: Value) -> Value:
    """The value moved to the nearest edge of its range, where the declaration says so."""
    if not declaration.is_held_in_range or not isinstance(value, int | float):
        return value
    assert declaration.minimum is not None, declaration.name
    assert declaration.maximum is not None, declaration.name
    return float(min(max(value, declaration.minimum), declaration.maximum))  # compared first: an int may be no float


def _checked_text(declaration: Declaration, text: str) -> str:
    text = text.strip()
    # Unprintable covers NUL, line breaks, and the surrogates that stand for bytes that aren't UTF-8.
    if len(text) > _MAX_TEXT_CHARACTERS or not text.isprintable():
        limits = f"printable, and at most {_MAX_TEXT_CHARACTERS} characters long"
        raise BadValue(f"must be {declaration.expectation}, {limits}")
    return text


def _in_range(declaration: Declaration, number: int | float) -> int | float:
    low, high = declaration.minimum, declaration.maximum
    number = float(number) if declaration.kind is Kind.FLOAT and abs(number) < 1e18 else number
    if isinstance(number, float) and not math.isfinite(number):
        raise BadValue(f"must be {declaration.expectation}")
    outside = (low is not None and number < low) or (high is not None and number > high)
    if outside and not declaration.is_held_in_range:
        raise BadValue(f"must be {declaration.expectation}")
    return number


def _choice(declaration: Declaration, text: str) -> str:
    if text not in declaration.choices:
        raise BadValue(f"must be {declaration.expectation}")
    return text


def _path(declaration: Declaration, text: str, relative_to: Path | None) -> Path | None:
    if not text:
        return None
    try:
        path = Path(text).expanduser()
    except RuntimeError:  # no such user, or no home
        raise BadValue(f"must be {declaration.expectation}: there is no home folder for it") from None
    if path.is_absolute():
        return path
    if relative_to is None:
        raise BadValue(f"must be {declaration.expectation}")
    return relative_to / path


def _names(items: Sequence[str]) -> tuple[str, ...]:
    """Names without blanks and without repeats, in the order given."""
    return tuple(dict.fromkeys(stripped for item in items if (stripped := item.strip())))
