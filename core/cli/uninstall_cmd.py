"""`titan uninstall` and `titan desktop-entry`: what this program puts into a user's folders, besides serving."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.cli import output
from core.cli.output import JsonOption
from core.errors import AgentError
from core.plurals import counted
from core.sizes import size_text

if TYPE_CHECKING:
    from core.uninstall import Inventory

entry_app = typer.Typer(
    help="The entry in the desktop's menu, for an installation by pipx, uv or pip.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def uninstall(
    purge: Annotated[
        bool, typer.Option("--purge", help="Delete settings, counts, logs, models, start at login, and the menu entry.")
    ] = False,
    keep_models: Annotated[bool, typer.Option("--keep-models", help="Leave the folder of model files.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what this program keeps in your folders, and delete it with --purge. The program itself stays."""
    from core.paths import base_folders
    from core.uninstall import Uninstaller

    uninstaller = Uninstaller(base_folders(), os.environ, keep_models=keep_models)
    inventory = uninstaller.find()
    if not as_json:
        print_inventory(inventory)
    is_empty = not (inventory.items or inventory.keyring or inventory.startup_values)
    problems: tuple[str, ...] = ()
    if purge and not is_empty:
        if not yes and not _is_agreed(as_json):
            raise AgentError("nothing was deleted", hint="Say yes, or give --yes where nobody can be asked.")
        problems = uninstaller.remove(inventory)
    if as_json:
        output.print_json({**asdict_of(inventory), "deleted": purge and not is_empty, "problems": problems})
    else:
        _print_end(is_done=purge and not is_empty, is_empty=is_empty, problems=problems)
    if problems:
        raise typer.Exit(output.EXIT_FAILED)


def print_inventory(inventory: Inventory) -> None:
    for item in inventory.items:
        extent = f" ({counted(item.files, 'file')}, {size_text(item.size_bytes)})" if not item.leads_to else " (a link)"
        typer.echo(output.plain(f"{item.what}: {item.path}{extent}"))
    for secret in inventory.keyring:
        typer.echo(output.plain(f"in the system's keyring: {secret.name} of profile {secret.profile}"))
    for name in inventory.startup_values:
        typer.echo(output.plain(f"start at login: {name}"))
    for sentence in inventory.kept:
        typer.echo(output.plain(f"Note: {sentence}"))


def asdict_of(inventory: Inventory) -> dict[str, object]:
    items = [{**asdict(item), "path": str(item.path)} for item in inventory.items]
    return {**asdict(inventory), "items": items}


def removal_command(executable_prefix: Path, *, is_packaged: bool, platform: str) -> str:
    """How the program itself goes, by how it came."""
    if is_packaged:
        if platform == "linux":
            return "sudo apt-get remove titan-desktop"
        return "the system's list of apps" if platform == "win32" else "moving TitanCompute to the bin"
    parts = [part.lower() for part in executable_prefix.parts]
    if "pipx" in parts:
        return "pipx uninstall titancompute-agent"
    if "uv" in parts and "tools" in parts:
        return "uv tool uninstall titancompute-agent"
    return "pip uninstall titancompute-agent"


def _is_agreed(as_json: bool) -> bool:
    if as_json or not sys.stdin.isatty():
        return False
    return typer.confirm("Delete all this?", default=False)


def _print_end(*, is_done: bool, is_empty: bool, problems: tuple[str, ...]) -> None:
    from core.engines.worker_launch import is_packaged_app

    for problem in problems:
        typer.echo(output.plain(problem), err=True)
    if is_empty:
        typer.echo("This program keeps nothing in your folders.")
    elif is_done:
        typer.echo("Deleted." if not problems else "The rest is deleted.")
    else:
        typer.echo("Nothing was deleted. `titan uninstall --purge` deletes all this.")
    command = removal_command(Path(sys.prefix), is_packaged=is_packaged_app(), platform=sys.platform)
    typer.echo(f"The program itself is removed by: {command}")


@entry_app.command("install")
def install(as_json: JsonOption = False) -> None:
    """Put TitanCompute, with its icon, into the desktop's menu of this user."""
    from core.desktop_entry import install_entry
    from core.engines.worker_launch import desktop_command, is_packaged_app

    if is_packaged_app():
        raise AgentError("this installation is a package of the system, which brings its own menu entry")
    entry = install_entry(desktop_command(sys.argv, os.environ), os.environ)
    if as_json:
        output.print_json({"entry": str(entry)})
    else:
        typer.echo(f"TitanCompute is in the menu: {output.plain(str(entry))}")


@entry_app.command("remove")
def remove(as_json: JsonOption = False) -> None:
    """Take it out of the menu again."""
    from core.desktop_entry import remove_entry

    removed = remove_entry(os.environ)
    if as_json:
        output.print_json({"removed": [str(file) for file in removed]})
    else:
        typer.echo("TitanCompute is no longer in the menu." if removed else "There was no menu entry.")
