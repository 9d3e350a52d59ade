"""Which change deserves a message. The rule has no clock of its own: each test says what time it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import QSettings
from pytestqt.qtbot import QtBot

from core.snapshot import AgentSnapshot, Reason
from core.state import AgentState
from core.updates.release_index import Release
from tests.fakes.snapshots import NOW, busy_snapshot, paused_snapshot
from titan_gui.failure import failed_snapshot
from titan_gui.notifications import (
    AWAY_S,
    QUIET_S,
    SETTLE_S,
    Kind,
    NotificationRules,
    Notifier,
    read_shown,
    write_shown,
)

READY = replace(busy_snapshot(), running_jobs=0, sessions=())
TROUBLE = replace(
    READY,
    state=AgentState.PAUSED,
    reasons=(Reason(code="engine_unreachable", sentence="Ollama does not answer.", remedy="Start Ollama."),),
)
AWAY_REASON = Reason(code="coordinator_away", sentence="No answer: UNAVAILABLE: ipv4:10.0.0.1:50051.", blocks=False)
AWAY = replace(READY, state=AgentState.CONNECTING, reasons=(AWAY_REASON,))
DAY_S = 24 * 3600.0


def kinds(rules: NotificationRules, snapshot: AgentSnapshot, now: float, *, is_on: bool = True) -> list[Kind]:
    return [message.kind for message in rules.look(snapshot, now, is_on=is_on)]


@pytest.fixture
def rules() -> NotificationRules:
    made = NotificationRules()
    assert made.look(READY, NOW) == ()
    return made


# A newer version


def test_a_newer_version_is_told_once_a_week(rules: NotificationRules) -> None:
    newer = replace(READY, update=Release(version="0.2.0"))
    (message,) = rules.look(newer, NOW)
    assert (message.kind, "Version 0.2.0" in message.text) == (Kind.UPDATE, True)
    assert kinds(rules, newer, NOW + 6 * DAY_S) == []
    assert kinds(rules, newer, NOW + 7 * DAY_S) == [Kind.UPDATE]
    assert kinds(rules, READY, NOW + 20 * DAY_S) == []


# Trouble


def test_trouble_is_told_once_it_has_lasted(rules: NotificationRules) -> None:
    assert kinds(rules, TROUBLE, NOW) == []
    assert rules.look_again_in(NOW) == SETTLE_S
    assert kinds(rules, TROUBLE, NOW + SETTLE_S - 1) == []
    (message,) = rules.look(TROUBLE, NOW + SETTLE_S)
    assert (message.kind, message.title) == (Kind.TROUBLE, "Needs attention")
    assert message.text == "Ollama does not answer. Start Ollama."
    assert rules.look_again_in(NOW + SETTLE_S) is None


def test_trouble_that_goes_by_itself_is_not_told(rules: NotificationRules) -> None:
    kinds(rules, TROUBLE, NOW)
    kinds(rules, READY, NOW + 5)
    assert kinds(rules, TROUBLE, NOW + SETTLE_S + 1) == []


def test_an_agent_that_ended_is_told_at_once(rules: NotificationRules) -> None:
    assert kinds(rules, failed_snapshot(READY, ValueError()), NOW) == [Kind.TROUBLE]


def test_a_pause_by_hand_is_no_trouble_whatever_else_is_wrong(rules: NotificationRules) -> None:
    paused = replace(TROUBLE, reasons=(Reason(code="paused_by_owner", sentence="Paused by you."), *TROUBLE.reasons))
    kinds(rules, paused, NOW)
    assert kinds(rules, paused, NOW + 60) == []
    assert rules.look_again_in(NOW) is None


# A coordinator that is away


def test_an_away_coordinator_is_told_once_after_ten_minutes(rules: NotificationRules) -> None:
    assert AWAY_S == 600
    assert kinds(rules, AWAY, NOW) == []
    assert rules.look_again_in(NOW) == AWAY_S
    assert kinds(rules, AWAY, NOW + AWAY_S - 1) == []
    (message,) = rules.look(AWAY, NOW + AWAY_S)
    assert (message.kind, message.title) == (Kind.AWAY, "Offline")
    assert "UNAVAILABLE" not in message.text
    assert rules.look_again_in(NOW + AWAY_S) is None
    assert kinds(rules, AWAY, NOW + AWAY_S + QUIET_S + 1) == []  # the same absence


def test_a_coordinator_that_comes_back_in_time_is_not_told(rules: NotificationRules) -> None:
    kinds(rules, AWAY, NOW)
    kinds(rules, READY, NOW + AWAY_S - 1)
    assert kinds(rules, AWAY, NOW + AWAY_S) == []
    assert kinds(rules, AWAY, NOW + 2 * AWAY_S - 1) == []


def test_another_absence_is_told_six_hours_after_the_last_at_the_earliest(rules: NotificationRules) -> None:
    kinds(rules, AWAY, NOW)
    assert kinds(rules, AWAY, NOW + AWAY_S) == [Kind.AWAY]
    told_at = NOW + AWAY_S
    kinds(rules, READY, told_at + 10)
    kinds(rules, AWAY, told_at + 20)
    assert kinds(rules, AWAY, told_at + QUIET_S - 1) == []
    assert kinds(rules, AWAY, told_at + QUIET_S) == [Kind.AWAY]


@pytest.mark.parametrize(
    "other",
    [
        replace(AWAY, reasons=(Reason(code="paused_by_owner", sentence="Paused by you."), AWAY_REASON)),
        replace(AWAY, state=AgentState.STOPPING),
        replace(AWAY, is_draining=True),
    ],
)
def test_an_absence_does_not_matter_while_nothing_would_be_served(
    rules: NotificationRules, other: AgentSnapshot
) -> None:
    kinds(rules, other, NOW)
    assert rules.look_again_in(NOW) is None
    assert kinds(rules, other, NOW + 2 * AWAY_S) == []


def test_trouble_that_begins_during_an_absence_is_looked_at_in_time(rules: NotificationRules) -> None:
    kinds(rules, AWAY, NOW)
    kinds(rules, replace(TROUBLE, reasons=(*TROUBLE.reasons, AWAY_REASON)), NOW + 60)
    assert rules.look_again_in(NOW + 60) == SETTLE_S


# At most one of a kind in 6 hours


def test_a_kind_is_quiet_for_six_hours(rules: NotificationRules) -> None:
    failed = failed_snapshot(READY, ValueError())
    assert kinds(rules, failed, NOW) == [Kind.TROUBLE]
    kinds(rules, READY, NOW + 1)
    assert kinds(rules, failed, NOW + QUIET_S - 1) == []
    kinds(rules, READY, NOW + QUIET_S - 0.5)
    assert kinds(rules, failed, NOW + QUIET_S) == [Kind.TROUBLE]


def test_another_kind_is_not_held_back(rules: NotificationRules) -> None:
    assert kinds(rules, failed_snapshot(READY, ValueError()), NOW) == [Kind.TROUBLE]
    assert kinds(rules, busy_snapshot(), NOW + 1) == [Kind.FIRST_SESSION]


def test_a_clock_that_was_set_back_silences_nothing_for_years(rules: NotificationRules) -> None:
    rules.shown_at[Kind.TROUBLE] = NOW + 1000 * DAY_S
    assert kinds(rules, failed_snapshot(READY, ValueError()), NOW) == [Kind.TROUBLE]


def test_while_off_nothing_is_told_and_nothing_is_saved_up(rules: NotificationRules) -> None:
    assert kinds(rules, busy_snapshot(), NOW, is_on=False) == []
    assert kinds(rules, busy_snapshot(), NOW + 1) == []
    assert rules.shown_at == {}


# The end of a timed pause


def paused(until: float | None) -> AgentSnapshot:
    return replace(
        paused_snapshot(),
        state=AgentState.PAUSED,
        pause_until=until,
        reasons=(Reason(code="paused_by_owner", sentence="Paused by you.", ends_at=until),),
    )


def test_a_pause_that_ends_by_itself_is_told(rules: NotificationRules) -> None:
    kinds(rules, paused(NOW + 900), NOW)
    assert kinds(rules, READY, NOW + 900.2) == [Kind.RESUMED]


def test_a_pause_that_is_ended_by_hand_is_not(rules: NotificationRules) -> None:
    kinds(rules, paused(NOW + 900), NOW)
    assert kinds(rules, READY, NOW + 400) == []
    kinds(rules, paused(None), NOW + 500)
    assert kinds(rules, READY, NOW + 2000) == []


def test_the_end_of_the_program_is_no_end_of_a_pause(rules: NotificationRules) -> None:
    kinds(rules, paused(NOW + 900), NOW)
    assert kinds(rules, replace(READY, state=AgentState.STOPPING), NOW + 901) == []


# The first session of the day


def test_the_first_session_of_a_day_is_told_and_the_next_ones_are_not(rules: NotificationRules) -> None:
    assert kinds(rules, busy_snapshot(), NOW) == [Kind.FIRST_SESSION]
    kinds(rules, READY, NOW + 10)
    assert kinds(rules, busy_snapshot(), NOW + 20) == []
    kinds(rules, READY, NOW + DAY_S - 1)
    assert kinds(rules, busy_snapshot(), NOW + DAY_S) == [Kind.FIRST_SESSION]


def test_sessions_that_go_on_past_midnight_are_no_first_one(rules: NotificationRules) -> None:
    kinds(rules, busy_snapshot(), NOW)
    assert kinds(rules, replace(busy_snapshot(), running_jobs=2), NOW + DAY_S) == []


def test_no_message_holds_more_than_the_snapshots_own_sentences(rules: NotificationRules) -> None:
    (message,) = rules.look(busy_snapshot(), NOW)
    assert message.text == "The first session of today has begun."


# The shower


class Shown:
    def __init__(self, memory: Mapping[Kind, float] | None = None) -> None:
        self.now = NOW
        self.messages: list[tuple[str, str]] = []
        self.saved: dict[Kind, float] = {}
        self.notifier = Notifier(NotificationRules(memory), save=self.saved.update, clock=lambda: self.now)
        self.notifier.message_due.connect(lambda due: self.messages.append((due.title, due.text)))


def test_trouble_is_looked_at_again_although_no_snapshot_comes(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("titan_gui.notifications.SETTLE_S", 0.05)
    shown = Shown()
    shown.notifier.render(TROUBLE)
    assert shown.messages == []
    shown.now += 1
    qtbot.waitUntil(lambda: bool(shown.messages), timeout=3000)
    assert shown.messages[0][0] == "Needs attention"
    assert shown.saved == {Kind.TROUBLE: shown.now}


def test_trouble_during_an_absence_does_not_wait_for_its_ten_minutes(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("titan_gui.notifications.SETTLE_S", 0.05)
    shown = Shown()
    shown.notifier.render(AWAY)
    shown.notifier.render(TROUBLE)
    shown.now += 1
    qtbot.waitUntil(lambda: bool(shown.messages), timeout=3000)
    assert shown.messages[0][0] == "Needs attention"


def test_the_setting_switches_messages_off(qtbot: QtBot) -> None:
    shown = Shown()
    shown.notifier.is_on = False
    shown.notifier.render(READY)
    shown.notifier.render(busy_snapshot())
    assert shown.messages == []


def test_what_was_shown_is_remembered_across_starts(tmp_path: Path) -> None:
    file = str(tmp_path / "window.ini")
    memory = QSettings(file, QSettings.Format.IniFormat)
    write_shown(memory, {Kind.FIRST_SESSION: NOW})
    memory.sync()
    found = read_shown(QSettings(file, QSettings.Format.IniFormat))
    assert found == {Kind.FIRST_SESSION: NOW}
    rules = NotificationRules(found)
    rules.look(READY, NOW + 60)
    assert rules.look(busy_snapshot(), NOW + 61) == ()


@pytest.mark.parametrize("damage", ["[shown]\ntrouble=soon\n", "\x00\x01", "[shown"])
def test_a_damaged_memory_means_never_shown(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "window.ini"
    file.write_text(damage)
    assert read_shown(QSettings(str(file), QSettings.Format.IniFormat)) == {}
