"""A control door with only fakes behind it, on a thread of its own: what a command line meets in a real agent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from core.control import ControlServer
from core.instance_lock import InstanceLock
from core.paths import profile_paths
from core.snapshot import AgentSnapshot, Listener, SnapshotStore
from tests.fakes.commands import FakeCommands


class WatchedStore(SnapshotStore):
    """Tells when somebody subscribes."""

    def __init__(self, initial: AgentSnapshot, watched: asyncio.Event) -> None:
        super().__init__(initial)
        self._watched = watched

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        self._watched.set()
        return super().subscribe(listener)


@contextmanager
def running_door(
    snapshot: AgentSnapshot, profile: str = "default", *, stop_when_watched: bool = False
) -> Iterator[FakeCommands]:
    """Open the door of `profile` (under TITAN_HOME) in front of `snapshot`; yields the commands that record calls.

    `stop_when_watched`: the agent ends as soon as somebody watches it.
    """
    paths = profile_paths(profile)
    paths.ensure()
    commands = FakeCommands()
    opened, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()
    store = WatchedStore(snapshot, stop if stop_when_watched else asyncio.Event())

    async def serve() -> None:
        with InstanceLock(paths.lock_file, profile) as lock:
            door = ControlServer(
                socket=paths.control_socket,
                address_file=paths.control_address_file,
                store=store,
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
