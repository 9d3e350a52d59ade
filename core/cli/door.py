"""From a command to the running agent of a profile, through its local door."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from core.config_load import choose_profile
from core.control_address import read_address
from core.paths import ProfilePaths, profile_paths

if TYPE_CHECKING:
    from core.control import ControlClient

Result = TypeVar("Result")


def paths_of(profile: str | None) -> ProfilePaths:
    return profile_paths(choose_profile(os.environ, profile).name)


def open_client(profile: str | None) -> ControlClient:
    """A client to enter with `async with`. Raises AgentNotRunning before grpc is imported (0.1 s saved)."""
    door = read_address(paths_of(profile).control_address_file)
    from core.control import ControlClient

    return ControlClient(door)


def run(work: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run(work)


def fetch_snapshot(profile: str | None) -> dict[str, Any]:
    """The running agent's snapshot, as plain values. Raises AgentNotRunning, ControlError."""

    async def fetch() -> dict[str, Any]:
        async with open_client(profile) as client:
            return await client.snapshot()

    return run(fetch())


def execute(
    profile: str | None, name: str, arguments: Mapping[str, str] | None = None, *, timeout_s: float = 30.0
) -> tuple[str, dict[str, Any]]:
    """One command's sentence and result. Raises CommandRefused with the agent's own reason."""

    async def call() -> tuple[str, dict[str, Any]]:
        async with open_client(profile) as client:
            reply = await client.execute(name, arguments, timeout_s=timeout_s)
            return reply.message, reply.result

    return run(call())
