"""Change the settings file through the declaration: what `titan config set` and the window's settings page call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from core.atomic_file import Disk
from core.config import DECLARATIONS, SECRET_ENVIRONMENT
from core.config_load import LoadedSettings, choose_profile, gather, load_settings, unknown_key_remedy
from core.config_values import BadValue, TomlValue, parse_text, shown, toml_value
from core.errors import ConfigError
from core.paths import BaseFolders, profile_paths
from core.settings_file import FileContent, change_settings_file


def change_settings(
    changes: Mapping[str, str | None],
    environ: Mapping[str, str],
    *,
    profile: str | None = None,
    bases: BaseFolders | None = None,
    disk: Disk | None = None,
) -> LoadedSettings:
    """Write settings, as text, to the profile's file; None goes back to the default.

    Returns the settings as they now are: a value that the environment overrides is written all the same, and its
    origin says so. Raises ConfigError when a value is not allowed, or when the change makes a new problem with the
    other layers (problems that were there before don't stop it: they could never be repaired one at a time), and
    StorageError when the file cannot be written: nothing is written then. When the change is written and old problems
    are left, the ConfigError's hint says so.
    """
    values = _file_values(changes)
    paths = profile_paths(choose_profile(environ, profile).name, environ=environ, bases=bases)

    def refuse_new_problems(before: FileContent, after: FileContent) -> None:
        known = set(gather(before, paths, environ, {}).problems)
        new = [problem for problem in gather(after, paths, environ, {}).problems if problem not in known]
        new += [_unknown(name) for name in values if name not in DECLARATIONS and name not in before.values]
        if new:
            raise ConfigError(new, hint="Nothing was changed.")

    written = change_settings_file(paths.config_file, values, check=refuse_new_problems, disk=disk)
    try:
        loaded = load_settings(environ, {"profile": profile}, bases=bases)
        return replace(loaded, notices=(*written.notices, *loaded.notices))
    except ConfigError as error:
        raise ConfigError(error.problems, hint="The change is written. These problems were there before it.") from None


def _unknown(name: str) -> str:
    return f"{name}: {unknown_key_remedy(name).removesuffix('; remove it')}"  # it stands nowhere yet


def _file_values(changes: Mapping[str, str | None]) -> dict[str, TomlValue | None]:
    values: dict[str, TomlValue | None] = {}
    problems = []
    for name, text in changes.items():
        declaration = DECLARATIONS.get(name)
        if name in SECRET_ENVIRONMENT:
            problems.append(f"{name} is a secret and never stands in the file: use `titan config set --secret {name}`")
        elif declaration is None:
            if text is not None:  # removing an unknown key is how its problem is solved
                problems.append(_unknown(name))
            values[name] = None
        elif not declaration.is_in_file:
            problems.append(
                f"{name} is no setting of the file: use {declaration.option} or {declaration.environment_name}"
            )
        elif text is None:
            values[name] = None
        else:
            try:
                values[name] = toml_value(parse_text(declaration, text, relative_to=Path.cwd()))
            except BadValue as error:
                problems.append(f"{name} = {shown(text)!r} (new value): {error}")
    if problems:
        raise ConfigError(problems, hint="Nothing was changed.")
    return values
