"""The dashboard: one sentence, what can be done, figures once a second, and no work while hidden."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel, QToolButton, QWidget
from pytestqt.qtbot import QtBot

from core.snapshot import AgentSnapshot, CoordinatorView, GiveBack, GiveBackView, Reason
from core.state import AgentState
from tests.fakes.machines import card, measured
from tests.fakes.snapshots import in_use_snapshot, sharing_snapshot
from titan_gui.history import History
from titan_gui.pages.dashboard import DashboardPage
from titan_gui.remedies import Action, Does

pytestmark = pytest.mark.qt_log_ignore("propagateSizeHints")  # the offscreen display says this of every window

NOW = 1_800_000_000.0
PAUSED = (
    Reason(code="paused_by_owner", sentence="Paused by you.", remedy="titan resume", ends_at=NOW + 1800),
    Reason(code="coordinator_away", sentence="The coordinator does not answer.", blocks=False),
)


@pytest.fixture
def history() -> History:
    made = History()
    for second in range(0, 60, 2):
        made.record(measured(NOW + second, card()), NOW + second)
    return made


@pytest.fixture
def page(qtbot: QtBot, history: History) -> DashboardPage:
    made = DashboardPage(history, clock=lambda: NOW + 60)
    qtbot.addWidget(made)
    return made


def shown(qtbot: QtBot, page: QWidget) -> None:
    page.resize(900, 700)
    with qtbot.waitExposed(page):
        page.show()


def test_the_sentence_and_the_other_reasons(qtbot: QtBot, page: DashboardPage) -> None:
    shown(qtbot, page)

    page.render(measured(NOW, card(), reasons=PAUSED))

    assert page.headline.sentence == "Paused by you."
    assert page.headline.other_reasons == ("The coordinator does not answer.",)


def test_a_hidden_page_does_no_work_and_shows_the_last_snapshot_when_it_is_shown(
    qtbot: QtBot, page: DashboardPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted: list[QWidget] = []
    monkeypatch.setattr(DashboardPage, "_show_all", lambda self: painted.append(self))
    page.render(measured(NOW, card()))
    assert painted == []
    monkeypatch.undo()

    page.render(measured(NOW, card(), reasons=PAUSED))
    shown(qtbot, page)

    assert page.headline.sentence == "Paused by you."


def test_a_change_of_state_is_shown_at_once_and_figures_once_a_second(qtbot: QtBot, page: DashboardPage) -> None:
    page.render(measured(NOW, card()))
    shown(qtbot, page)
    rate = page.tiles["rate"]

    page.render(replace(measured(NOW + 2, card()), tokens_per_second=77.0))
    assert rate.tile is not None
    assert rate.tile.value == "43.2"
    page.render(replace(measured(NOW + 2, card(), reasons=PAUSED), tokens_per_second=77.0))
    assert rate.tile.value == "77.0" if rate.tile else False


def test_figures_that_were_held_back_come_with_the_next_second(qtbot: QtBot, page: DashboardPage) -> None:
    page.render(measured(NOW, card()))
    shown(qtbot, page)
    page.render(replace(measured(NOW, card()), tokens_per_second=77.0))

    page._timer.timeout.emit()

    assert page.tiles["rate"].tile is not None
    assert page.tiles["rate"].tile.value == "77.0"


def test_the_pause_menu_asks_for_each_length(qtbot: QtBot, page: DashboardPage) -> None:
    page.render(measured(NOW, card()))
    shown(qtbot, page)
    asked: list[float | None] = []
    page.pause_requested.connect(asked.append)

    actions = [action for action in page.switch.pause_button.menu().actions() if not action.isSeparator()]
    for action in actions[:-1]:
        action.trigger()

    assert [None if until is None else until - NOW - 60 for until in asked[:3]] == [900, 3600, 4 * 3600]
    assert asked[3] is not None
    assert asked[3] > NOW
    assert asked[4] is None


def test_one_click_on_pause_pauses_until_resumed(qtbot: QtBot, page: DashboardPage) -> None:
    page.render(measured(NOW, card()))
    shown(qtbot, page)
    button = page.switch.pause_button
    with qtbot.waitSignal(page.pause_requested, timeout=0) as asked:
        QTest.mouseClick(button, Qt.MouseButton.LeftButton, pos=QPoint(8, button.height() // 2))
    assert asked.args == [None]


def test_while_paused_the_same_button_offers_other_times(
    qtbot: QtBot, page: DashboardPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[QToolButton] = []
    monkeypatch.setattr(QToolButton, "showMenu", lambda button: opened.append(button))
    page.render(measured(NOW, card(), reasons=PAUSED))
    shown(qtbot, page)
    button = page.switch.pause_button
    with qtbot.assertNotEmitted(page.pause_requested):
        QTest.mouseClick(button, Qt.MouseButton.LeftButton, pos=QPoint(8, button.height() // 2))
    assert opened == [button]
    assert button.text() == "Pause for …"


def test_the_buttons_say_what_is_wanted(qtbot: QtBot, page: DashboardPage) -> None:
    page.render(measured(NOW, card(), reasons=PAUSED))
    shown(qtbot, page)

    with qtbot.waitSignal(page.resume_requested, timeout=0):
        page.switch.resume_button.click()
    with qtbot.waitSignal(page.take_back_requested, timeout=0):
        page.switch.take_back_button.click()  # a model is loaded still
    page.render(measured(NOW, card()))
    with qtbot.waitSignal(page.finish_requested, timeout=0):
        page.switch.finish_action.trigger()


def test_where_only_the_owners_presence_keeps_it_from_serving_a_button_shares_now(
    qtbot: QtBot, page: DashboardPage
) -> None:
    shown(qtbot, page)
    switch = page.switch
    page.render(measured(NOW, card()))
    assert not switch.share_button.isVisible()
    page.render(in_use_snapshot())
    assert (switch.share_button.isVisible(), switch.follow_button.isVisible()) == (True, False)
    asked: list[float] = []
    page.share_requested.connect(asked.append)
    for action in switch.share_button.menu().actions():
        action.trigger()
    assert [until - NOW - 60 for until in asked[:2]] == [3600, 4 * 3600]
    assert len(asked) == 3


def test_sharing_now_stands_in_the_first_line_and_ends_at_one_click(qtbot: QtBot, page: DashboardPage) -> None:
    shown(qtbot, page)
    page.render(sharing_snapshot())
    assert page.headline.sentence == sharing_snapshot().reasons[0].sentence
    assert not page.headline.other_reasons
    assert not page.headline.actions_row.buttons  # it stands on the switch
    assert not page.switch.share_button.isVisible()
    with qtbot.waitSignal(page.follow_rules_requested, timeout=0):
        page.switch.follow_button.click()
    hot = Reason(code="gpu_hot", sentence="The graphics card is too hot.")
    (sharing,) = sharing_snapshot().reasons
    page.render(replace(sharing_snapshot(), reasons=(hot, sharing)))
    assert (page.headline.sentence, page.headline.other_reasons) == (hot.sentence, (sharing.sentence,))
    assert page.switch.follow_button.isVisible()


def test_only_what_can_be_done_is_offered(qtbot: QtBot, page: DashboardPage) -> None:
    shown(qtbot, page)
    switch = page.switch

    page.render(measured(NOW, card()))
    assert (switch.pause_button.isEnabled(), switch.resume_button.isVisible(), switch.start_button.isVisible()) == (
        True,
        False,
        False,
    )
    page.render(AgentSnapshot(state=AgentState.FAILED))
    assert (switch.pause_button.isVisible(), switch.start_button.isVisible()) == (False, True)
    assert not switch.take_back_button.isEnabled()


def test_a_reason_leads_to_its_setting(qtbot: QtBot, page: DashboardPage) -> None:
    reason = Reason(code="engine_unreachable", sentence="The engine does not answer.", setting="engine")
    page.render(measured(NOW, card(), reasons=(reason,)))
    shown(qtbot, page)

    setting = Action(Does.SETTING, "engine")
    with qtbot.waitSignal(page.action_requested, timeout=0) as asked:
        page.headline.actions_row.button(setting).click()

    assert asked.args == [setting]
    assert page.headline.actions_row.button(setting).text() == "Open the setting “Engine”"


def test_by_keyboard_what_can_be_done_comes_before_the_switch_below_it(qtbot: QtBot, page: DashboardPage) -> None:
    shown(qtbot, page)
    reason = Reason(code="engine_unreachable", sentence="The engine does not answer.", setting="engine")
    page.render(measured(NOW, card(), reasons=(reason,)))

    order: list[QWidget] = []
    after = page.headline.nextInFocusChain()
    while after is not None and after is not page.headline:
        order.append(after)
        after = after.nextInFocusChain()

    stops = [*page.headline.actions_row.buttons, page.switch.pause_button, page.switch.take_back_button]
    assert sorted(stops, key=order.index) == stops


def test_a_tile_in_trouble_has_a_button_and_the_others_none(qtbot: QtBot, page: DashboardPage) -> None:
    page.render(replace(measured(NOW, card()), coordinator=CoordinatorView(link="away", detail="UNAVAILABLE: x")))
    shown(qtbot, page)

    assert [name for name, tile in page.tiles.items() if tile.button.isVisible()] == ["coordinator"]
    with qtbot.waitSignal(page.action_requested, timeout=0) as asked:
        page.tiles["coordinator"].button.click()
    assert asked.args == [Action(Does.SETTING, "coordinator_endpoint")]


def test_what_the_switch_can_do_is_not_offered_twice(qtbot: QtBot, page: DashboardPage) -> None:
    page.render(measured(NOW, card(), reasons=PAUSED))
    shown(qtbot, page)
    assert page.headline.actions_row.actions_shown == ()
    assert page.switch.resume_button.isVisible()


def test_text_from_outside_is_never_markup(qtbot: QtBot, page: DashboardPage) -> None:
    reason = Reason(code="engine_attention", sentence="<b>bold</b> <img src=x>", remedy="<a href=x>y</a>")
    page.render(measured(NOW, card(), reasons=(reason,)))
    shown(qtbot, page)

    labels = page.findChildren(QLabel)

    assert page.headline.sentence == "<b>bold</b> <img src=x>"
    assert all(label.textFormat().name == "PlainText" for label in labels if "<" in label.text())


def test_numbers_that_change_move_nothing(qtbot: QtBot, page: DashboardPage) -> None:
    page.render(measured(NOW, card()))
    shown(qtbot, page)
    before = {name: tile.geometry() for name, tile in page.tiles.items()}

    long = "x" * 300
    snapshot = replace(measured(NOW, card()), tokens_per_second=123_456.7, tier_reason=long, running_jobs=32)
    page.render(replace(snapshot, reasons=(Reason(code="note", sentence="", blocks=False),)))
    qtbot.waitUntil(lambda: page.tiles["rate"].tile is not None and page.tiles["rate"].tile.value == "123456.7")

    assert {name: tile.geometry().size() for name, tile in page.tiles.items()} == {
        name: place.size() for name, place in before.items()
    }


def test_contribution_is_asked_for_when_shown_and_then_shown(qtbot: QtBot, page: DashboardPage) -> None:
    with qtbot.waitSignal(page.contribution_requested, timeout=1000):
        shown(qtbot, page)

    sums = {"sessions": 2, "completion_tokens": 700, "seconds": 10}
    page.show_contribution({"summary": {"today": sums}, "days": [{"day": "2026-11-25", **sums}]})

    assert page.given["today"].tile is not None
    assert page.given["today"].tile.value == "700 tokens"
    assert "700 tokens, 2 sessions" in page.bars.accessibleDescription()


def test_every_control_can_be_reached_and_has_a_name(qtbot: QtBot, page: DashboardPage) -> None:
    page.render(measured(NOW, card()))
    shown(qtbot, page)
    page.switch.pause_button.setFocus()
    reached: list[QWidget] = []
    for _ in range(20):
        focused = page.focusWidget()
        if focused in reached:
            break
        reached.append(focused)
        page.focusNextChild()

    texts = [getattr(widget, "text", lambda: "")() or widget.accessibleName() for widget in reached]
    assert "Take my GPU back now" in texts
    assert "10 minutes" in texts
    assert all(texts)


def test_what_is_rarely_measured_shows_only_once_it_was(page: DashboardPage) -> None:
    page.show()
    page.render(AgentSnapshot(state=AgentState.READY))
    assert page.rare["give_back"].isHidden()

    back = GiveBack(held_mb=10_035, freed_mb=1_024, seconds=5.0, kind="vram", ok=False, holder="firefox", at=NOW)
    view = GiveBackView(last=back, sentence=back.sentence)
    page.render(AgentSnapshot(state=AgentState.PAUSED, reasons=PAUSED, give_back=view))

    tile = page.rare["give_back"]
    assert not tile.isHidden()
    assert tile.edge is not None
    assert "firefox" in tile.accessibleName()


def test_the_day_is_asked_for_when_shown_and_at_a_change_and_a_click_asks_for_the_reason(
    qtbot: QtBot, page: DashboardPage
) -> None:
    with qtbot.waitSignal(page.time_use_requested, timeout=0):
        page.show()
    page.render(AgentSnapshot(state=AgentState.READY))
    with qtbot.waitSignal(page.time_use_requested, timeout=0):
        page.render(AgentSnapshot(state=AgentState.PAUSED, reasons=PAUSED))
    with qtbot.assertNotEmitted(page.time_use_requested):
        page.render(AgentSnapshot(state=AgentState.PAUSED, reasons=PAUSED, queued_jobs=1))

    stretch = {"start": NOW - 3600, "end": NOW, "what": "paused", "reason_code": "paused_by_owner"}
    share = {"what": "paused", "reason_code": "paused_by_owner", "seconds": 3600.0, "percent": 100.0}
    page.show_time_use({"stretches": [stretch], "shares": [share]})
    with qtbot.waitSignal(page.reason_requested, timeout=0) as asked:
        page.day.legend[0].click()

    assert asked.args == ["paused_by_owner"]
