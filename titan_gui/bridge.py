"""The only object that touches both threads: snapshots and answers come in as queued signals, commands go out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from core.commands import CommandOutcome
from core.config_load import LoadedSettings
from core.errors import AgentError
from core.instance_lock import InstanceLock
from core.logs import get_logger
from core.runtime import AgentThread
from core.sessions import EndReason
from core.snapshot import AgentSnapshot, SnapshotStore
from core.state import AgentState
from titan_gui.failure import failed_snapshot

if TYPE_CHECKING:
    from core.agent import Agent
    from core.app import RunningAgent

log = get_logger(__name__)

# Pages ask by themselves, again and again: that is no act of the owner's.
LOOKS = frozenset({"contribution", "time_use"})


class AgentBridge(QObject):
    """One agent thread at a time. Every method belongs to the Qt thread and returns at once; signals arrive there.

    `snapshot` is the last one that arrived: what a page renders when it is shown.
    """

    snapshot_changed = Signal(object)  # AgentSnapshot
    command_finished = Signal(str, object)  # name, CommandOutcome
    command_failed = Signal(str, object)  # name, AgentError: show its title, detail and hint
    agent_started = Signal()
    agent_ended = Signal(object)  # None after an ordered stop, else the exception
    window_requested = Signal(str)  # a second start, through the control door; the page to show, "" for the last one

    _snapshot_arrived = Signal(object)
    _thread_ended = Signal(object)
    _answer_arrived = Signal(str, object, object)  # name, CommandOutcome | None, AgentError | None

    def __init__(self, lock: InstanceLock) -> None:
        super().__init__()
        self._lock = lock
        self._thread: AgentThread | None = None
        self._running: RunningAgent | None = None  # set and cleared on the agent's thread; used only inside its loop
        self._agent: Agent | None = None  # the same, but kept while it drains
        self._is_up: asyncio.Event | None = None  # the agent's that runs; set from its start to its end
        self._next: LoadedSettings | None = None
        self._is_seen = False  # the window: its charts move with the samples
        self._end_watch: Callable[[], None] | None = None  # on the agent's thread, while it is seen
        self.snapshot = AgentSnapshot()
        self._snapshot_arrived.connect(self._on_snapshot_arrived)
        self._thread_ended.connect(self._on_thread_ended)
        self._answer_arrived.connect(self._on_answer_arrived)

    @property
    def is_running(self) -> bool:
        """Whether an agent thread exists; it may still be starting or stopping."""
        return self._thread is not None

    def start(self, loaded: LoadedSettings) -> None:
        """Start the agent in its thread. Success or failure arrives as a signal and as a snapshot."""
        if self._thread is not None:
            raise RuntimeError("the agent runs already")
        store = SnapshotStore(AgentSnapshot(agent_id=loaded.settings.agent_id, profile=loaded.settings.profile))
        store.subscribe(self._snapshot_arrived.emit)
        self._thread = AgentThread(lambda: self._open(loaded, store), self._thread_ended.emit)
        self._thread.start().add_done_callback(self._on_started)

    def restart(self, loaded: LoadedSettings) -> None:
        """Stop in order, then start with other settings ("applies on restart")."""
        if self._thread is None:
            self.start(loaded)
        else:
            self._next = loaded
            self._thread.post_stop()

    def stop(self, drain_limit_s: float | None = None) -> None:
        """Post the stop; `agent_ended` tells when it is over. A restart under way becomes a stop.

        `drain_limit_s` shortens the setting (a logout); 0 ends the running sessions at once, also when the stop was
        posted before.
        """
        self._next = None
        if self._thread is None:
            return
        if drain_limit_s is not None:
            self._thread.submit(self._limit_drain(drain_limit_s))
        self._thread.post_stop()

    def command(self, name: str, arguments: Mapping[str, str] | None = None) -> None:
        """Ask for an owner's command (core/owner_commands.py); the answer arrives as a signal."""
        if self._thread is None:
            self.command_failed.emit(name, AgentError("the agent is not running", hint="Start it first."))
            return
        if name not in LOOKS:
            log.info("asked", command=name)
        future = self._thread.submit(self._execute(name, dict(arguments or {})))
        future.add_done_callback(lambda done: self._report(name, done))

    def watch(self, is_seen: bool) -> None:
        """Whether somebody sees the figures from now on: then there is a new one at once, and more of them."""
        self._is_seen = is_seen
        if self._thread is not None:
            self._thread.submit(self._follow_watcher())

    def join(self, timeout_s: float) -> bool:
        """After the Qt loop has ended: wait for the thread; True when it is gone."""
        return self._thread is None or self._thread.join(timeout_s)

    # On the agent's thread

    @asynccontextmanager
    async def _open(self, loaded: LoadedSettings, store: SnapshotStore) -> AsyncIterator[None]:
        from core.app import identified, open_agent  # here: 0.3 s that neither the icon nor Qt's thread waits for

        thread = self._thread
        assert thread is not None
        self._is_up = is_up = asyncio.Event()
        try:
            async with open_agent(
                identified(loaded),
                self._lock,
                store=store,
                shut_down=thread.post_stop,
                is_held=not loaded.settings.setup_done,
            ) as running:
                running.commands.add("show_window", self._show_window, arguments=("page",))
                self._running, self._agent = running, running.agent
                if self._is_seen:
                    self._end_watch = running.agent.store.watch()
                is_up.set()
                try:
                    yield
                finally:
                    self._running = self._end_watch = None
        finally:
            self._agent = None

    async def _follow_watcher(self) -> None:
        if self._running is None or self._is_seen is (self._end_watch is not None):
            return
        if self._end_watch is not None:
            self._end_watch()
            self._end_watch = None
            return
        agent = self._running.agent
        self._end_watch = agent.store.watch()
        await agent.sampling.now()

    async def _execute(self, name: str, arguments: Mapping[str, str]) -> CommandOutcome:
        if self._is_up is not None:
            await self._is_up.wait()  # a click on Pause while it starts is kept, and done as soon as it can be
        if self._running is None:
            raise AgentError("the agent is stopping", hint="Try again in a moment.")
        return await self._running.commands.execute(name, arguments)

    async def _show_window(self, arguments: Mapping[str, str]) -> CommandOutcome:
        self.window_requested.emit(arguments.get("page", ""))
        return CommandOutcome("The window is shown.")

    async def _limit_drain(self, limit_s: float) -> None:
        if self._agent is None:
            return
        self._agent.drain_limit_s = min(self._agent.drain_limit_s, limit_s)
        if limit_s <= 0:
            self._agent.admission.end_all(EndReason.STOPPING)

    def _report(self, name: str, done: Future[CommandOutcome]) -> None:
        if done.cancelled():
            self._answer_arrived.emit(name, None, AgentError("the agent has stopped", hint="Start it again."))
            return
        error = done.exception()
        if error is None:
            self._answer_arrived.emit(name, done.result(), None)
        elif isinstance(error, AgentError):
            self._answer_arrived.emit(name, None, error)
        else:  # a bug: the log has it whole, the window says that it happened
            log.error("a command failed for an unforeseen reason", command=name, exc_info=error)
            self._answer_arrived.emit(name, None, AgentError("something unforeseen went wrong", hint="See the log."))

    def _on_started(self, done: Future[None]) -> None:
        if not done.cancelled() and done.exception() is None:
            self.agent_started.emit()

    # On the Qt thread

    def _on_snapshot_arrived(self, snapshot: AgentSnapshot) -> None:
        if snapshot.state is not AgentState.FAILED:  # that one comes with its cause, when the thread has ended
            self._show(snapshot)

    def _show(self, snapshot: AgentSnapshot) -> None:
        self.snapshot = snapshot
        self.snapshot_changed.emit(snapshot)

    def _on_thread_ended(self, error: BaseException | None) -> None:
        self._thread = None
        following, self._next = self._next, None
        if following is not None:
            self.start(following)
            return
        if error is not None:
            if not isinstance(error, AgentError):
                log.error("the agent ended by an unforeseen error", exc_info=error)
            self._show(failed_snapshot(self.snapshot, error))
        self.agent_ended.emit(error)

    def _on_answer_arrived(self, name: str, outcome: CommandOutcome | None, error: AgentError | None) -> None:
        if error is not None:
            self.command_failed.emit(name, error)
        else:
            self.command_finished.emit(name, outcome)
