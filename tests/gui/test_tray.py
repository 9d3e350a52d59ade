"""The tray: what it shows of a snapshot, what its menu asks for, and panels that come and go."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu, QSystemTrayIcon
from pytestqt.qtbot import QtBot

from core.reasons.of_owner import setup_not_done
from core.snapshot import AgentSnapshot, CapacityView, Reason
from core.state import AgentState
from tests.fakes.snapshots import NOW, busy_snapshot, in_use_snapshot, paused_snapshot, sharing_snapshot
from tests.fakes.tray import FakePanel
from titan_gui.failure import failed_snapshot
from titan_gui.notifications import Kind, Message
from titan_gui.tray_view import LONGEST_LINE, TrayView, tomorrow_morning, tray_view_of
from titan_gui.view_model import Mood, clock_text

READY = replace(busy_snapshot(), running_jobs=0, sessions=(), tokens_per_second=0.0)

MESSAGE = Message(Kind.FIRST_SESSION, "Serving", "The first session of today has begun.")
NOT_SET_UP = replace(READY, state=AgentState.PAUSED, reasons=(setup_not_done(),))


@pytest.fixture
def panel(qtbot: QtBot) -> Iterator[FakePanel]:
    made = FakePanel()
    made.tray.start()
    yield made
    made.tray.remove()


def line(menu: QMenu, text: str) -> QAction:
    """The menu's action of that text, in a submenu too."""
    for action in menu.actions():
        if action.text() == text:
            return action
        below = action.menu()
        if isinstance(below, QMenu) and (found := [part for part in below.actions() if part.text() == text]):
            return found[0]
    raise AssertionError(f"no line {text!r}")


# What is said


def test_a_serving_agent_says_sessions_and_speed() -> None:
    view = tray_view_of(busy_snapshot())
    assert (view.mood, view.status) == (Mood.SERVING, "Serving: 1 of 4 sessions, 43.2 tokens/s")
    assert view.tooltip.splitlines()[-1] == "1 of 4 sessions, 43.2 tokens/s"
    assert (view.can_pause, view.can_resume, view.can_finish, view.can_take_back) == (True, False, True, True)


def test_without_a_session_the_speed_is_nothing() -> None:
    """The measured one is smoothed, and goes on for seconds after the last session."""
    view = tray_view_of(replace(READY, tokens_per_second=755.0))
    assert view.tooltip.splitlines()[-1] == "0 of 4 sessions"


def test_what_is_taken_back_is_what_is_lent() -> None:
    assert tray_view_of(busy_snapshot()).take_back == "Take my GPU back now"
    assert tray_view_of(replace(busy_snapshot(), capacity=CapacityView(kind="ram"))).take_back == (
        "Take my memory back now"
    )


def test_before_the_setup_there_is_nothing_to_pause_or_take_back() -> None:
    view = tray_view_of(replace(NOT_SET_UP, loaded_models=busy_snapshot().loaded_models))
    assert (view.can_pause, view.can_resume, view.can_finish, view.can_take_back) == (False,) * 4


def test_a_timed_pause_says_until_when() -> None:
    view = tray_view_of(paused_snapshot())
    assert view.mood is Mood.PAUSED
    assert view.status.startswith("Paused until ")
    assert (view.can_pause, view.can_resume, view.can_finish) == (True, True, False)


def test_sharing_now_says_until_when_and_what_waits_wherever_it_stands() -> None:
    until = clock_text(NOW + 3600)
    ready, serving = tray_view_of(sharing_snapshot()), tray_view_of(replace(sharing_snapshot(), running_jobs=1))
    assert (ready.mood, ready.status) == (Mood.READY, f"Ready: you share now, until {until}")
    assert serving.status == f"Serving until {until}: 1 of 4 sessions, 43.2 tokens/s"
    for view in (ready, serving):
        assert "Until then this rule waits: “In use”." in view.tooltip.splitlines()[1]
        assert (view.can_share, view.is_sharing, view.is_held_by_comfort) == (True, True, False)
    hot = Reason(code="gpu_hot", sentence="The graphics card is too hot.")
    held = tray_view_of(replace(sharing_snapshot(), reasons=(hot, *sharing_snapshot().reasons)))
    assert held.status == "Paused: The graphics card is too hot."
    assert held.tooltip.splitlines()[1:3] == [hot.sentence, sharing_snapshot().reasons[0].sentence]
    away = replace(sharing_snapshot(), state=AgentState.CONNECTING)
    assert tray_view_of(away).status == "Offline: Connecting to the coordinator."


