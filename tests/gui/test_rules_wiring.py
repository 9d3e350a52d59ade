"""From a switch on the rules page to the file and the running agent, and back."""

from __future__ import annotations

import sys
import threading
from typing import cast

import pytest
from pytestqt.qtbot import QtBot

from core.commands import CommandOutcome
from core.config_edit import change_settings
from core.config_load import load_settings
from core.errors import AgentError, StorageError
from tests.fakes.fake_bridge import FakeBridge
from tests.fakes.page_words import words
from titan_gui.bridge import AgentBridge
from titan_gui.pages.rules import RulesPage
from titan_gui.pages.settings import SettingsPage
from titan_gui.rules_wiring import RulesWiring, running_programs
from titan_gui.settings_files import SettingsFiles
from titan_gui.widgets.rule_fields import NumberField

pytestmark = pytest.mark.qt_log_ignore("propagateSizeHints")


@pytest.fixture
def page(qtbot: QtBot, files: SettingsFiles, bridge: FakeBridge, settings: SettingsPage) -> RulesPage:
    made = RulesPage()
    qtbot.addWidget(made)
    RulesWiring(made, files, cast(AgentBridge, bridge), list_programs=lambda: ["blender", "steam"])
    with qtbot.waitExposed(made):
        made.show()
    return made


def test_a_switch_is_written_and_the_agent_takes_it(
    qtbot: QtBot, page: RulesPage, files: SettingsFiles, bridge: FakeBridge
) -> None:
    with qtbot.waitSignal(files.saved):
        page.rows["on_battery"].switch.click()

    assert load_settings({}).settings.pause_on_battery is False
    assert bridge.commands == [("apply_settings", {})]
    assert "Off" in page.rows["on_battery"].said


def test_a_change_on_the_settings_page_shows_here_and_the_other_way_round(
    qtbot: QtBot, page: RulesPage, settings: SettingsPage, files: SettingsFiles
) -> None:
    with qtbot.waitSignal(files.saved):
        files.save({"idle_minutes": "9", "pause_while_in_use": "true"})
    assert "After 9 min" in page.rows["in_use"].said

    with qtbot.waitSignal(files.saved):
        page.rows["metered"].switch.click()
    assert settings.editor("pause_on_metered").change == "false"
    assert not settings.editor("pause_on_metered").is_changed


def test_figures_that_contradict_are_answered_where_they_stand(
    qtbot: QtBot, page: RulesPage, settings: SettingsPage, files: SettingsFiles
) -> None:
    row = page.rows["gpu_hot"]
    field = cast(NumberField, row.fields["gpu_max_c"])
    field.line.setText("60")
    field.line.editingFinished.emit()

    qtbot.waitUntil(lambda: bool(row.fields["gpu_resume_c"].problem_shown))

    assert "must be at most" in row.fields["gpu_resume_c"].problem_shown
    assert field.line.text() == "60"
    assert load_settings({}).settings.gpu_max_c == 80
    assert "must be at most" not in words(settings)  # that page has changed nothing


def test_a_disk_that_takes_nothing_is_said_and_the_switch_goes_back(
    qtbot: QtBot, bridge: FakeBridge, page: RulesPage
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise StorageError("Cannot write settings.toml: no space left", hint="Free some space.")

    full = SettingsFiles(load_settings({}), environ={}, change=refuse)
    other = RulesPage()
    qtbot.addWidget(other)
    RulesWiring(other, full, cast(AgentBridge, bridge))
    other.show()

    other.rows["full_screen"].switch.click()
    qtbot.waitUntil(lambda: bool(other.problem_shown))

    assert "no space left" in other.problem_shown
    assert other.rows["full_screen"].switch.isChecked()


def test_an_agent_that_cannot_take_a_rule_is_heard_once(
    qtbot: QtBot, page: RulesPage, files: SettingsFiles, bridge: FakeBridge
) -> None:
    bridge.command_failed.emit("apply_settings", AgentError("not of this page"))
    assert page.problem_shown == ""
    with qtbot.waitSignal(files.saved):
        page.rows["full_screen"].switch.click()

    bridge.command_failed.emit("apply_settings", AgentError("the file can't be read"))

    assert "can't be read" in page.problem_shown
    bridge.command_finished.emit("apply_settings", CommandOutcome("", {}))


def test_programs_that_run_are_listed_off_the_qt_thread(qtbot: QtBot, files: SettingsFiles, bridge: FakeBridge) -> None:
    threads: list[threading.Thread] = []

    def look() -> list[str]:
        threads.append(threading.current_thread())
        return ["blender", "steam"]

    page = RulesPage()
    qtbot.addWidget(page)
    RulesWiring(page, files, cast(AgentBridge, bridge), list_programs=look)
    page.show()
    apps = page.rows["listed_app"].apps
    assert apps is not None
    apps.menu.actions()[0].trigger()
    picker = apps.picker
    assert picker is not None

    qtbot.waitUntil(lambda: picker.list.count() == 2)

    assert threads[0] is not threading.main_thread()
    picker.reject()


def test_this_very_program_runs_and_is_seen() -> None:
    names = running_programs()

    assert any("python" in name.lower() or "pytest" in name.lower() for name in names), sys.executable
    assert names == sorted(set(names), key=str.lower)


def test_a_list_changed_by_command_is_followed(qtbot: QtBot, page: RulesPage, files: SettingsFiles) -> None:
    change_settings({"listed_apps": "steam,/games"}, {})
    with qtbot.waitSignal(files.loaded):
        files.reload()

    apps = page.rows["listed_app"].apps
    assert apps is not None
    assert apps.apps == ("steam", "/games")
