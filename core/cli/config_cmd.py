"""`titan config`: show, set, unset and path. Made from the declarations, so it knows every setting by itself."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from core.cli import door
from core.config import DECLARATIONS, SECRET_ENVIRONMENT
from core.config_edit import change_settings
from core.config_load import Layer, LoadedSettings, choose_profile, load_settings
from core.config_values import Declaration, TomlValue, Value, display, masked, shown, toml_value
from core.errors import AgentError, AgentNotRunning, ConfigError, ControlError, StorageError
from core.paths import ProfilePaths, profile_paths
from core.secrets import MAX_SECRET_BYTES, SecretStore

EXIT_FAILED = 1
EXIT_BAD_SETTINGS = 2

config_app = typer.Typer(
    help="Show and change the settings.",
    no_args_is_help=True,
    # A traceback with local variables would print a secret.
    pretty_exceptions_enable=False,
)

ProfileOption = Annotated[str | None, typer.Option("--profile", help="The profile to use.", metavar="NAME")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
SecretOption = Annotated[
    bool, typer.Option("--secret", help="KEY is a secret; its value comes from the terminal or stdin.")
]
KeyArgument = Annotated[str, typer.Argument(help="The setting's name, as `titan config show` has it.")]


@config_app.command("show")
def show(
    profile: ProfileOption = None,
    as_json: JsonOption = False,
    origins: Annotated[bool, typer.Option("--origins", help="Say in full where each value came from.")] = False,
) -> None:
    """Every setting: its value, where that came from, and what it is. Secrets are named, never shown."""
    with _reported(as_json):
        loaded = load_settings(os.environ, {"profile": profile})
        secrets = _secret_sources(loaded.paths)
        if as_json:
            typer.echo(json.dumps(_as_json(loaded, secrets), indent=2, ensure_ascii=False))
            return
        _print_table(loaded, secrets, full_origins=origins)
        for notice in loaded.notices:
            typer.echo(f"Note: {notice}", err=True)


@config_app.command("set", context_settings={"ignore_unknown_options": True})  # for values that start with "-"
def set_value(
    key: KeyArgument,
    value: Annotated[str | None, typer.Argument(help="The new value; lists are separated by commas.")] = None,
    secret: SecretOption = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a setting to the profile's file, or keep a secret."""
    with _reported(as_json):
        if secret:
            _done(as_json, f"{key} is kept", _set_secret(key, value, profile), key=key)
            return
        if value is None:
            is_secret = key in SECRET_ENVIRONMENT
            hint = f"titan config set --secret {key}" if is_secret else "titan config set KEY VALUE"
            raise ConfigError([f"No value was given for {shown(key)}"], hint=hint)
        loaded = change_settings({key: value}, os.environ, profile=profile)
        _changed(as_json, f"{key} = {shown(value)} is written to {loaded.paths.config_file}", loaded, key)


@config_app.command("unset")
def unset(
    key: KeyArgument, secret: SecretOption = False, profile: ProfileOption = None, as_json: JsonOption = False
) -> None:
    """Take a setting out of the file, so that its default holds again, or forget a secret."""
    with _reported(as_json):
        if secret:
            _done(as_json, f"{key} is forgotten", _store(_paths(profile)).delete(key), key=key)
            return
        loaded = change_settings({key: None}, os.environ, profile=profile)
        _changed(as_json, f"{key} is no longer in {loaded.paths.config_file}", loaded, key)


