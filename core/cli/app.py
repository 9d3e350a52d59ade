"""All of `titan`'s commands in one place, and the one place where an error becomes a message and an exit code."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from core import __version__, logs
from core.cli import output
from core.errors import AgentError, StorageError

_OUTPUT_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)  # of stdout; a closed pipe is typer's


def run_cli(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code: 0, 1 failed, 2 usage or settings, 3 already running, 130 Ctrl+C.

    Never a traceback for an error that was foreseen (AgentError).
    """
    output.reset()
    logs.silence()
    try:
        return _run(arguments)
    except OSError as error:
        if error.errno not in _OUTPUT_ERRORS:
            raise  # not foreseen: files of ours raise StorageError
        output.reset()  # stdout takes nothing more, --json or not
        output.report_error(StorageError(f"the output cannot be written: {os.strerror(error.errno)}"))
        return output.EXIT_FAILED


def _run(arguments: Sequence[str]) -> int:
    try:
        typer.main.get_command(build_app()).main(args=list(arguments), prog_name="titan")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except AgentError as error:
        output.report_error(error)
        return output.exit_code(error)
    return 0


def build_app() -> typer.Typer:
    from core.cli.ask_cmd import ask
    from core.cli.config_cmd import config_app
    from core.cli.demo_cmd import demo
    from core.cli.doctor_cmd import doctor
    from core.cli.engine_cmds import retry, selftest
    from core.cli.health_cmd import health
    from core.cli.ledger_cmd import ledger
    from core.cli.logs_cmd import show_logs
    from core.cli.models_cmd import models
    from core.cli.owner_cmds import finish, follow_rules, pause, resume, sessions, share_now
    from core.cli.pull_cmd import pull
    from core.cli.quant_cmd import quant
    from core.cli.rules_cmd import rules
    from core.cli.run_cmd import run
    from core.cli.status_cmd import status
    from core.cli.stop_cmd import stop
    from core.cli.time_cmd import show_time
    from core.cli.uninstall_cmd import entry_app, uninstall
    from core.cli.update_cmd import update

    app = typer.Typer(
        help="Lend this machine's models to a network, and take it back with one command.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,  # a traceback with local variables would print prompts and secrets
    )
    app.callback()(_root)
    app.command("run")(run)
    for command in (
        *(status, pause, resume, finish, stop, sessions, models, pull, quant, ledger),
        *(ask, demo, selftest, doctor, health, retry, update, uninstall),
    ):
        app.command(command.__name__)(command)
    app.command("share-now")(share_now)
    app.command("follow-rules")(follow_rules)
    app.command("time")(show_time)
    app.command()(rules)
    app.command("logs")(show_logs)
    app.add_typer(config_app, name="config")
    app.add_typer(entry_app, name="desktop-entry")
    return app


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"titan {__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    profile: output.ProfileOption = None,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Lend this machine's models to a network, and take it back with one command."""
    if profile is None:
        return
    context.default_map = _profile_of_each(context.command, profile)
    if (name := context.invoked_subcommand or "") not in context.default_map:
        raise typer.BadParameter(f"'{name}' isn't about one profile: leave --profile out.", param_hint="'--profile'")


def _profile_of_each(group: Any, profile: str) -> dict[str, Any]:
    """For each command that takes a profile, the one that was given before its name; its own --profile beats that."""
    defaults: dict[str, Any] = {}
    for name, command in group.commands.items():
        if below := _profile_of_each(command, profile) if hasattr(command, "commands") else {}:
            defaults[name] = below
        elif any(parameter.name == "profile" for parameter in command.params):
            defaults[name] = {"profile": profile}
    return defaults
