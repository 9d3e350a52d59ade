"""From a click on Save to the running agent and back to the page."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QLineEdit, QPushButton
from pytestqt.qtbot import QtBot

from core.commands import CommandOutcome
from core.config_edit import change_settings
from core.errors import AgentError, ConfigError
from tests.fakes.fake_bridge import FakeBridge
from tests.fakes.page_words import words
from titan_gui.pages.settings import SettingsPage
from titan_gui.settings_files import SettingsFiles


@pytest.fixture
def page(settings: SettingsPage) -> SettingsPage:
    return settings


def save(page: SettingsPage, name: str, text: str) -> None:
    line = page.editor(name).control
    assert isinstance(line, QLineEdit)
    line.setText(text)
    line.textEdited.emit(text)
    next(found for found in page.findChildren(QPushButton) if found.text() == "Save").click()


def test_a_saved_change_is_applied_by_the_agent_and_the_page_says_what_waits(
    page: SettingsPage, files: SettingsFiles, bridge: FakeBridge, qtbot: QtBot
) -> None:
    with qtbot.waitSignal(files.saved):
        save(page, "agent_port", "6001")
    assert bridge.commands == [("apply_settings", {})]
    bridge.command_finished.emit("apply_settings", CommandOutcome("", {"applied": [], "restart": ["agent_port"]}))
    assert page.pending_restart == ("agent_port",)
    page.restart_requested.emit()
    assert bridge.restarts[0].settings.agent_port == 6001
    bridge.agent_started.emit()
    assert not page.pending_restart


def test_without_an_agent_the_change_is_only_written(
    page: SettingsPage, files: SettingsFiles, bridge: FakeBridge, qtbot: QtBot
) -> None:
    bridge.is_running = False
    with qtbot.waitSignal(files.saved):
        save(page, "queue_size", "2")
    assert bridge.commands == []
    assert "Saved." in words(page)


def test_an_agent_that_cannot_take_the_change_is_heard(
    page: SettingsPage, files: SettingsFiles, bridge: FakeBridge, qtbot: QtBot
) -> None:
    bridge.command_failed.emit("apply_settings", AgentError("not asked for by this page"))
    assert "not asked for" not in words(page)
    with qtbot.waitSignal(files.saved):
        save(page, "queue_size", "2")
    bridge.command_failed.emit("apply_settings", ConfigError(["something else is wrong"], hint="Look there."))
    assert "something else is wrong" in words(page)


def test_a_command_that_changes_the_file_is_followed(
    page: SettingsPage, files: SettingsFiles, bridge: FakeBridge, qtbot: QtBot
) -> None:
    change_settings({"supported_models": "new-model"}, {})
    with qtbot.waitSignal(files.loaded):
        bridge.command_finished.emit("offer_model", CommandOutcome("", {}))
    assert page.editor("supported_models").change == "new-model"