@config_app.command("path")
def path(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Where the settings file is; with --json every file and folder of the profile. They need not exist yet."""
    with _reported(as_json):
        paths = _paths(profile)
        typer.echo(json.dumps(_paths_as_json(paths), indent=2) if as_json else str(paths.config_file))


@contextmanager
def _reported(as_json: bool = False) -> Iterator[None]:
    """Print an error with its remedy, and end with 2 for settings, 1 for files."""
    try:
        yield
    except (ConfigError, StorageError) as error:
        _print_error(error, as_json)
        raise typer.Exit(EXIT_BAD_SETTINGS if isinstance(error, ConfigError) else EXIT_FAILED) from error


def _print_error(error: AgentError, as_json: bool) -> None:
    problems = error.problems if isinstance(error, ConfigError) else (error.detail,)
    if as_json:
        typer.echo(json.dumps({"error": error.title, "problems": problems, "hint": error.hint}, indent=2))
        return
    typer.echo(f"{error.title}:", err=True)
    for problem in problems:
        typer.echo(f"  {problem}", err=True)
    if error.hint:
        typer.echo(error.hint, err=True)


def _paths(profile: str | None) -> ProfilePaths:
    return profile_paths(choose_profile(os.environ, profile).name)


def _store(paths: ProfilePaths) -> SecretStore:
    return SecretStore(paths.secrets_dir, paths.profile)


def _secret_sources(paths: ProfilePaths) -> dict[str, str]:
    """Where each secret comes from; "" for one that isn't set."""
    store = _store(paths)
    return {name: found.source if (found := store.get(name)) else "" for name in SECRET_ENVIRONMENT}


def _set_secret(name: str, value: str | None, profile: str | None) -> tuple[str, ...]:
    if value is not None:
        raise ConfigError(
            ["A secret isn't given on the command line: other programs and the shell's history would see it"],
            hint=f"titan config set --secret {name}, then type it, or send it to standard input.",
        )
    if name not in SECRET_ENVIRONMENT:  # before asking for it
        known = ", ".join(SECRET_ENVIRONMENT)
        raise ConfigError([f"There is no secret called {shown(name)!r}"], hint=f"The secrets are: {known}.")
    if sys.stdin.isatty():
        value = typer.prompt(name, hide_input=True, err=True)
    else:
        value = sys.stdin.readline(MAX_SECRET_BYTES + 2)
    return _store(_paths(profile)).set(name, value)


def _changed(as_json: bool, message: str, loaded: LoadedSettings, key: str) -> None:
    """Say what was written, and whether it counts."""
    if key not in DECLARATIONS:  # an unknown key was removed
        _done(as_json, message, loaded.notices, key=key)
        return
    origin, value = loaded.origins[key], getattr(loaded.settings, key)
    is_overridden = origin.layer is Layer.ENVIRONMENT
    if is_overridden:
        effect = f"It has no effect now: {origin.source} says {shown(display(value))}, which overrides the file"
    elif DECLARATIONS[key].is_live:
        effect = _taken_by_running_agent(loaded.settings.profile)
    else:
        effect = "It counts from the next start"
    details = {"config_file": str(loaded.paths.config_file), "overridden_by": origin.source if is_overridden else ""}
    _done(as_json, f"{message}\n{effect}", loaded.notices, key=key, value=_json_value(value), **details)


def _taken_by_running_agent(profile: str) -> str:
    try:
        return door.execute(profile, "apply_settings")[0]
    except AgentNotRunning:
        return "It counts from the next start"
    except ControlError as error:
        return f"The running agent has not taken it, so it counts from its next start: {error.detail}"


def _done(as_json: bool, message: str, notices: tuple[str, ...], **details: Any) -> None:
    if as_json:
        typer.echo(json.dumps({"message": message, **details, "notices": notices}, indent=2, ensure_ascii=False))
        return
    typer.echo(message)
    for notice in notices:
        typer.echo(f"Note: {notice}", err=True)


def _json_value(value: Value) -> TomlValue | None:
    plain = toml_value(value)
    return masked(plain) if isinstance(plain, str) else plain


def _as_json(loaded: LoadedSettings, secrets: dict[str, str]) -> dict[str, Any]:
    settings = {}
    for name, declaration in DECLARATIONS.items():
        settings[name] = {
            "value": _json_value(getattr(loaded.settings, name)),
            "default": toml_value(declaration.default),
            "layer": loaded.origins[name].layer,
            "source": loaded.origins[name].source,
            "unit": declaration.unit,
            "help": declaration.help,
        }
    return {
        "profile": loaded.settings.profile,
        "config_file": str(loaded.paths.config_file),
        "settings": settings,
        "secrets": {name: {"set": bool(source), "source": source} for name, source in secrets.items()},
        "notices": loaded.notices,
    }


def _paths_as_json(paths: ProfilePaths) -> dict[str, str]:
    properties = [name for name, found in vars(type(paths)).items() if isinstance(found, property)]
    names = [item.name for item in fields(paths)] + properties
    return {name: str(value) for name in names if isinstance(value := getattr(paths, name), str | Path)}


def _readable(declaration: Declaration, value: Value) -> str:
    if declaration.default_text and value == declaration.default:
        return declaration.default_text
    return f"{masked(display(value))} {declaration.unit}".rstrip()


def _print_table(loaded: LoadedSettings, secrets: dict[str, str], *, full_origins: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("from", overflow="fold")
    table.add_column("what it is", overflow="fold", ratio=1)

    def add(name: str, value: str, layer: str, source: str, what: str) -> None:
        # Text, not str: a value in brackets is no markup
        table.add_row(Text(name), Text(value), Text(source if full_origins else layer), Text(what))

    for name, declaration in DECLARATIONS.items():
        origin = loaded.origins[name]
        add(name, _readable(declaration, getattr(loaded.settings, name)), origin.layer, origin.source, declaration.help)
    for name, source in secrets.items():
        add(name, "set" if source else "not set", source, source, f"Secret. Environment: {SECRET_ENVIRONMENT[name]}.")
    Console().print(table)
