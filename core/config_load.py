"""From the four layers to values: defaults < settings file < environment < command line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from core.config import DECLARATIONS, IGNORED_ENVIRONMENT, SECRET_ENVIRONMENT, Settings
from core.config_checks import cross_problems
from core.config_values import BadValue, Declaration, Value, display, held, parse_text, parse_toml, shown
from core.errors import ConfigError
from core.network import DEFAULT_COORDINATOR_PORT, parse_endpoint
from core.paths import DEFAULT_PROFILE, BaseFolders, ProfilePaths, profile_paths
from core.settings_file import FileContent, read_settings_file


class Layer(StrEnum):
    """Where a value came from, weakest first."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True)
class Origin:
    """The layer that decided a setting, and its words for it: "environment AGENT_PORT", or the file's path."""

    layer: Layer
    source: str


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile's name and what chose it."""

    name: str
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSettings:
    """Usable settings, where each came from, and what the owner should be told."""

    settings: Settings
    origins: Mapping[str, Origin]
    paths: ProfilePaths
    notices: tuple[str, ...] = ()


@dataclass(slots=True)
class Gathered:
    """What the layers have said so far; later layers overwrite earlier ones."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        return replace(Settings(), **self.values)

    def put(self, name: str, value: Value, origin: Origin) -> None:
        self.values[name] = value
        self.origins[name] = origin

    def refuse(self, key: str, value: str, origin: Origin, remedy: str) -> None:
        self.problems.append(f"{key} = {shown(value)!r} ({origin.source}): {remedy}")

    def refuse_unknown(self, key: str, source: str, prefix: str = "") -> None:
        """Without its value: under a misspelt name may stand a secret."""
        key_on_one_line = shown(key if key.isprintable() else repr(key))
        self.problems.append(f"{key_on_one_line} ({source}): {unknown_key_remedy(key, prefix)}")


def load_settings(
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Value] | None = None,
    *,
    bases: BaseFolders | None = None,
) -> LoadedSettings:
    """Read all four layers.

    `overrides` is the command line: names as declared, text or typed values, None for "not given"; its `profile` picks
    the profile. `environ` is os.environ unless given. An empty environment variable counts as not set.
    Raises ConfigError with every problem found, and StorageError when the file cannot be read.
    """
    environ = os.environ if environ is None else environ
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    profile = choose_profile(environ, given.get("profile")).name
    paths = profile_paths(profile, environ=environ, bases=bases)
    return compose(read_settings_file(paths.config_file), paths, environ, given)


def choose_profile(environ: Mapping[str, str], requested: Value = None) -> Profile:
    """--profile, else TITAN_PROFILE, else an AGENT_ID set in the environment, else "default"."""
    declaration = DECLARATIONS["profile"]
    if name := str(requested or "").strip():
        return Profile(name, Origin(Layer.COMMAND_LINE, f"command line {declaration.option}"))
    for variable in (declaration.environment_name, *DECLARATIONS["agent_id"].environment_names):
        if name := environ.get(variable, "").strip():
            return Profile(name, Origin(Layer.ENVIRONMENT, f"environment {variable}"))
    return Profile(DEFAULT_PROFILE, Origin(Layer.DEFAULT, "default"))


def compose(
    content: FileContent, paths: ProfilePaths, environ: Mapping[str, str], overrides: Mapping[str, Value]
) -> LoadedSettings:
    """Put the layers together; the file is already read. Raises ConfigError with every problem found."""
    gathered = gather(content, paths, environ, overrides)
    if gathered.problems:
        raise ConfigError(gathered.problems, hint="Correct these settings; `titan config show` lists all of them.")
    settings = gathered.settings
    endpoint = parse_endpoint(settings.coordinator_endpoint, default_port=DEFAULT_COORDINATOR_PORT)
    return LoadedSettings(
        settings=replace(settings, coordinator_endpoint=str(endpoint)),
        origins=MappingProxyType(gathered.origins),
        paths=paths,
        notices=(*content.notices, *gathered.notices),
    )


def gather(
    content: FileContent, paths: ProfilePaths, environ: Mapping[str, str], overrides: Mapping[str, Value]
) -> Gathered:
    """All that the layers say, with every problem found and none raised."""
    gathered = Gathered()
    for name, declaration in DECLARATIONS.items():
        gathered.put(name, declaration.default, Origin(Layer.DEFAULT, "default"))
    gathered.put("models_dir", paths.models_dir, Origin(Layer.DEFAULT, "default"))
    gathered.put("profile", paths.profile, choose_profile(environ, overrides.get("profile")).origin)
    _take_file(gathered, content.values, Origin(Layer.FILE, str(paths.config_file)))
    _take_environment(gathered, environ)
    _take_overrides(gathered, overrides)
    _hold_in_range(gathered)
    sources = {name: origin.source for name, origin in gathered.origins.items()}
    gathered.problems += cross_problems(gathered.settings, sources)
    return gathered


def unknown_key_remedy(key: str, prefix: str = "") -> str:
    """ "There is no such setting", with the nearest name that there is, or the way that secrets go.

    `prefix` is what environment names start with; left in, it would make every two of them look alike.
    """
    if key in SECRET_ENVIRONMENT:
        return f"it is a secret and never stands in the file: use `titan config set --secret {key}`, and remove it here"
    import difflib  # only for somebody who mistyped

    nearest = difflib.get_close_matches(key.removeprefix(prefix).lower(), list(DECLARATIONS), n=1)
    if not nearest:
        return "there is no such setting; remove it"
    return f"there is no such setting; did you mean {prefix + nearest[0].upper() if prefix else nearest[0]}?"


def _take_file(gathered: Gathered, values: Mapping[str, object], origin: Origin) -> None:
    for key, raw in values.items():
        declaration = DECLARATIONS.get(key)
        if declaration is None:
            gathered.refuse_unknown(key, origin.source)
        elif not declaration.is_in_file:
            gathered.refuse(key, str(raw), origin, "the file belongs to one profile and can't name it; remove it")
        else:
            try:
                gathered.put(key, parse_toml(declaration, raw), origin)
            except BadValue as error:
                gathered.refuse(key, str(raw), origin, str(error))


def _take_environment(gathered: Gathered, environ: Mapping[str, str]) -> None:
    for declaration in DECLARATIONS.values():
        said = {name: environ[name] for name in declaration.environment_names if environ.get(name, "").strip()}
        if len({text.strip() for text in said.values()}) > 1:
            pairs = " and ".join(f"environment {name} says {shown(text)!r}" for name, text in said.items())
            gathered.problems.append(f"{declaration.name}: {pairs}: unset one of them")
        elif said:
            name, text = next(iter(said.items()))
            _take_text(gathered, declaration, text, Origin(Layer.ENVIRONMENT, f"environment {name}"))
    known = tuple(declaration.environment_name for declaration in DECLARATIONS.values())
    for name in sorted(environ):
        if name.startswith("TITAN_") and name not in known and name not in IGNORED_ENVIRONMENT:
            gathered.refuse_unknown(name, "environment", prefix="TITAN_")


def _take_overrides(gathered: Gathered, overrides: Mapping[str, Value]) -> None:
    for key, value in overrides.items():
        declaration = DECLARATIONS.get(key)
        if declaration is None:
            gathered.refuse_unknown(key, "command line")
        else:
            origin = Origin(Layer.COMMAND_LINE, f"command line {declaration.option}")
            _take_text(gathered, declaration, display(value), origin)


def _take_text(gathered: Gathered, declaration: Declaration, text: str, origin: Origin) -> None:
    try:
        gathered.put(declaration.name, parse_text(declaration, text, relative_to=Path.cwd()), origin)
    except BadValue as error:
        gathered.refuse(declaration.name, text, origin, str(error))


def _hold_in_range(gathered: Gathered) -> None:
    for name, declaration in DECLARATIONS.items():
        value = gathered.values[name]
        kept = held(declaration, value)
        if kept != value:
            said = f"{name} = {shown(display(value))} ({gathered.origins[name].source})"
            gathered.values[name] = kept
            gathered.notices.append(f"{said} is held at {display(kept)}: it must be {declaration.expectation}")