def test_sharing_now_is_offered_unless_the_owner_paused_and_as_the_way_out_where_only_comfort_holds() -> None:
    hot = Reason(code="gpu_hot", sentence="The graphics card is too hot.")
    moment = Reason(code="memory_going_back", sentence="The model is leaving memory.")
    in_use = in_use_snapshot()
    for snapshot, can_share, is_held in (
        (READY, True, False),
        (in_use, True, True),
        (replace(in_use, reasons=(*in_use.reasons, moment)), True, True),
        (replace(in_use, reasons=(*in_use.reasons, hot)), True, False),
        (replace(READY, reasons=(moment,)), True, False),
        (paused_snapshot(), False, False),
        (replace(READY, is_draining=True), False, False),
        (NOT_SET_UP, False, False),
        (AgentSnapshot(), False, False),
    ):
        view = tray_view_of(snapshot)
        assert (view.can_share, view.is_held_by_comfort) == (can_share, is_held), snapshot.reasons


def test_a_paused_agent_with_nothing_in_memory_has_nothing_to_take_back() -> None:
    assert not tray_view_of(paused_snapshot()).can_take_back
    with_model = replace(paused_snapshot(), loaded_models=busy_snapshot().loaded_models)
    assert tray_view_of(with_model).can_take_back
    owners = tuple(replace(model, is_owners=True) for model in with_model.loaded_models)
    assert not tray_view_of(replace(with_model, loaded_models=owners)).can_take_back


def test_an_agent_that_ended_by_an_error_says_it_and_can_be_started_again() -> None:
    from core.errors import PortTakenError

    failed = failed_snapshot(busy_snapshot(), PortTakenError("port 50052 is in use", hint="Set agent_port."))
    view = tray_view_of(failed)
    assert view.mood is Mood.ATTENTION
    assert "port 50052 is in use" in view.status
    assert view.can_start
    assert (view.can_pause, view.can_resume, view.can_finish, view.can_take_back) == (False,) * 4


def test_the_cause_is_found_inside_a_task_group_and_a_bug_names_the_log() -> None:
    from core.errors import StorageError

    group = BaseExceptionGroup("tasks", [BaseExceptionGroup("inner", [StorageError("disk full", hint="Free some.")])])
    assert failed_snapshot(READY, group).reasons[0].sentence == "Cannot use a file: disk full."
    bug = failed_snapshot(READY, ValueError("secret text"))
    assert "secret" not in bug.reasons[0].sentence
    assert "log" in bug.reasons[0].remedy


def test_quitting_says_how_many_sessions_are_waited_for() -> None:
    assert tray_view_of(busy_snapshot(), is_quitting=True).status == "Finishing 1 session …"
    assert tray_view_of(READY, is_quitting=True).status == "Finishing …"


