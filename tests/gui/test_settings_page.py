"""The settings page: what it shows of each setting, what it collects, and what it says of a save."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QCheckBox, QComboBox, QLineEdit, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from core import __version__
from core.atomic_file import Disk
from core.config import DECLARATIONS
from core.config_edit import change_settings
from core.config_load import load_settings
from core.errors import StorageError
from core.secrets import SecretStore
from core.snapshot import AgentSnapshot
from core.state import AgentState
from tests.fakes.keyrings import FakeKeyring
from tests.fakes.page_words import words
from titan_gui.pages.settings import SettingsPage
from titan_gui.settings_files import SettingsFiles
from titan_gui.settings_text import HIDDEN

# The offscreen display says this of every window that is shown.
pytestmark = pytest.mark.qt_log_ignore("propagateSizeHints")

KEY = "sk-canary-77aa"


@pytest.fixture
def page(qtbot: QtBot) -> SettingsPage:
    widget = SettingsPage()
    qtbot.addWidget(widget)
    widget.show_settings(load_settings({}))
    return widget


def type_into(page: SettingsPage, name: str, text: str) -> None:
    """As a keyboard does it."""
    line = page.editor(name).control
    assert isinstance(line, QLineEdit)
    line.setText(text)
    line.textEdited.emit(text)


def button(page: QWidget, text: str) -> QPushButton:
    return next(found for found in page.findChildren(QPushButton) if found.text().startswith(text))


def test_every_setting_is_there_with_help_range_and_an_accessible_name(page: SettingsPage) -> None:
    for name, declaration in DECLARATIONS.items():
        if name not in HIDDEN:
            assert declaration.help in words(page.editor(name))
            assert page.editor(name).control.accessibleName()
    assert "1 to 256 · Default: 4 · Counts at once" in words(page.editor("max_concurrent_jobs"))


def test_it_says_where_settings_are_kept_and_which_version_this_is(page: SettingsPage) -> None:
    assert f"settings.toml\nTitanCompute {__version__}" in words(page)


def test_nothing_is_changed_before_somebody_types(page: SettingsPage) -> None:
    assert page.changes == {}
    assert not button(page, "Save").isEnabled()
    assert not button(page, "Undo").isEnabled()


def test_what_the_environment_set_is_grey_and_says_so(page: SettingsPage) -> None:
    page.show_settings(load_settings({"AGENT_PORT": "6000"}, {"log_level": "debug"}))
    port = page.editor("agent_port")
    assert not port.control.isEnabled()
    assert "Set by environment AGENT_PORT" in words(port)
    assert not page.editor("log_level").control.isEnabled()
    assert page.editor("public_host").control.isEnabled()
    assert port.change == "6000"
    assert not port.is_changed


def test_save_sends_exactly_what_was_changed(page: SettingsPage, qtbot: QtBot) -> None:
    type_into(page, "agent_port", "6001")
    check = page.editor("notifications").control
    assert isinstance(check, QCheckBox)
    check.click()
    with qtbot.waitSignal(page.save_requested) as sent:
        button(page, "Save").click()
    assert sent.args == [{"agent_port": "6001", "notifications": "false"}]


def test_bad_text_stands_at_its_field_and_cannot_be_saved(page: SettingsPage) -> None:
    type_into(page, "queue_size", "many")
    assert page.editor("queue_size").problem_shown == "Queue must be a whole number from 0 to 1024."
    assert not button(page, "Save").isEnabled()
    type_into(page, "queue_size", "5")
    assert page.editor("queue_size").problem_shown == ""
    assert button(page, "Save").isEnabled()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=80))
def test_random_text_in_every_field_raises_nothing(page: SettingsPage, text: str) -> None:
    for name in DECLARATIONS:
        if name not in HIDDEN and isinstance(page.editor(name).control, QLineEdit):
            type_into(page, name, text)
            assert isinstance(page.editor(name).problem, str)


def test_reset_goes_back_to_the_default_as_a_removed_line(page: SettingsPage) -> None:
    page.show_settings(change_settings({"queue_size": "9", "share": "by_hand"}, {}))
    for name in ("queue_size", "share"):
        reset = next(b for b in page.editor(name).findChildren(QAbstractButton) if b.text() == "Reset")
        reset.click()
        assert not reset.isEnabled()
    assert page.changes == {"queue_size": None, "share": None}
    line = page.editor("queue_size").control
    assert isinstance(line, QLineEdit)
    assert line.text() == "0"
    share = page.editor("share").control
    assert isinstance(share, QComboBox)
    assert share.currentData() == "always"


def test_typing_survives_a_new_state_of_the_file(page: SettingsPage) -> None:
    type_into(page, "queue_size", "5")
    page.show_settings(change_settings({"queue_wait_s": "3"}, {}))
    assert page.changes == {"queue_size": "5"}
    assert page.editor("queue_wait_s").change == "3"


def test_undo_drops_everything_typed(page: SettingsPage) -> None:
    type_into(page, "queue_size", "x")
    button(page, "Undo").click()
    assert page.changes == {}
    assert page.editor("queue_size").problem_shown == ""


def test_a_worked_out_default_is_a_hint_and_no_value(page: SettingsPage) -> None:
    line = page.editor("agent_id").control
    assert isinstance(line, QLineEdit)
    assert line.text() == ""
    assert "random" in line.placeholderText()


def test_search_leaves_only_what_was_looked_for(page: SettingsPage, qtbot: QtBot) -> None:
    page.show()
    search = page.findChild(QLineEdit)
    assert isinstance(search, QLineEdit)
    search.setText("heartbeat")
    assert page.editor("heartbeat_interval_s").isVisible()
    assert not page.editor("agent_port").isVisible()
    search.setText("nothing of the kind")
    assert "No setting has to do with that." in words(page)
    page.focus_setting("agent_port")
    assert page.editor("agent_port").isVisible()


def test_what_waits_for_a_restart_is_named_with_a_button(page: SettingsPage, qtbot: QtBot) -> None:
    page.show()
    assert not button(page, "Restart").isVisible()
    page.show_applied(("queue_size",), ("agent_port",))
    assert "It counts from now on: Queue." in words(page)
    assert "Applies on restart: Port." in words(page)
    with qtbot.waitSignal(page.restart_requested):
        button(page, "Restart").click()
    page.render(dataclasses.replace(AgentSnapshot(), running_jobs=2))
    assert "Sessions that run now may finish" in words(page)
    page.show_restarted()
    assert not button(page, "Restart").isVisible()


def test_what_is_saved_after_a_failure_is_followed_by_a_start(page: SettingsPage, qtbot: QtBot) -> None:
    page.show()
    page.render(AgentSnapshot(state=AgentState.FAILED))
    assert not button(page, "Start now").isVisible()
    page.show_saved(("agent_port",))
    with qtbot.waitSignal(page.restart_requested):
        button(page, "Start now").click()
    page.show_restarted()
    page.render(AgentSnapshot(state=AgentState.READY))
    assert not button(page, "Restart now").isVisible()
    assert "not running" not in words(page)


# With real files behind it


@pytest.fixture
def files(page: SettingsPage) -> Iterator[SettingsFiles]:
    loaded = load_settings({})
    keyring = FakeKeyring()
    store = SecretStore(loaded.paths.secrets_dir, "default", environ={}, open_keyring=lambda: keyring)
    service = SettingsFiles(loaded, environ={}, store=store)
    page.save_requested.connect(service.save)
    service.loaded.connect(page.show_settings)
    service.saved.connect(page.show_saved)
    service.save_failed.connect(page.show_error)
    yield service
    assert service.wait()


def test_a_saved_change_is_in_the_file_and_is_no_change_any_more(
    page: SettingsPage, files: SettingsFiles, qtbot: QtBot
) -> None:
    type_into(page, "queue_size", "6")
    with qtbot.waitSignal(files.saved):
        button(page, "Save").click()
    assert load_settings({}).settings.queue_size == 6
    assert page.changes == {}
    assert "Saved." in words(page)
    assert "Set in the settings file" in words(page.editor("queue_size"))


def test_settings_that_contradict_each_other_stand_at_the_field(
    page: SettingsPage, files: SettingsFiles, qtbot: QtBot
) -> None:
    box = page.editor("engine").control
    assert isinstance(box, QComboBox)
    box.setCurrentIndex(box.findData("openai"))
    box.activated.emit(box.currentIndex())
    with qtbot.waitSignal(files.save_failed):
        button(page, "Save").click()
    assert "Needs “OpenAI-compatible server”" in page.editor("engine").problem_shown
    assert page.changes == {"engine": "openai"}
    assert load_settings({}).settings.engine == "auto"


class FullDisk(Disk):
    def write(self, descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_said_and_nothing_typed_is_lost(page: SettingsPage, qtbot: QtBot) -> None:
    def change(*args: object, **details: object) -> object:
        return change_settings(*args, **details, disk=FullDisk())  # type: ignore[arg-type]

    service = SettingsFiles(load_settings({}), environ={}, change=change)
    page.save_requested.connect(service.save)
    service.save_failed.connect(page.show_error)
    type_into(page, "queue_size", "6")
    with qtbot.waitSignal(service.save_failed) as failed:
        button(page, "Save").click()
    assert failed.args is not None
    assert isinstance(failed.args[0], StorageError)
    assert "The disk is full: free some space" in words(page)
    assert page.changes == {"queue_size": "6"}
    assert button(page, "Save").isEnabled()
    assert load_settings({}).settings.queue_size == 0


def test_a_read_only_file_is_said_with_its_remedy(
    page: SettingsPage, files: SettingsFiles, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_settings({"queue_size": "1"}, {})
    monkeypatch.setattr("core.atomic_file.os.access", lambda path, mode: False)  # root may write everything
    type_into(page, "queue_size", "6")
    with qtbot.waitSignal(files.save_failed):
        button(page, "Save").click()
    assert "read-only" in words(page)
    assert page.changes == {"queue_size": "6"}


def test_a_secret_is_set_and_removed_and_never_shown(page: SettingsPage, files: SettingsFiles, qtbot: QtBot) -> None:
    files.secrets_read.connect(page.show_secrets)
    page.secret_set_requested.connect(files.set_secret)
    page.secret_removal_requested.connect(files.remove_secret)
    editor = page.secret_editor("openai_api_key")
    line = editor.findChild(QLineEdit)
    assert isinstance(line, QLineEdit)
    assert line.echoMode() is QLineEdit.EchoMode.Password
    with qtbot.waitSignal(files.secrets_read):
        QTest.keyClicks(line, KEY)
        QTest.keyClick(line, Qt.Key.Key_Return)
    assert line.text() == ""
    assert "keyring" in editor.state_shown
    assert KEY not in words(page)
    with qtbot.waitSignal(files.secrets_read):
        button(editor, "Remove").click()
    assert "Not set" in editor.state_shown


def test_an_unusable_secret_is_refused_without_repeating_it(
    page: SettingsPage, files: SettingsFiles, qtbot: QtBot, tmp_path: Path
) -> None:
    files.secret_failed.connect(lambda error: page.show_secret_error("openai_api_key", error))
    with qtbot.waitSignal(files.secret_failed):
        files.set_secret("openai_api_key", f"{KEY} with blanks")
    shown = page.secret_editor("openai_api_key").problem_shown
    assert "without blanks" in shown
    assert KEY not in shown
