"""The `titan` command. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """The entry point: run the command in `sys.argv` and exit with its code."""
    from core.engines.worker_main import run_if_worker

    run_if_worker()  # first of all: in a package this same program is also the engine's child
    from core.cli.plain_run import is_plain, run_plainly

    code = run_plainly() if is_plain(sys.argv[1:]) else _run_any(sys.argv[1:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError as error:  # the reader left, or the output's disk is full: one line instead of a traceback at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            sys.stderr.write(f"Cannot write the output: {error.strerror}\n")
            code = code or 1
    sys.exit(code)


def _run_any(arguments: list[str]) -> int:
    from core.cli.app import run_cli

    return run_cli(arguments)
