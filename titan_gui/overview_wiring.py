"""The pages that show how it stands (dashboard, activity, rules), connected with the bridge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QUrl
from PySide6.QtGui import QDesktopServices

from core.commands import CommandOutcome
from titan_gui.bridge import AgentBridge
from titan_gui.remedies import Action, Does
from titan_gui.turns import next_turn

if TYPE_CHECKING:
    from titan_gui.pages.activity import ActivityPage
    from titan_gui.pages.dashboard import DashboardPage
    from titan_gui.pages.rules import RulesPage

CONTRIBUTION = "contribution"
EXPORT = "export_ledger"
TIME_USE = "time_use"
DAYS = 30  # bars
RECENT = 200  # past sessions in the table


class OverviewWiring(QObject):
    """Intents become commands; the ledger's answer goes to the pages that show it. Pages come one by one."""

    def __init__(
        self,
        bridge: AgentBridge,
        *,
        pause: Callable[[float | None], None],
        start_agent: Callable[[], None],
        open_setup: Callable[[], None],
        show_page: Callable[[str], None],
        show_setting: Callable[[str], None],
        show_reason: Callable[[str], None] = lambda code: None,
        show_models: Callable[[], None] | None = None,
        open_url: Callable[[QUrl], bool] = QDesktopServices.openUrl,
        parent: QObject | None = None,
    ) -> None:
        """`pause` takes the end in seconds since the epoch; None: until resumed. `show_models` turns to their page, at
        the one that is wanted and not here."""
        super().__init__(parent)
        self._bridge = bridge
        self._pause, self._start_agent, self._show_setting = pause, start_agent, show_setting
        self._does: dict[Does, Callable[[], None]] = {
            Does.START: start_agent,
            Does.RETRY: partial(bridge.command, "retry_engine"),
            Does.RESUME: partial(bridge.command, "resume"),
            Does.FOLLOW_RULES: partial(bridge.command, "follow_rules"),
            Does.SETUP: open_setup,
            Does.MODELS: show_models or partial(show_page, "models"),
            Does.LOG: partial(show_page, "log"),
        }
        self._show_reason = show_reason
        self._open_url = open_url
        self._show_contribution: list[Callable[[Mapping[str, object]], None]] = []
        self._show_time_use: list[Callable[[Mapping[str, object]], None]] = []
        bridge.command_finished.connect(self._on_command_finished)

    def connect_dashboard(self, page: DashboardPage) -> None:
        page.pause_requested.connect(self._pause)
        page.resume_requested.connect(partial(self._bridge.command, "resume"))
        page.finish_requested.connect(partial(self._bridge.command, "finish"))
        page.share_requested.connect(self._on_share_requested)
        page.follow_rules_requested.connect(partial(self._bridge.command, "follow_rules"))
        page.take_back_requested.connect(partial(self._bridge.command, "take_back"))
        page.start_requested.connect(self._start_agent)
        page.action_requested.connect(self._act)
        page.contribution_requested.connect(self._on_contribution_requested)
        self._show_contribution.append(page.show_contribution)
        page.time_use_requested.connect(self._on_time_use_requested)
        page.update_bar.page_requested.connect(lambda url: self._open_url(QUrl(url)))
        page.update_bar.skip_requested.connect(self._on_skip_requested)
        page.reason_requested.connect(self._show_reason)
        self._show_time_use.append(page.show_time_use)

    def connect_activity(self, page: ActivityPage) -> None:
        page.stop_requested.connect(self._on_stop_requested)
        page.contribution_requested.connect(self._on_contribution_requested)
        page.export_requested.connect(self._on_export_requested)
        self._show_contribution.append(page.show_contribution)

    def connect_rules(self, page: RulesPage) -> None:
        page.action_requested.connect(self._act)

    def _act(self, action: Action) -> None:
        if action.does is Does.SETTING:
            self._show_setting(action.setting)
        else:
            self._does[action.does]()

    def _on_share_requested(self, until: float) -> None:
        self._bridge.command("share_now", {"until": str(until)})

    def _on_stop_requested(self, session_id: str) -> None:
        self._bridge.command("cancel_session", {"session_id": session_id})

    def _on_contribution_requested(self) -> None:
        if self._bridge.is_running:  # else there is nobody to ask, and the page keeps what it has
            self._bridge.command(CONTRIBUTION, {"days": str(DAYS), "recent": str(RECENT)})

    def _on_skip_requested(self, version: str) -> None:
        self._bridge.command("skip_update", {"version": version})

    def _on_time_use_requested(self) -> None:
        if self._bridge.is_running:
            self._bridge.command(TIME_USE)

    def _on_export_requested(self, path: str, form: str) -> None:
        self._bridge.command(EXPORT, {"path": path, "format": form})

    def _on_command_finished(self, name: str, outcome: CommandOutcome) -> None:
        """Each page takes it in a turn of its own: a list of 200 sessions or a day's ribbon is some milliseconds."""
        takers = {CONTRIBUTION: self._show_contribution, TIME_USE: self._show_time_use}
        for show in takers.get(name, ()):
            next_turn(self, partial(show, outcome.result))
