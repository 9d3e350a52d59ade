"""`titan stop`: end the running agent as SIGTERM does, and say when it is gone."""

from __future__ import annotations

import time

import typer

from core.cli import door, output
from core.cli.output import JsonOption, ProfileOption
from core.errors import AlreadyRunningError, ControlError
from core.instance_lock import InstanceLock

LOOK_INTERVAL_S = 0.1
SPARE_S = 15.0  # beyond the time that running sessions have by the settings: files and the engine's end


def stop(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """End the agent: running sessions may finish for a moment (setting drain_limit_s), then it exits."""
    paths = door.paths_of(profile)
    snapshot = door.fetch_snapshot(profile)
    door.execute(profile, "shutdown")
    limit_s = _drain_limit_s(profile) + SPARE_S
    lock, deadline = InstanceLock(paths.lock_file, snapshot["profile"]), time.monotonic() + limit_s
    while not _is_free(lock):
        if time.monotonic() > deadline:
            raise ControlError(f"the agent has not ended within {limit_s:g} s", hint="titan logs tells what it does.")
        time.sleep(LOOK_INTERVAL_S)
    if as_json:
        output.print_json({"message": "Stopped.", "pid": snapshot["pid"]})
    else:
        typer.echo("Stopped.")


def _drain_limit_s(profile: str | None) -> float:
    from core.config_load import load_settings

    return load_settings(overrides={"profile": profile}).settings.drain_limit_s


def _is_free(lock: InstanceLock) -> bool:
    """Whether the next start would find the profile free: only then has the agent really ended."""
    try:
        lock.acquire()
    except AlreadyRunningError:
        return False
    lock.release()
    return True
