"""What is told of the agent: to the coordinator when it asks, to front ends as it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from core import __version__
from core.config import Settings
from core.logs import get_logger
from core.parts.model_files import ModelFiles
from core.parts.model_memory import ModelMemory
from core.parts.owner_side import OwnerSide
from core.parts.records import Records
from core.parts.serving import Serving
from core.paths import ProfilePaths
from core.publisher import SnapshotPublisher, wanted_state
from core.reporting import Reporter
from core.snapshot import SnapshotStore
from core.state import AgentState
from core.updates.update_watch import UpdateWatch, shipped_keys

log = get_logger(__name__)


class Reports:
    """Front ends see a step of the agent's life at once, everything else a few times a second."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        paths: ProfilePaths,
        store: SnapshotStore,
        *,
        serving: Serving,
        files: ModelFiles,
        memory: ModelMemory,
        owner_side: OwnerSide,
        records: Records,
        is_up: Callable[[], bool],
    ) -> None:
        """`settings` as they are now. While `is_up`, the state follows the link and the reasons."""
        self._store = store
        self._reasons = serving.reasons
        self._is_up = is_up
        self._is_open = False

        def is_busy() -> bool:
            return serving.admission.running_jobs > 0

        self.updates = _updates(settings, paths, is_busy=is_busy, is_metered=owner_side.ask_metered, on_change=self.now)
        self.report = Reporter(
            settings(),
            models=serving.models,
            keeper=serving.keeper,
            admission=serving.admission,
            reasons=serving.reasons,
            owner=owner_side.owner,
            shelf=files.shelf,
            engine_pids=lambda: serving.processes.known,
            give_back=lambda: memory.keeper.view,
            update=lambda: self.updates.offered,
            rules=owner_side.rules.snapshot_fields,
            first_tokens=lambda: records.first_tokens.views,
        )
        self._publisher = SnapshotPublisher(store, self.report.snapshot_fields, is_busy=is_busy)

    def note_settings(self, notices: Iterable[str]) -> None:
        """What reading the settings found is for the owner, in the log and in front ends."""
        for notice in notices:
            log.warning("noticed while reading the settings", notice=notice)
            self.report.add_notice(notice)

    def open(self) -> None:
        """From now on something may be published soon, also while stopping: the owner sees how many still run."""
        self._is_open = True

    def show_state(self, state: AgentState) -> None:
        """Publish a step of the agent's life."""
        if state is not self._store.current.state:
            log.info("state", state=state, was=self._store.current.state)
        self._store.publish(**self.report.snapshot_fields(), state=state)

    def show_failed_start(self, error: BaseException) -> None:
        """The agent isn't up and won't be; a start that was given up on purpose is no failure."""
        if isinstance(error, asyncio.CancelledError):
            self.show_state(AgentState.STOPPING)
            self.show_state(AgentState.STOPPED)
        else:
            self.show_state(AgentState.FAILED)

    def now(self) -> None:
        """Bring the snapshot up to date, its state included."""
        if self._is_up():
            self.show_state(wanted_state(self.report.link.link, is_blocked=self._reasons.is_blocked))
        else:
            self._publisher.now()

    def soon(self) -> None:
        """The same within a quarter of a second, without the state; many calls are one publication."""
        if self._is_open:
            self._publisher.soon()

    def take_sample(self) -> None:
        """The machine was sampled: the same at once where nothing else waits to be published."""
        if self._is_open:
            self._publisher.at_once()

    def follow_link(self) -> None:
        """The link to the coordinator has changed."""
        if self._is_up():
            self.now()

    def replace_notice(self, old: str, new: str) -> None:
        """`old` no longer holds, `new` is for the owner; either may be ""."""
        self.report.replace_notice(old, new)
        if self._is_up():
            self._publisher.soon()

    def close(self) -> None:
        self._publisher.close()


def _updates(
    settings: Callable[[], Settings],
    paths: ProfilePaths,
    *,
    is_busy: Callable[[], bool],
    is_metered: Callable[[], Awaitable[bool]],
    on_change: Callable[[], None],
) -> UpdateWatch:
    return UpdateWatch(
        path=paths.updates_file,
        version=__version__,
        keys=shipped_keys,
        url=lambda: settings().update_index_url,
        is_busy=is_busy,
        is_metered=is_metered,
        on_change=on_change,
    )
