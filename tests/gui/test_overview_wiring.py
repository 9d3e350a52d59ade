"""Every button beside a reason does something: the pages' actions, connected."""

from __future__ import annotations

from typing import cast

import pytest
from pytestqt.qtbot import QtBot

from tests.fakes.fake_bridge import FakeBridge
from titan_gui.bridge import AgentBridge
from titan_gui.history import History
from titan_gui.overview_wiring import OverviewWiring
from titan_gui.pages.activity import ActivityPage
from titan_gui.pages.dashboard import DashboardPage
from titan_gui.pages.rules import RulesPage
from titan_gui.remedies import Action, Does

DONE = {
    Action(Does.SETTING, "agent_port"): "setting agent_port",
    Action(Does.START): "start",
    Action(Does.RETRY): "command retry_engine",
    Action(Does.RESUME): "command resume",
    Action(Does.FOLLOW_RULES): "command follow_rules",
    Action(Does.SETUP): "setup",
    Action(Does.MODELS): "page models",
    Action(Does.LOG): "page log",
}


def test_every_action_there_is_is_tried_here() -> None:
    assert {action.does for action in DONE} == set(Does)
    assert all(action.title and action.short_title for action in DONE)


def test_sharing_now_and_its_end_reach_the_agent_from_the_dashboard(qtbot: QtBot) -> None:
    bridge, page = FakeBridge(), DashboardPage(History())
    qtbot.addWidget(page)
    no_page: list[str] = []
    wiring = OverviewWiring(
        cast(AgentBridge, bridge),
        pause=lambda until: None,
        start_agent=no_page.clear,
        open_setup=no_page.clear,
        show_page=no_page.append,
        show_setting=no_page.append,
    )
    wiring.connect_dashboard(page)
    page.share_requested.emit(1_800_003_600.0)
    page.follow_rules_requested.emit()
    assert bridge.commands == [("share_now", {"until": "1800003600.0"}), ("follow_rules", {})]


@pytest.mark.parametrize("action", DONE, ids=lambda action: str(action.does))
def test_each_action_is_done_from_both_pages(qtbot: QtBot, action: Action) -> None:
    done: list[str] = []
    bridge = FakeBridge()
    dashboard, activity, rules = DashboardPage(History()), ActivityPage(), RulesPage()
    for page in (dashboard, activity, rules):
        qtbot.addWidget(page)
    wiring = OverviewWiring(
        cast(AgentBridge, bridge),
        pause=lambda until: done.append(f"pause {until}"),
        start_agent=lambda: done.append("start"),
        open_setup=lambda: done.append("setup"),
        show_page=lambda name: done.append(f"page {name}"),
        show_setting=lambda name: done.append(f"setting {name}"),
    )
    wiring.connect_dashboard(dashboard)
    wiring.connect_activity(activity)
    wiring.connect_rules(rules)

    for page in (dashboard, rules):
        page.action_requested.emit(action)

    assert [*done, *(f"command {name}" for name, _ in bridge.commands)] == [DONE[action]] * 2
