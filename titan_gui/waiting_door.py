"""The control door while no agent runs (before the setup, after an error): a second start must find this window."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from PySide6.QtCore import QObject, Signal

from core.commands import CommandOutcome, CommandTable
from core.config_load import LoadedSettings
from core.instance_lock import InstanceLock
from core.logs import get_logger
from core.runtime import AgentThread
from core.snapshot import AgentSnapshot, SnapshotStore

log = get_logger(__name__)


class WaitingDoor(QObject):
    """Answers `show_window` and `shutdown` only. Open and close it from the Qt thread; both return at once."""

    window_requested = Signal(str)  # the page to show, "" for the last one
    quit_requested = Signal()
    closed = Signal()  # also when it was not open: now the agent's own door may open

    _thread_ended = Signal(object)

    def __init__(self, lock: InstanceLock) -> None:
        super().__init__()
        self._lock = lock
        self._thread: AgentThread | None = None
        self._thread_ended.connect(self._on_thread_ended)

    def open(self, loaded: LoadedSettings, snapshot: AgentSnapshot) -> None:
        """`snapshot` is what `titan status` shows meanwhile."""
        if self._thread is None:
            self._thread = AgentThread(lambda: self._serve(loaded, snapshot), self._thread_ended.emit)
            self._thread.start()

    def close(self) -> None:
        if self._thread is None:
            self.closed.emit()
        else:
            self._thread.post_stop()

    def join(self, timeout_s: float) -> bool:
        return self._thread is None or self._thread.join(timeout_s)

    @asynccontextmanager
    async def _serve(self, loaded: LoadedSettings, snapshot: AgentSnapshot) -> AsyncIterator[None]:
        from core.control import ControlServer  # here: grpc is 0.1 s that neither the icon nor Qt's thread waits for

        commands = CommandTable()
        commands.add("show_window", self._show_window, arguments=("page",))
        commands.add("shutdown", self._shutdown)
        async with ControlServer(
            socket=loaded.paths.control_socket,
            address_file=loaded.paths.control_address_file,
            store=SnapshotStore(snapshot),
            commands=commands,
            lock=self._lock,
        ):
            yield

    async def _show_window(self, arguments: Mapping[str, str]) -> CommandOutcome:
        self.window_requested.emit(arguments.get("page", ""))
        return CommandOutcome("The window is shown.")

    async def _shutdown(self, _: Mapping[str, str]) -> CommandOutcome:
        self.quit_requested.emit()
        return CommandOutcome("Stopping.")

    def _on_thread_ended(self, error: BaseException | None) -> None:
        self._thread = None
        if error is not None:  # the window works without; a second start then says that it can't reach this one
            log.warning("the control door is not open", error=error)
        self.closed.emit()
