"""The headless agent as a process: lock, log, agent, control door, signals, and the exit code."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from core import logs
from core.agent import Agent
from core.commands import CommandOutcome, CommandTable
from core.config_load import LoadedSettings
from core.control import ControlServer
from core.errors import AgentError
from core.event_loop import loop_factory
from core.first_run import held_settings
from core.identity import ensure_agent_id
from core.instance_lock import InstanceLock
from core.logs import get_logger
from core.owner_commands import owner_commands
from core.process_limits import set_process_limits, take_the_back_seat
from core.snapshot import SnapshotStore

log = get_logger(__name__)


def run_agent(loaded: LoadedSettings, *, on_ready: Callable[[Agent], None] = lambda agent: None) -> int:
    """Serve until SIGTERM, Ctrl+C or `titan shutdown`; returns the exit code.

    Raises AlreadyRunningError, PortTakenError, StorageError, ConfigError before anything is registered.
    """
    loaded = identified(loaded)
    settings = loaded.settings
    with (
        InstanceLock(loaded.paths.lock_file, settings.profile) as lock,
        logs.configure(
            level=settings.log_level, log_format=settings.log_format, folder=loaded.paths.log_dir
        ) as session,
    ):
        try:
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                return runner.run(_serve(loaded, lock, on_ready))
        except AgentError as error:
            if session.is_text:  # for a person the caller says it, once; for programs this line does
                session.leave_stream()
            log.error("not started", title=error.title, detail=error.detail, hint=error.hint)
            error.is_logged = True
            raise


def identified(loaded: LoadedSettings) -> LoadedSettings:
    """Make the folders, and give the agent its generated name where the owner gave it none. Raises StorageError."""
    loaded.paths.ensure()
    if loaded.settings.agent_id:
        return loaded
    identity = ensure_agent_id(loaded.paths.agent_id_file)
    notices = (*loaded.notices, identity.notice) if identity.notice else loaded.notices
    return replace(loaded, settings=replace(loaded.settings, agent_id=identity.agent_id), notices=notices)


@dataclass(frozen=True, slots=True)
class RunningAgent:
    """An agent that is up, and what its owner may ask of it."""

    agent: Agent
    commands: CommandTable


async def _self_test(agent: Agent, model: str) -> CommandOutcome:
    from core.selftest import self_test_outcome  # late: a second coordinator and server, 25 ms and 3 MB

    return await self_test_outcome(agent, model)


@asynccontextmanager
async def open_agent(
    loaded: LoadedSettings,
    lock: InstanceLock,
    *,
    store: SnapshotStore | None = None,
    shut_down: Callable[[], None],
    is_held: bool = False,
) -> AsyncIterator[RunningAgent]:
    """The agent with its control door, for the command line and the window alike. `lock` must be held.

    `is_held`: the setup isn't done, so nothing is shared.
    """
    set_process_limits()
    take_the_back_seat()  # the agent's own thread, and grpc's and the readers', which it starts; never Qt's
    async with Agent(held_settings(loaded) if is_held else loaded, store=store, is_held=is_held) as agent:
        commands = owner_commands(agent, shut_down=shut_down, self_test=lambda model: _self_test(agent, model))
        door = ControlServer(
            socket=loaded.paths.control_socket,
            address_file=loaded.paths.control_address_file,
            store=agent.store,
            commands=commands,
            lock=lock,
        )
        async with door:
            log.info("started", profile=loaded.settings.profile, pid=os.getpid())
            yield RunningAgent(agent, commands)
            await agent.drain()  # before the door closes: `titan status` shows what is still running


async def _serve(loaded: LoadedSettings, lock: InstanceLock, on_ready: Callable[[Agent], None]) -> int:
    stop = _StopSwitch()
    _on_stop_signals(stop.set)
    try:
        async with open_agent(loaded, lock, shut_down=stop.set) as running:
            stop.is_up = True
            on_ready(running.agent)
            gc.freeze()  # what start-up left is there for good: no collection need walk it again
            await stop.wanted.wait()
            log.info("stopping")
    except asyncio.CancelledError:
        if not stop.wanted.is_set() or stop.is_up:
            raise
        log.info("stopped while starting")
    except BaseExceptionGroup as group:
        for error in group.exceptions:
            log.error("a part of the agent died", exc_info=error)
        return 1
    return 0


class _StopSwitch:
    """The wish to stop. While the agent still starts, its start is given up: an engine may be long in coming."""

    def __init__(self) -> None:
        self.wanted = asyncio.Event()
        self.is_up = False
        self._starting = asyncio.current_task()

    def set(self) -> None:
        if not self.wanted.is_set():
            self.wanted.set()
            if not self.is_up and self._starting is not None:
                self._starting.cancel()


def _on_stop_signals(stop: Callable[[], None]) -> None:
    """SIGTERM, Ctrl+C and a closed terminal end the agent in order. A second one does nothing more: every step is
    bounded. A signal that whoever started us has ignored (nohup, a shell script's `&`) stays ignored."""
    loop = asyncio.get_running_loop()
    if sys.platform == "win32":
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))
        return
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, stop)
