"""What `titan run` does once its options are read, and `titan run` without options, past typer.

typer brings pydantic and builds every option of every command: 0.1 s at the start and 12 MB for as long as the agent
runs (docs/performance.md). An agent started by the system or by a script needs none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from core import logs
from core.config_load import load_settings
from core.errors import AgentError

EXIT_INTERRUPTED = 130


def is_plain(arguments: Sequence[str]) -> bool:
    """Whether the command line is `titan run` and nothing that changes it."""
    return list(arguments) in (["run"], ["run", "--headless"])


def run_plainly() -> int:
    """Serve with the settings of file and environment; returns the exit code."""
    logs.silence()
    try:
        return serve(dict)
    except KeyboardInterrupt:  # before or after the time in which the agent itself listens to it
        return EXIT_INTERRUPTED


def serve(read_overrides: Callable[[], Mapping[str, Any]], log_format: str = "auto") -> int:
    """Serve until told to stop; returns the exit code. `log_format` is for an error before the settings are read."""
    try:
        loaded = load_settings(overrides=read_overrides())
        log_format = loaded.settings.log_format
        from core.app import run_agent  # late: what a usage error doesn't need

        return run_agent(loaded)
    except AgentError as error:
        from core.cli.output import exit_code
        from core.cli.run_cmd import report

        report(error, log_format)
        return exit_code(error)
