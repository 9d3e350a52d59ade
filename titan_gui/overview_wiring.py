"""The pages that show how it stands (dashboard, activity, rules), connected with the bridge."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PySide6.QtCore import QObject

from core.commands import CommandOutcome
from titan_gui.bridge import AgentBridge
from titan_gui.pages.activity import ActivityPage
from titan_gui.pages.dashboard import DashboardPage
from titan_gui.pages.rules import RulesPage
from titan_gui.remedies import Action, Does

CONTRIBUTION = "contribution"
EXPORT = "export_ledger"
DAYS = 30  # bars
RECENT = 200  # past sessions in the table


class OverviewWiring(QObject):
    """Intents become commands; the ledger's answer goes to the two pages that show it."""

    def __init__(self, dashboard: DashboardPage, activity: ActivityPage, rules: RulesPage, bridge: AgentBridge) -> None:
        super().__init__(dashboard)
        self._dashboard, self._activity, self._rules, self._bridge = dashboard, activity, rules, bridge
        dashboard.resume_requested.connect(partial(bridge.command, "resume"))
        dashboard.finish_requested.connect(partial(bridge.command, "finish"))
        dashboard.take_back_requested.connect(partial(bridge.command, "take_back"))
        activity.stop_requested.connect(self._on_stop_requested)
        dashboard.contribution_requested.connect(self._on_contribution_requested)
        activity.contribution_requested.connect(self._on_contribution_requested)
        activity.export_requested.connect(self._on_export_requested)
        bridge.command_finished.connect(self._on_command_finished)

    def connect_to(
        self,
        *,
        pause: Callable[[float | None], None],
        start_agent: Callable[[], None],
        open_setup: Callable[[], None],
        show_page: Callable[[str], None],
        show_setting: Callable[[str], None],
    ) -> None:
        """What the program itself does. `pause` takes the end in seconds since the epoch; None: until resumed."""
        self._dashboard.pause_requested.connect(pause)
        self._dashboard.start_requested.connect(start_agent)
        does: dict[Does, Callable[[], None]] = {
            Does.START: start_agent,
            Does.RETRY: partial(self._bridge.command, "retry_engine"),
            Does.RESUME: partial(self._bridge.command, "resume"),
            Does.SETUP: open_setup,
            Does.MODELS: partial(show_page, "models"),
            Does.LOG: partial(show_page, "log"),
        }

        def act(action: Action) -> None:
            if action.does is Does.SETTING:
                show_setting(action.setting)
            else:
                does[action.does]()

        self._dashboard.action_requested.connect(act)
        self._rules.action_requested.connect(act)

    def _on_stop_requested(self, session_id: str) -> None:
        self._bridge.command("cancel_session", {"session_id": session_id})

    def _on_contribution_requested(self) -> None:
        if self._bridge.is_running:  # else there is nobody to ask, and the page keeps what it has
            self._bridge.command(CONTRIBUTION, {"days": str(DAYS), "recent": str(RECENT)})

    def _on_export_requested(self, path: str, form: str) -> None:
        self._bridge.command(EXPORT, {"path": path, "format": form})

    def _on_command_finished(self, name: str, outcome: CommandOutcome) -> None:
        if name == CONTRIBUTION:
            self._dashboard.show_contribution(outcome.result)
            self._activity.show_contribution(outcome.result)
