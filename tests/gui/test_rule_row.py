"""One rule's row: what it shows, what a click and a figure write, and what can't be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QDialogButtonBox, QFileDialog, QListWidget
from pytestqt.qtbot import QtBot

from core.config_load import LoadedSettings, load_settings
from core.rules.schedule import NEVER, parse_schedule
from core.snapshot import RuleView
from titan_gui.rule_forms import FORMS
from titan_gui.widgets.apps_field import AppsField
from titan_gui.widgets.rule_fields import EffectField, NumberField, ScheduleField
from titan_gui.widgets.rule_row import RuleRow

pytestmark = pytest.mark.qt_log_ignore("propagateSizeHints")

Changes = dict[str, str | None]


def loaded(**environment: str) -> LoadedSettings:
    return load_settings({f"TITAN_{name.upper()}": text for name, text in environment.items()})


class Saved:
    """What the row asked to write, in order."""

    def __init__(self, row: RuleRow) -> None:
        self.changes: list[Changes] = []
        row.save_requested.connect(self.changes.append)


@pytest.fixture
def row_of(qtbot: QtBot) -> Callable[..., RuleRow]:
    def make(code: str, **environment: str) -> RuleRow:
        row = RuleRow(FORMS[code])
        row.show_settings(loaded(**environment))
        qtbot.addWidget(row)
        row.resize(700, 400)
        with qtbot.waitExposed(row):
            row.show()
        return row

    return make


def number(row: RuleRow, name: str) -> NumberField:
    return cast(NumberField, row.fields[name])


def type_into(field: NumberField, text: str) -> None:
    field.line.setFocus()
    field.line.selectAll()
    QTest.keyClicks(field.line, text)
    QTest.keyClick(field.line, Qt.Key.Key_Return)


def test_the_switch_writes_at_once(row_of: Callable[..., RuleRow]) -> None:
    row = row_of("on_battery")
    saved = Saved(row)
    assert row.switch.isChecked()

    QTest.keyClick(row.switch, Qt.Key.Key_Space)

    assert saved.changes == [{"pause_on_battery": "false"}]


def test_a_rule_without_a_switch_of_its_own_is_turned_off_by_its_effect(row_of: Callable[..., RuleRow]) -> None:
    row = row_of("cpu_busy")
    saved = Saved(row)

    row.switch.click()

    assert saved.changes == [{"cpu_busy_effect": "off"}]


def test_a_switch_that_could_not_be_written_shows_what_is_in_force(row_of: Callable[..., RuleRow]) -> None:
    row = row_of("on_battery")
    row.switch.click()

    row.show_problem("pause_on_battery", "The disk is full.")

    row.show_settings(loaded())
    assert row.switch.isChecked()
    assert row.problem_shown == "The disk is full."


def test_a_figure_is_written_when_it_is_complete_and_only_then(row_of: Callable[..., RuleRow]) -> None:
    row = row_of("gpu_in_use")
    row.more.click()
    saved = Saved(row)
    field = number(row, "gpu_others_percent")

    field.line.selectAll()
    QTest.keyClicks(field.line, "35")
    assert saved.changes == []
    QTest.keyClick(field.line, Qt.Key.Key_Return)

    assert saved.changes == [{"gpu_others_percent": "35"}]


def test_a_figure_out_of_range_is_answered_and_not_written(row_of: Callable[..., RuleRow]) -> None:
    row = row_of("gpu_in_use")
    row.more.click()
    saved = Saved(row)
    field = number(row, "gpu_others_percent")

    for wrong in ("350", "many", "-1"):
        type_into(field, wrong)
        assert "must be a number from 1 to 100" in field.problem_shown
    assert saved.changes == []
    type_into(field, "20")
    assert field.problem_shown == ""


def test_two_figures_that_only_fit_together_are_written_together(row_of: Callable[..., RuleRow]) -> None:
    row = row_of("gpu_hot")
    row.more.click()
    saved = Saved(row)
    type_into(number(row, "gpu_max_c"), "70")
    row.show_refused()
    row.show_problem("gpu_resume_c", "must be at most gpu_max_c, which is 70")  # refused, nothing was changed
    row.show_settings(loaded())
    assert number(row, "gpu_max_c").line.text() == "70"  # what was typed stays

    type_into(number(row, "gpu_resume_c"), "65")

    assert saved.changes[-1] == {"gpu_max_c": "70", "gpu_resume_c": "65"}
    row.show_settings(loaded(gpu_max_c="70", gpu_resume_c="65"))
    assert number(row, "gpu_resume_c").problem_shown == ""
    assert number(row, "gpu_max_c").change is None


def test_what_a_rule_does_is_chosen_by_words(row_of: Callable[..., RuleRow]) -> None:
    row = row_of("listed_app")
    row.more.click()
    saved = Saved(row)
    field = cast(EffectField, row.fields["listed_app_effect"])
    assert (field.sessions.currentData(), field.seconds.text(), field.memory.currentData()) == ("stop", "5", "unload")

    field.sessions.setFocus()
    QTest.keyClick(field.sessions, Qt.Key.Key_Down)
    assert saved.changes[-1] == {"listed_app_effect": "finish within 5 s, unload"}
    field.seconds.selectAll()
    QTest.keyClicks(field.seconds, "soon")
    QTest.keyClick(field.seconds, Qt.Key.Key_Return)
    assert "seconds" in field.problem_shown
    assert len(saved.changes) == 1
    field.seconds.clear()
    QTest.keyClick(field.seconds, Qt.Key.Key_Return)
    assert saved.changes[-1] == {"listed_app_effect": "finish, unload"}
    field.sessions.setCurrentIndex(2)
    field.sessions.activated.emit(2)
    assert saved.changes[-1] == {"listed_app_effect": "only tell"}
    assert field.memory.isHidden()


def test_settings_from_elsewhere_are_shown_and_are_no_change(row_of: Callable[..., RuleRow]) -> None:
    row = row_of("listed_app")
    saved = Saved(row)
    row.show_settings(loaded(listed_app_effect="FINISH  within 7.50 s,keep", listed_app_hold_s="3"))

    field = cast(EffectField, row.fields["listed_app_effect"])
    assert (field.seconds.text(), field.change) == ("7.5", None)
    assert "Lets sessions finish within 7.5 s, keeps the model in memory." in row.said
    assert saved.changes == []


def test_an_effect_is_not_edited_while_the_rule_is_off(row_of: Callable[..., RuleRow]) -> None:
    row = row_of("listed_app")
    row.show_settings(loaded())
    row.show_settings(loaded(listed_app_effect="off"))
    field = row.fields["listed_app_effect"]

    assert not any(target.isEnabled() for target in field.focus_targets())
    assert field.change is None
    assert not row.switch.isChecked()


@pytest.mark.parametrize(
    ("code", "name", "text"),
    [
        ("in_use", "idle_minutes", "7"),
        ("in_use", "pause_while_in_use", "true"),
        ("schedule", "schedule", "never"),
        ("listed_app", "listed_apps", "steam"),
        ("metered", "metered_effect", "only tell"),
    ],
)
def test_what_the_environment_set_is_greyed_and_says_so(
    row_of: Callable[..., RuleRow], code: str, name: str, text: str
) -> None:
    row = row_of(code, **{name: text})
    row.more.click()

    field = row.fields.get(name)
    targets = field.focus_targets() if field else (row.switch,)
    assert not any(target.isEnabled() for target in targets)
    said = " ".join(label.text() for label in row.findChildren(type(row._problem)) if label.isVisible())
    assert f"TITAN_{name.upper()}" in said


def test_how_it_stands_is_said_in_words(row_of: Callable[..., RuleRow]) -> None:
    row = row_of("full_screen")
    row.show_rule(RuleView(code="full_screen", is_on=True, holds=True, sentence="mpv fills the screen."))
    assert row.said.splitlines()[:2] == ["Holds now", "mpv fills the screen."]
    assert row.edge is not None

    row.show_rule(RuleView(code="full_screen", is_on=True, unknown="No desktop session."))
    assert row.said.splitlines()[:2] == ["Can't be told here", "No desktop session."]
    assert row.edge is None

    row.show_rule(RuleView(code="full_screen", is_on=True))
    assert row.said.splitlines()[0] == "Not now"


def test_the_hours_are_drawn_or_chosen(row_of: Callable[..., RuleRow]) -> None:
    row = row_of("schedule")
    row.more.click()
    saved = Saved(row)
    field = cast(ScheduleField, row.fields["schedule"])

    field.nights.click()
    assert saved.changes == [{"schedule": "mon-sun 22-06"}]
    field.grid.show_grid(NEVER)
    field.grid.edited.emit(NEVER)
    assert saved.changes[-1] == {"schedule": "never"}
    row.show_settings(loaded(schedule="weekends all"))
    assert field.grid.grid == parse_schedule("sat-sun all")
    assert field.change is None  # another text for the same hours


def apps_of(row: RuleRow) -> AppsField:
    assert row.apps is not None
    return row.apps


def test_programs_are_added_from_what_runs(qtbot: QtBot, row_of: Callable[..., RuleRow]) -> None:
    row = row_of("listed_app")
    row.more.click()
    saved, apps = Saved(row), apps_of(row)
    with qtbot.waitSignal(row.running_requested, timeout=0):
        apps.menu.actions()[0].trigger()
    picker = apps.picker
    assert picker is not None
    assert not picker.add.isEnabled()
    row.apps.show_running(["blender", "firefox", "steam"]) if row.apps else None

    QTest.keyClicks(picker.search, "st")
    hidden = [picker.list.item(number).isHidden() for number in range(3)]
    assert hidden == [True, True, False]
    picker.list.item(2).setSelected(True)
    picker.buttons.button(QDialogButtonBox.StandardButton.Cancel)
    picker.add.click()

    assert apps.apps == ("steam",)
    assert saved.changes == [{"listed_apps": "steam"}]
    assert apps.picker is None


def test_a_dialog_that_is_cancelled_changes_nothing(row_of: Callable[..., RuleRow]) -> None:
    row = row_of("listed_app")
    row.more.click()
    saved, apps = Saved(row), apps_of(row)
    apps.menu.actions()[0].trigger()
    assert apps.picker is not None

    apps.picker.buttons.button(QDialogButtonBox.StandardButton.Cancel).click()
    apps.show_running(["late"])

    assert apps.picker is None
    assert saved.changes == []


def test_files_and_folders_are_added_and_a_comma_is_answered(
    row_of: Callable[..., RuleRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = row_of("listed_app")
    row.more.click()
    saved, apps = Saved(row), apps_of(row)
    answers: list[Any] = ["/opt/game/run", "/opt/a, b/run", ""]
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (answers.pop(0), ""))
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "/games")

    apps.menu.actions()[1].trigger()
    apps.menu.actions()[2].trigger()
    assert saved.changes[-1] == {"listed_apps": "/opt/game/run,/games"}
    apps.menu.actions()[1].trigger()
    assert "comma" in apps.problem_shown
    apps.menu.actions()[1].trigger()  # cancelled

    assert len(saved.changes) == 2
    assert apps.problem_shown == ""


def test_programs_are_removed_by_button_and_by_key(row_of: Callable[..., RuleRow]) -> None:
    row = row_of("listed_app")
    row.more.click()
    apps = apps_of(row)
    apps.add_apps(["a", "b", "c"])
    saved = Saved(row)
    assert not apps.remove.isEnabled()

    apps.list.item(0).setSelected(True)
    apps.remove.click()
    assert saved.changes[-1] == {"listed_apps": "b,c"}
    apps.list.setFocus()
    apps.list.item(0).setSelected(True)
    apps.list.item(1).setSelected(True)
    QTest.keyClick(apps.list, Qt.Key.Key_Delete)

    assert apps.apps == ()
    assert saved.changes[-1] == {"listed_apps": ""}  # an empty list is a change too
    assert isinstance(apps.list, QListWidget)


def test_every_control_has_a_name_and_the_keyboard_reaches_all_in_order(row_of: Callable[..., RuleRow]) -> None:
    for code in FORMS:
        row = row_of(code)
        row.more.click()
        targets = row.focus_targets()
        assert len(targets) >= 3
        for target in targets:
            assert target.accessibleName() or getattr(target, "text", lambda: "")(), (code, target)