def test_a_long_reason_does_not_make_a_menu_as_wide_as_the_screen() -> None:
    reason = Reason(code="engine_unreachable", sentence="x" * 400)
    view = tray_view_of(replace(READY, reasons=(reason,)))
    assert len(view.status) == LONGEST_LINE
    assert view.status.endswith("…")


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York"])
@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-03-28 22:00", "2026-03-29 08:00"),  # the hour changes that night in Europe
        ("2026-10-24 12:00", "2026-10-25 08:00"),
        ("2026-12-31 23:59", "2027-01-01 08:00"),
        ("2026-11-25 00:01", "2026-11-26 08:00"),
    ],
)
def test_tomorrow_morning_is_eight_by_the_clock_on_the_wall(
    zone: str, now: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        then = tomorrow_morning(time.mktime(time.strptime(now, "%Y-%m-%d %H:%M")))
        assert time.strftime("%Y-%m-%d %H:%M", time.localtime(then)) == expected
    finally:
        monkeypatch.undo()
        time.tzset()


# What is shown


def test_an_equal_view_touches_nothing(panel: FakePanel) -> None:
    panel.tray.render(READY)
    icons, tooltips = len(panel.icon.icons), len(panel.icon.tooltips)
    panel.tray.render(replace(READY, machine=None, pid=7))
    assert (len(panel.icon.icons), len(panel.icon.tooltips)) == (icons, tooltips)


def test_a_new_mood_shows_at_once_and_new_numbers_within_a_second(panel: FakePanel, qtbot: QtBot) -> None:
    panel.tray.render(READY)
    panel.tray.render(busy_snapshot())
    shown = len(panel.icon.tooltips)
    assert "43.2" in panel.icon.tooltips[-1]
    for speed in (50.0, 51.0, 52.0):
        panel.tray.render(replace(busy_snapshot(), tokens_per_second=speed))
    assert len(panel.icon.tooltips) == shown
    qtbot.waitUntil(lambda: len(panel.icon.tooltips) > shown, timeout=3000)
    assert "52.0" in panel.icon.tooltips[-1]
    assert len(panel.icon.tooltips) == shown + 1


def test_the_menu_follows_the_snapshot(panel: FakePanel) -> None:
    menu = panel.tray.menu
    panel.tray.render(busy_snapshot())
    assert not menu.actions()[0].isEnabled()
    assert menu.actions()[0].text().startswith("Serving")
    assert not line(menu, "Resume").isEnabled()
    panel.tray.render(paused_snapshot())
    assert line(menu, "Resume").isEnabled()
    assert not line(menu, "Finish, then pause").isEnabled()
    panel.tray.render(failed_snapshot(paused_snapshot(), ValueError()))
    assert line(menu, "Start again").isVisible()
    assert not line(menu, "Resume").isEnabled()
    panel.tray.render(busy_snapshot(), is_quitting=True)
    assert line(menu, "Quit now").isEnabled()


def test_every_view_leaves_the_menu_as_a_new_one_would_be(panel: FakePanel) -> None:
    """The menu is changed where it differs; after any way through the states it must be what the last view says."""
    failed = failed_snapshot(READY, ValueError())
    snapshots = (READY, busy_snapshot(), sharing_snapshot(), paused_snapshot(), failed, AgentSnapshot())
    for one in snapshots:
        for other in snapshots:
            panel.tray.render(one)
            panel.tray.render(other)
            view = tray_view_of(other)
            menu = panel.tray.menu
            assert line(menu, "Pause").isEnabled() is view.can_pause
            assert line(menu, "Resume").isEnabled() is view.can_resume
            assert line(menu, "Finish, then pause").isEnabled() is view.can_finish
            assert line(menu, view.take_back).isEnabled() is view.can_take_back
            assert line(menu, "Start again").isVisible() is view.can_start
            assert line(menu, "Share now although I am here").isVisible() is view.can_share
            assert line(menu, "Follow my rules again").isVisible() is view.is_sharing
            assert menu.actions()[0].text() == view.status


def test_an_ampersand_in_a_model_is_no_shortcut(panel: FakePanel) -> None:
    panel.tray.render(replace(READY, reasons=(Reason(code="x", sentence="A & B"),), state=AgentState.PAUSED))
    assert "A && B" in panel.tray.menu.actions()[0].text()


# What is asked for


@pytest.mark.parametrize(("text", "seconds"), [("15 minutes", 900), ("1 hour", 3600), ("4 hours", 14400)])
def test_a_timed_pause_ends_so_long_after_the_click(panel: FakePanel, qtbot: QtBot, text: str, seconds: int) -> None:
    panel.tray.render(READY)
    panel.now = NOW + 5
    with qtbot.waitSignal(panel.tray.pause_requested) as asked:
        line(panel.tray.menu, text).trigger()
    assert asked.args == [NOW + 5 + seconds]


def test_sharing_now_ends_so_long_after_the_click(panel: FakePanel) -> None:
    panel.tray.render(in_use_snapshot())
    asked: list[float] = []
    panel.tray.share_requested.connect(asked.append)
    below = line(panel.tray.menu, "Share now although I am here").menu()
    assert isinstance(below, QMenu)
    panel.now = NOW + 5
    for action in below.actions():
        action.trigger()
    assert asked == [NOW + 5 + 3600, NOW + 5 + 4 * 3600, tomorrow_morning(NOW + 5)]


def test_the_other_two_pauses(panel: FakePanel, qtbot: QtBot) -> None:
    panel.tray.render(READY)
    with qtbot.waitSignal(panel.tray.pause_requested) as asked:
        line(panel.tray.menu, "Until tomorrow 8:00").trigger()
    assert asked.args == [tomorrow_morning(panel.now)]
    with qtbot.waitSignal(panel.tray.pause_requested) as asked:
        line(panel.tray.menu, "Until I resume").trigger()
    assert asked.args == [None]


@pytest.mark.parametrize(
    ("text", "signal"),
    [
        ("Resume", "resume_requested"),
        ("Finish, then pause", "finish_requested"),
        ("Follow my rules again", "follow_rules_requested"),
        ("Take my memory back now", "take_back_requested"),
        ("Start again", "start_requested"),
        ("Open", "window_requested"),
        ("Settings", "settings_requested"),
        ("Quit", "quit_requested"),
    ],
)
def test_each_line_asks_for_its_thing(panel: FakePanel, qtbot: QtBot, text: str, signal: str) -> None:
    action = line(panel.tray.menu, text)
    action.setEnabled(True)
    with qtbot.waitSignal(getattr(panel.tray, signal)):
        action.trigger()


def test_left_click_opens_the_window_and_a_right_click_does_not(panel: FakePanel, qtbot: QtBot) -> None:
    reason = QSystemTrayIcon.ActivationReason
    with qtbot.waitSignal(panel.tray.window_requested):
        panel.icon.activated.emit(reason.Trigger)
    with qtbot.assertNotEmitted(panel.tray.window_requested):
        panel.icon.activated.emit(reason.Context)


def test_a_middle_click_pauses_until_resumed_and_resumes(panel: FakePanel, qtbot: QtBot) -> None:
    middle = QSystemTrayIcon.ActivationReason.MiddleClick
    panel.tray.render(READY)
    with qtbot.waitSignal(panel.tray.pause_requested) as asked:
        panel.icon.activated.emit(middle)
    assert asked.args == [None]
    panel.tray.render(paused_snapshot())
    with qtbot.waitSignal(panel.tray.resume_requested), qtbot.assertNotEmitted(panel.tray.pause_requested):
        panel.icon.activated.emit(middle)
    panel.tray.render(NOT_SET_UP)
    with qtbot.assertNotEmitted(panel.tray.pause_requested), qtbot.assertNotEmitted(panel.tray.resume_requested):
        panel.icon.activated.emit(middle)


# Panels that come and go


def test_without_a_panel_there_is_no_icon_and_messages_go_nowhere(qtbot: QtBot) -> None:
    panel = FakePanel(is_there=False)
    panel.tray.start()
    panel.tray.render(busy_snapshot())
    panel.tray.show_message(MESSAGE)
    assert not panel.tray.is_shown
    assert panel.icons == []


def test_a_panel_that_comes_late_gets_an_icon_with_what_is_shown_by_then(qtbot: QtBot) -> None:
    panel = FakePanel(is_there=False)
    panel.tray.start()
    panel.tray.render(busy_snapshot())
    with qtbot.waitSignal(panel.tray.appeared):
        panel.host.come()
    assert panel.icon.is_shown
    assert "43.2" in panel.icon.tooltips[-1]
    assert panel.icon.menu is panel.tray.menu


def test_a_panel_that_goes_takes_its_icon_and_a_new_one_gets_a_new_one(panel: FakePanel, qtbot: QtBot) -> None:
    first = panel.icon
    with qtbot.waitSignal(panel.tray.vanished):
        panel.host.go()
    assert not first.is_shown
    assert not panel.tray.is_shown
    panel.host.come()
    assert panel.icon is not first
    assert panel.icon.is_shown


def test_a_message_that_no_server_took_shows_on_an_icon_of_the_older_kind(panel: FakePanel) -> None:
    panel.tray.show_message(MESSAGE)
    assert panel.icon.messages == [(MESSAGE.title, MESSAGE.text)]


def test_it_does_not_freeze_the_icon_of_a_panel_with_items(panel: FakePanel) -> None:
    panel.host.has_items = True
    panel.tray.show_message(MESSAGE)
    assert panel.icon.messages == []


def test_views_of_equal_snapshots_are_equal() -> None:
    assert tray_view_of(busy_snapshot()) == tray_view_of(busy_snapshot())
    assert tray_view_of(busy_snapshot()) != TrayView(mood=Mood.SERVING, status="", tooltip="")
