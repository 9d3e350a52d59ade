"""A control door with only fakes behind it, on a thread of its own: what a command line meets in a real agent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from core.control import ControlServer
from core.instance_lock import InstanceLock
from core.paths import profile_paths
from core.snapshot import AgentSnapshot, SnapshotStore
from tests.fakes.commands import FakeCommands


@contextmanager
def running_door(snapshot: AgentSnapshot, profile: str = "default") -> Iterator[FakeCommands]:
    """Open the door of `profile` (under TITAN_HOME) in front of `snapshot`; yields the commands that record calls."""
    paths = profile_paths(profile)
    paths.ensure()
    commands = FakeCommands()
    opened, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        with InstanceLock(paths.lock_file, profile) as lock:
            door = ControlServer(
                socket=paths.control_socket,
                address_file=paths.control_address_file,
                store=SnapshotStore(snapshot),
                commands=commands,
                lock=lock,
            )
            async with door:
                opened.set()
                await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="fake-agent")
    thread.start()
    try:
        assert opened.wait(10)
        yield commands
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
