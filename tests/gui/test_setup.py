"""The first questions: each step's default, Back, closing halfway, and that nothing happens before the last click."""

from __future__ import annotations

import errno
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import cast

import pytest
from PySide6.QtCore import QSize, Qt, QUrl
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from core.atomic_file import Disk
from core.commands import CommandOutcome
from core.config import Settings
from core.config_edit import change_settings
from core.config_load import LoadedSettings, load_settings
from core.engines import EngineModel
from core.errors import AgentError, ModelError
from core.pull_offer import PullChoice, PullOffer
from core.snapshot import AgentSnapshot, PullView
from tests.fakes import look_over
from tests.fakes.fake_bridge import FakeBridge
from tests.fakes.snapshots import busy_snapshot
from titan_gui.bridge import AgentBridge
from titan_gui.pages.setup import SetupWindow
from titan_gui.setup_draft import DRAFT_NAME, SetupDraft, Step, read_draft
from titan_gui.setup_wiring import SetupWiring
from titan_gui.widgets.page_area import PageArea

# The offscreen display says this of every window that is shown.
pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")

REMOTE = "coordinator.example.com:50051"
NOISE = EngineModel(name="noise", size_bytes=442_815, is_selftest=True)


def held_snapshot(*models: EngineModel, **changes: object) -> AgentSnapshot:
    return replace(busy_snapshot(), models=(*models, NOISE), offered_models=(), **changes)  # type: ignore[arg-type]


@pytest.fixture
def loaded() -> LoadedSettings:
    loaded = load_settings({})
    loaded.paths.ensure()
    return loaded


@pytest.fixture
def bridge() -> FakeBridge:
    bridge = FakeBridge()
    bridge.snapshot = held_snapshot(EngineModel(name="mine:1b", size_bytes=1_000_000_000))
    return bridge


@pytest.fixture
def setup(qtbot: QtBot, loaded: LoadedSettings, bridge: FakeBridge) -> Iterator[SetupWiring]:
    wiring = SetupWiring(loaded, cast(AgentBridge, bridge), environ={})
    qtbot.addWidget(wiring.window)
    wiring.window.bring_up()
    yield wiring
    assert wiring.wait()


def press(window: QWidget, text: str) -> None:
    QApplication.processEvents()  # what a snapshot has just added is shown
    found = [button for button in window.findChildren(QPushButton) if button.text() == text and button.isVisible()]
    assert len(found) == 1, text
    assert found[0].isEnabled(), text
    found[0].click()


def words(window: QWidget) -> str:
    return "\n".join(label.text() for label in window.findChildren(QLabel) if label.isVisible())


def go_to(window: SetupWindow, step: Step) -> None:
    while window.step < step:
        before = window.step
        press(window, "Next")
        assert window.step == before + 1, window.problem_shown


def answer_port(bridge: FakeBridge, problem: str = "") -> None:
    name, arguments = bridge.commands[-1]
    assert name == "check_port"
    bridge.command_finished.emit(name, CommandOutcome("", {"port": int(arguments["port"]), "problem": problem}))


def commands(bridge: FakeBridge) -> list[str]:
    return [name for name, _ in bridge.commands]


def test_every_step_has_a_default_so_that_next_is_enough(setup: SetupWiring, bridge: FakeBridge) -> None:
    go_to(setup.window, Step.TEST)
    draft = setup.window.draft
    assert draft.public_host == "localhost"
    assert (draft.agent_port, draft.max_concurrent_jobs, draft.share) == ("50052", 1, "always")
    assert draft.model == "mine:1b"


def test_nothing_is_written_or_started_before_the_last_click(
    setup: SetupWiring, bridge: FakeBridge, loaded: LoadedSettings
) -> None:
    go_to(setup.window, Step.TEST)
    assert not loaded.paths.config_file.exists()
    assert bridge.restarts == []
    assert set(commands(bridge)) <= {"find_addresses", "check_port", "check_idle"}


def test_the_coordinator_s_test_says_what_it_found(setup: SetupWiring, bridge: FakeBridge) -> None:
    step = setup.window.coordinator
    step.endpoint.setText(REMOTE)
    step.endpoint.textEdited.emit(REMOTE)
    press(step, "Test")
    assert bridge.commands[-1] == ("test_coordinator", {"endpoint": REMOTE, "tls": "false"})
    answer = {"is_reached": True, "has_key": True, "sentence": "A coordinator answers.", "hint": ""}
    bridge.command_finished.emit("test_coordinator", CommandOutcome("", answer))
    assert step.said == "A coordinator answers."
    press(step, "Test")
    bridge.command_finished.emit(
        "test_coordinator", CommandOutcome("", answer | {"has_key": False, "sentence": "No.", "hint": "Look there."})
    )
    assert step.said == "No. Look there."
    press(step, "Test")
    bridge.command_failed.emit("test_coordinator", AgentError("the agent has stopped", hint="Start it again."))
    assert "The agent has stopped." in step.said
    press(setup.window, "Next")  # a coordinator that is away doesn't keep anybody from going on
    assert setup.window.step is Step.ADDRESS


def test_a_step_with_a_wrong_answer_is_not_left_and_says_why(setup: SetupWiring) -> None:
    window = setup.window
    window.coordinator.endpoint.setText("http://x")
    press(window, "Next")
    assert window.step is Step.COORDINATOR
    assert "is a URL" in window.problem_shown
    window.coordinator.endpoint.setText(REMOTE)
    window.coordinator.endpoint.textEdited.emit(REMOTE)
    assert window.problem_shown == ""


def test_found_addresses_fill_the_field_and_are_not_called_verified(setup: SetupWiring, bridge: FakeBridge) -> None:
    window = setup.window
    window.coordinator.endpoint.setText(REMOTE)
    press(window, "Next")
    addresses = [{"host": "192.168.1.20"}, {"host": "10.0.0.1"}]
    bridge.command_finished.emit("find_addresses", CommandOutcome("", {"addresses": addresses}))
    assert window.draft.public_host == "192.168.1.20"
    assert "Not verified yet" in window.address.said
    window.address.host.setEditText("gpu.example.com")
    assert window.draft.public_host == "gpu.example.com"
    press(window, "Back")
    press(window, "Next")
    assert window.draft.public_host == "gpu.example.com"
    assert window.address.host.currentText() == "gpu.example.com"


TAKEN = "Port 50052 is not free on this machine: address already in use."


def test_a_taken_port_keeps_its_step_until_another_one_is_there(setup: SetupWiring, bridge: FakeBridge) -> None:
    window = setup.window
    press(window, "Next")
    answer_port(bridge, TAKEN)
    assert TAKEN in window.address.said
    press(window, "Next")
    assert window.step is Step.ADDRESS
    assert "Type another port" in window.problem_shown
    press(window, "Use a free port")
    assert bridge.commands[-1] == ("find_port", {"port": "50052"})
    bridge.command_finished.emit("find_port", CommandOutcome("Port 50053 is free.", {"port": 50053}))
    assert window.draft.agent_port == "50053"
    assert window.address.said.startswith("Port 50053 is free.")
    assert window.problem_shown == ""
    press(window, "Next")
    assert window.draft.step == Step.SHARE


def test_an_answer_about_another_port_says_nothing_of_this_one(setup: SetupWiring, bridge: FakeBridge) -> None:
    window = setup.window
    press(window, "Next")
    window.address.port.setText("6000")
    answer_port(bridge, TAKEN)
    assert TAKEN not in window.address.said
    press(window, "Next")
    assert window.step is Step.SHARE


def test_a_port_taken_meanwhile_is_found_before_the_last_click_counts(
    setup: SetupWiring, bridge: FakeBridge, loaded: LoadedSettings, qtbot: QtBot
) -> None:
    window = setup.window
    go_to(window, Step.TEST)
    with qtbot.assertNotEmitted(setup.finished):
        press(window, "Start sharing untested")
        answer_port(bridge, TAKEN)
        assert setup.wait()
    assert window.step is Step.ADDRESS
    assert TAKEN in window.address.said
    assert not loaded.paths.config_file.exists()
    window.address.port.setText("6000")
    go_to(window, Step.TEST)
    with qtbot.waitSignal(setup.finished) as done:
        press(window, "Start sharing untested")
        bridge.command_failed.emit("check_port", AgentError("the agent has stopped"))  # nobody can look: no reason
    assert done.args is not None
    assert done.args[0].settings.agent_port == 6000


def test_closing_while_the_port_is_checked_writes_no_settings(
    setup: SetupWiring, bridge: FakeBridge, loaded: LoadedSettings, qtbot: QtBot
) -> None:
    go_to(setup.window, Step.TEST)
    press(setup.window, "Start sharing untested")
    with qtbot.waitSignal(setup.closed):
        setup.window.close()
    answer_port(bridge)
    assert setup.wait()
    assert not loaded.paths.config_file.exists()


def test_what_happened_to_the_old_settings_stands_on_top_of_every_step(setup: SetupWiring, bridge: FakeBridge) -> None:
    notice = "settings.toml was damaged (line 3); it was set aside as settings.toml.damaged-1"
    assert "damaged" not in words(setup.window)
    bridge.snapshot_changed.emit(held_snapshot(notices=(notice,)))
    QApplication.processEvents()
    for step in Step:
        go_to(setup.window, step)
        assert words(setup.window).startswith(f"S{notice[1:]}.")


def after_damage(loaded: LoadedSettings, previous: str) -> SetupWiring:
    """The setup after a damage: the settings file was set aside, and this copy stands beside it."""
    file = loaded.paths.config_file
    file.with_name("settings.toml.damaged-1").write_text("agent_port = = 1")
    file.with_name("settings.toml.previous").write_text(previous)
    return SetupWiring(loaded, cast(AgentBridge, FakeBridge()), environ={})


def is_offered(window: QWidget, text: str) -> bool:
    return any(button.text() == text and button.isVisible() for button in window.findChildren(QPushButton))


@pytest.mark.parametrize("is_whole", [True, False])
def test_after_a_damage_the_previous_settings_are_one_click_away(
    qtbot: QtBot, loaded: LoadedSettings, is_whole: bool
) -> None:
    setup = after_damage(loaded, f"agent_port = 6001\nsetup_done = {str(is_whole).lower()}\n")
    qtbot.addWidget(setup.window)
    setup.window.bring_up()
    finished: list[LoadedSettings] = []
    setup.finished.connect(finished.append)
    qtbot.waitUntil(lambda: is_offered(setup.window, "Use the previous settings"))
    press(setup.window, "Use the previous settings")
    qtbot.waitUntil(lambda: bool(finished) if is_whole else setup.window.draft.agent_port == "6001")
    assert [done.settings.agent_port for done in finished] == ([6001] if is_whole else [])
    assert loaded.paths.config_file.read_text().startswith("agent_port = 6001")
    assert loaded.paths.config_file.with_name("settings.toml.damaged-1").exists()
    assert setup.wait()


def test_previous_settings_that_cannot_be_used_change_nothing(qtbot: QtBot, loaded: LoadedSettings) -> None:
    setup = after_damage(loaded, "agent_port = 700000\n")
    qtbot.addWidget(setup.window)
    setup.window.bring_up()
    qtbot.waitUntil(lambda: is_offered(setup.window, "Use the previous settings"))
    press(setup.window, "Use the previous settings")
    qtbot.waitUntil(lambda: "whole number" in setup.window.problem_shown)
    assert not loaded.paths.config_file.exists()
    assert is_offered(setup.window, "Use the previous settings")
    assert setup.wait()


def test_without_a_damage_no_previous_settings_are_offered(setup: SetupWiring, loaded: LoadedSettings) -> None:
    assert setup.wait()
    QApplication.processEvents()
    assert not is_offered(setup.window, "Use the previous settings")


def test_a_coordinator_that_does_not_answer_is_told_without_grpc_words(setup: SetupWiring, bridge: FakeBridge) -> None:
    said = "Something answers at here:1, but not as a coordinator does: No answer from it: UNIMPLEMENTED: x."
    answer = {"is_reached": True, "has_key": False, "sentence": said, "hint": "Is it the right port?"}
    bridge.command_finished.emit("test_coordinator", CommandOutcome(said, answer))
    shown = "Something answers at here:1, but not as a coordinator does: No answer from it. Is it the right port?"
    assert shown in words(setup.window)


def test_the_summary_says_what_stays_with_me(setup: SetupWiring) -> None:
    window = setup.window
    go_to(window, Step.SHARE)
    window.share.reserve.setValue(8)
    go_to(window, Step.TEST)
    assert "Kept for myself: 2.0 GB of 8.0 GB of graphics memory" in window.test.said


@pytest.mark.parametrize("step", list(Step), ids=lambda step: step.name.lower())
def test_no_words_are_cut_in_a_window_that_is_made_as_small_as_it_goes(setup: SetupWiring, step: Step) -> None:
    window = setup.window
    go_to(window, step)
    window.resize(1, 1)
    for _ in range(10):  # a scroll bar that comes narrows the step, which may want another height
        QApplication.processEvents()
    assert look_over.cut_texts(window) == []


def test_on_a_small_screen_its_buttons_are_not_below_the_edge(
    loaded: LoadedSettings, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    class LowScreen:
        def availableSize(self) -> QSize:
            return QSize(960, 500)

    monkeypatch.setattr(SetupWindow, "screen", lambda window: LowScreen())
    window = SetupWindow(SetupDraft(), loaded.origins)
    qtbot.addWidget(window)
    assert window.size() == QSize(640, 452)


def button_named(window: QWidget, text: str) -> QPushButton:
    return next(button for button in window.findChildren(QPushButton) if button.text() == text and button.isVisible())


def test_enter_on_a_button_presses_that_button(setup: SetupWiring, bridge: FakeBridge) -> None:
    window = setup.window
    go_to(window, Step.SHARE)
    back = button_named(window, "Back")
    for key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
        back.setFocus()
        QTest.keyClick(back, key)
    assert window.step is Step.COORDINATOR
    test = button_named(window, "Test")
    test.setFocus()
    QTest.keyClick(test, Qt.Key.Key_Return)
    assert bridge.commands[-1][0] == "test_coordinator"
    assert window.step is Step.COORDINATOR


def test_each_step_begins_at_its_top(setup: SetupWiring) -> None:
    window = setup.window
    window.resize(1, 1)
    QApplication.processEvents()
    area = window.findChild(PageArea)
    assert isinstance(area, PageArea)
    bar = area.verticalScrollBar()
    bar.setValue(bar.maximum())
    assert bar.value() > 0
    go_to(window, Step.SHARE)
    assert bar.value() == 0


def test_the_window_has_the_program_s_icon(setup: SetupWiring) -> None:
    assert not setup.window.windowIcon().isNull()


def test_back_keeps_every_answer(setup: SetupWiring) -> None:
    window = setup.window
    go_to(window, Step.WHEN)
    window.when.by_hand.click()
    while window.step > 0:
        press(window, "Back")
    go_to(window, Step.WHEN)
    assert window.when.by_hand.isChecked()
    assert window.draft.share == "by_hand"


def test_what_is_kept_is_said_in_numbers(setup: SetupWiring, bridge: FakeBridge) -> None:
    window = setup.window
    go_to(window, Step.SHARE)
    assert "1.0 GB of 8.0 GB stay yours; up to 7.0 GB are lent." in window.share.said
    assert window.draft.reserve_mb == 0  # automatic until somebody moves it
    window.share.reserve.setValue(8)
    assert (window.draft.memory_kind, window.draft.reserve_mb) == ("vram", 2048)
    assert "2.0 GB of 8.0 GB stay yours" in window.share.said
    window.share.sessions.setValue(3)
    assert window.draft.max_concurrent_jobs == 3


def test_memory_that_is_not_measured_is_said(setup: SetupWiring, bridge: FakeBridge) -> None:
    bridge.snapshot_changed.emit(replace(held_snapshot(), machine=None))
    go_to(setup.window, Step.SHARE)
    assert "has not been measured yet" in setup.window.share.said


def test_a_model_is_chosen_from_the_engine_s_with_its_verdict(setup: SetupWiring, bridge: FakeBridge) -> None:
    window = setup.window
    go_to(window, Step.MODEL)
    big = EngineModel(name="a-big:70b", size_bytes=42_000_000_000)
    bridge.snapshot_changed.emit(held_snapshot(big, EngineModel(name="mine:1b", size_bytes=1_000_000_000)))
    texts = [window.model.models.item(row).text() for row in range(window.model.models.count())]
    assert len(texts) == 3  # never the self-test model
    assert texts[2].startswith("Nothing for now")
    assert "Too big. Needs about 46.9 GB" in texts[0]
    assert window.draft.model == "mine:1b"  # the first that fits
    window.model.models.setCurrentRow(0)
    assert window.draft.model == "a-big:70b"


def test_the_first_that_fits_is_put_forward_also_where_enter_brought_one_there(
    setup: SetupWiring, bridge: FakeBridge
) -> None:
    """Enter in a field: the next step's first control gets the keyboard, and a list then chooses its first line."""
    window = setup.window
    big = EngineModel(name="a-big:70b", size_bytes=42_000_000_000)
    bridge.snapshot_changed.emit(held_snapshot(big, EngineModel(name="mine:1b", size_bytes=1_000_000_000)))
    go_to(window, Step.SHARE)
    window.share.sessions.setFocus()
    QTest.keyClick(window.share.sessions, Qt.Key.Key_Return)
    assert window.step is Step.MODEL
    assert window.model.models.hasFocus()
    assert window.draft.model == "mine:1b"


def test_an_address_of_this_computer_is_said_to_be_one(setup: SetupWiring) -> None:
    assert "means this computer itself" in words(setup.window)
    setup.window.coordinator.endpoint.clear()
    QTest.keyClicks(setup.window.coordinator.endpoint, REMOTE)
    assert "means this computer itself" not in words(setup.window)


def test_without_a_model_one_can_go_on_or_get_one(setup: SetupWiring, bridge: FakeBridge) -> None:
    window = setup.window
    bridge.snapshot_changed.emit(held_snapshot())
    go_to(window, Step.MODEL)
    assert "There is no model on this computer yet." in words(window)
    window.model.wanted.setText("new:1b")
    press(window, "Download…")
    assert bridge.commands[-1] == ("look_up_model", {"model": "new:1b"})
    answer_look(bridge, "new:1b")
    press(window, "Download")
    assert bridge.commands[-1] == ("pull_model", {"model": "new:1b"})
    pull = PullView(model="new:1b", status="pulling", completed_bytes=1, total_bytes=4)
    bridge.snapshot_changed.emit(held_snapshot(pulls=(pull,)))
    press(window, "Cancel")
    assert bridge.commands[-1] == ("cancel_pull", {"model": "new:1b"})
    bridge.command_failed.emit("pull_model", ModelError("new:1b is being downloaded already"))
    assert "New:1b is being downloaded already." in words(window)
    bridge.snapshot_changed.emit(held_snapshot(EngineModel(name="new:1b"), EngineModel(name="other:1b")))
    assert window.draft.model == "new:1b"


def answer_look(bridge: FakeBridge, name: str) -> None:
    offer = PullOffer(asked=name, engine="ollama", choices=(PullChoice(pull_name=name),))
    bridge.command_finished.emit("look_up_model", CommandOutcome("", asdict(offer)))


def test_what_came_from_the_hub_under_another_name_is_chosen_too(setup: SetupWiring, bridge: FakeBridge) -> None:
    window = setup.window
    bridge.snapshot_changed.emit(held_snapshot())
    go_to(window, Step.MODEL)
    window.model.wanted.setText("maker/Tiny-GGUF:Q8_0")
    press(window, "Download…")
    bridge.command_failed.emit("look_up_model", ModelError("the hub has no maker/Tiny-GGUF"))
    assert "The hub has no maker/Tiny-GGUF." in words(window)
    press(window, "Look it up")
    answer_look(bridge, "maker/Tiny-GGUF:Q8_0")
    press(window, "Download")
    done = PullView(model="maker/Tiny-GGUF:Q8_0", phase="done", here_as="Tiny-Q8_0")
    bridge.snapshot_changed.emit(
        held_snapshot(EngineModel(name="A-first"), EngineModel(name="Tiny-Q8_0"), pulls=(done,))
    )
    assert window.draft.model == "Tiny-Q8_0"


def finish(setup: SetupWiring, bridge: FakeBridge, qtbot: QtBot) -> LoadedSettings:
    go_to(setup.window, Step.TEST)
    with qtbot.waitSignal(setup.finished) as done:
        press(setup.window, "Start sharing untested")
        answer_port(bridge)
    assert done.args is not None
    return cast(LoadedSettings, done.args[0])


def kept_models(loaded: LoadedSettings) -> object:
    return tomllib.loads(loaded.paths.config_file.read_text())["supported_models"]


def test_finishing_without_a_model_offers_nothing(setup: SetupWiring, bridge: FakeBridge, qtbot: QtBot) -> None:
    bridge.snapshot_changed.emit(held_snapshot())
    done = finish(setup, bridge, qtbot)
    assert kept_models(done) == []
    assert done.settings.supported_models == ()
    assert "none; nothing is offered until you add one" in setup.window.test.said


def test_the_default_model_that_the_owner_declines_is_not_offered(
    setup: SetupWiring, bridge: FakeBridge, qtbot: QtBot
) -> None:
    default = Settings().supported_models[0]
    bridge.snapshot_changed.emit(held_snapshot(EngineModel(name=default, size_bytes=1_000_000_000)))
    go_to(setup.window, Step.MODEL)
    setup.window.model.models.setCurrentRow(1)
    press(setup.window, "Back")
    press(setup.window, "Next")
    assert setup.window.model.models.currentRow() == 1  # declined is declined
    assert kept_models(finish(setup, bridge, qtbot)) == []


def test_a_model_that_comes_after_the_question_is_not_offered(
    setup: SetupWiring, bridge: FakeBridge, qtbot: QtBot
) -> None:
    bridge.snapshot_changed.emit(held_snapshot())
    go_to(setup.window, Step.TEST)
    default = Settings().supported_models[0]
    bridge.snapshot_changed.emit(held_snapshot(EngineModel(name=default, size_bytes=1_000_000_000)))
    assert kept_models(finish(setup, bridge, qtbot)) == []


def test_without_a_model_the_folder_and_the_hub_s_site_are_one_click_away(
    loaded: LoadedSettings, bridge: FakeBridge, qtbot: QtBot
) -> None:
    opened: list[str] = []

    def open_url(url: QUrl) -> bool:
        opened.append(url.toLocalFile() or url.toString())
        return True

    setup = SetupWiring(loaded, cast(AgentBridge, bridge), environ={}, open_url=open_url)
    qtbot.addWidget(setup.window)
    setup.window.bring_up()
    bridge.snapshot_changed.emit(held_snapshot(engine=replace(busy_snapshot().engine, name="embedded")))
    go_to(setup.window, Step.MODEL)
    assert f"Models folder: {loaded.settings.models_dir}" in words(setup.window)
    press(setup.window, "Open the folder")
    press(setup.window, "Open huggingface.co")
    qtbot.waitUntil(lambda: len(opened) == 2)
    assert sorted(opened) == sorted([str(loaded.settings.models_dir), "https://huggingface.co"])
    assert setup.wait()


def test_the_test_asks_the_chosen_model_and_shows_its_speed(setup: SetupWiring, bridge: FakeBridge) -> None:
    window = setup.window
    go_to(window, Step.TEST)
    press(window.test, "Run the test")
    assert bridge.commands[-1] == ("self_test", {"model": "mine:1b"})
    last = next(button for button in window.findChildren(QPushButton) if button.text().startswith("Start sharing"))
    assert not last.isEnabled()  # while it runs
    result = {"tokens_per_second": "43.21", "time_to_first_token_ms": "312"}
    bridge.command_finished.emit("self_test", CommandOutcome("", result))
    assert "It works: 43.2 tokens/s, the first one after 0.3 s." in window.test.said
    assert last.text() == "Start sharing"
    press(window.test, "Run the test again")
    bridge.command_failed.emit("self_test", AgentError("the engine gave no first token in time", hint="titan doctor"))
    assert "The test failed. The engine gave no first token in time." in window.test.said
    assert last.text() == "Start sharing untested"


def suggestions(window: SetupWindow) -> list[str]:
    buttons = window.test.findChildren(QPushButton)
    return [button.text() for button in buttons if "Allow" in button.text() and not button.isHidden()]


def test_a_fast_model_suggests_more_sessions_and_the_person_takes_them(setup: SetupWiring, bridge: FakeBridge) -> None:
    window = setup.window
    go_to(window, Step.TEST)
    press(window.test, "Run the test")
    bridge.command_finished.emit("self_test", CommandOutcome("", {"tokens_per_second": "35.4"}))
    assert "Sessions at once: 1" in window.test.said
    assert suggestions(window) == ["Allow 3 sessions at once"]
    press(window.test, "Allow 3 sessions at once")
    assert "Sessions at once: 3" in window.test.said
    assert window.draft.max_concurrent_jobs == 3
    assert not suggestions(window)
    press(window, "Back")
    go_to(window, Step.TEST)
    assert "Sessions at once: 3" in window.test.said


def test_a_slow_model_and_the_built_in_one_suggest_nothing(setup: SetupWiring, bridge: FakeBridge) -> None:
    window = setup.window
    go_to(window, Step.TEST)
    press(window.test, "Run the test")
    bridge.command_finished.emit("self_test", CommandOutcome("", {"tokens_per_second": "19.9"}))
    assert not suggestions(window)
    bridge.snapshot_changed.emit(held_snapshot())
    press(window.test, "Run the test again")
    bridge.command_finished.emit("self_test", CommandOutcome("", {"tokens_per_second": "900"}))
    assert not suggestions(window)


def test_without_a_model_the_built_in_one_is_tested_and_called_so(setup: SetupWiring, bridge: FakeBridge) -> None:
    window = setup.window
    bridge.snapshot_changed.emit(held_snapshot())
    go_to(window, Step.TEST)
    press(window.test, "Run the test")
    assert bridge.commands[-1] == ("self_test", {"model": "noise"})
    bridge.command_finished.emit("self_test", CommandOutcome("", {"tokens_per_second": "900", "bad": object()}))
    assert "built-in test model" in window.test.said
    assert "nothing is offered until you add one" in window.test.said


def test_a_self_test_that_somebody_else_asked_for_is_not_ours(setup: SetupWiring, bridge: FakeBridge) -> None:
    go_to(setup.window, Step.TEST)
    bridge.command_finished.emit("self_test", CommandOutcome("", {"tokens_per_second": "1"}))
    assert "It works" not in setup.window.test.said


def test_the_last_click_writes_the_settings_and_asks_for_the_start(
    setup: SetupWiring, bridge: FakeBridge, loaded: LoadedSettings, qtbot: QtBot
) -> None:
    go_to(setup.window, Step.TEST)
    with qtbot.waitSignal(setup.finished) as done:
        press(setup.window, "Start sharing untested")
        answer_port(bridge)
    assert done.args is not None
    settings = done.args[0].settings
    assert settings == load_settings({}).settings
    assert settings.setup_done
    assert settings.max_concurrent_jobs == 1
    assert settings.supported_models == ("mine:1b",)
    assert not setup.window.isVisible()
    assert not (loaded.paths.config_dir / DRAFT_NAME).exists()


def test_closing_halfway_keeps_what_was_typed_as_a_draft_and_not_as_settings(
    setup: SetupWiring, bridge: FakeBridge, loaded: LoadedSettings, qtbot: QtBot
) -> None:
    go_to(setup.window, Step.WHEN)
    setup.window.coordinator.endpoint.setText("ignored: not this step's turn")
    setup.window.when.by_hand.click()
    with qtbot.waitSignal(setup.closed):
        press(setup.window, "Finish later")
    assert setup.wait()
    assert not loaded.paths.config_file.exists()
    again = SetupWiring(loaded, cast(AgentBridge, bridge), environ={})
    qtbot.addWidget(again.window)
    again.window.bring_up()
    assert again.window.step is Step.WHEN
    assert again.window.when.by_hand.isChecked()
    assert read_draft(loaded.paths.config_dir, SetupDraft()) == again.window.draft


class FullDisk(Disk):
    def write(self, descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_at_the_last_click_is_said_and_nothing_is_lost_or_started(
    loaded: LoadedSettings, bridge: FakeBridge, qtbot: QtBot
) -> None:
    def change(*args: object, **details: object) -> object:
        return change_settings(*args, **details, disk=FullDisk())  # type: ignore[arg-type]

    setup = SetupWiring(loaded, cast(AgentBridge, bridge), environ={}, change=change)
    qtbot.addWidget(setup.window)
    setup.window.bring_up()
    go_to(setup.window, Step.TEST)
    with qtbot.assertNotEmitted(setup.finished):
        press(setup.window, "Start sharing untested")
        answer_port(bridge)
        qtbot.waitUntil(lambda: "The disk is full" in setup.window.problem_shown)
    assert setup.window.isVisible()
    press(setup.window, "Back")
    assert not load_settings({}).settings.setup_done


def test_what_the_environment_decides_is_grey_and_says_so(qtbot: QtBot, bridge: FakeBridge) -> None:
    loaded = load_settings({"COORDINATOR_ENDPOINT": REMOTE, "MAX_CONCURRENT_JOBS": "2"})
    loaded.paths.ensure()
    setup = SetupWiring(loaded, cast(AgentBridge, bridge), environ={})
    qtbot.addWidget(setup.window)
    setup.window.bring_up()
    assert not setup.window.coordinator.endpoint.isEnabled()
    assert "Set by environment COORDINATOR_ENDPOINT" in words(setup.window)
    assert not setup.window.share.sessions.isEnabled()
    assert setup.wait()


def answer_idle(bridge: FakeBridge, problem: str = "") -> None:
    bridge.command_finished.emit("check_idle", CommandOutcome("", {"problem": problem}))


def test_where_it_can_be_told_being_away_is_the_first_choice(setup: SetupWiring, bridge: FakeBridge) -> None:
    window = setup.window
    assert "check_idle" in commands(bridge)  # at once, long before that step
    answer_idle(bridge)
    go_to(window, Step.WHEN)

    assert window.when.away.isChecked()
    assert "rested for 3 minutes" in window.when.said
    go_to(window, Step.TEST)
    assert window.draft.share == "away"
    assert "when I'm away" in window.test.said


def test_where_it_cannot_be_told_always_is_and_the_cause_is_said(setup: SetupWiring, bridge: FakeBridge) -> None:
    answer_idle(bridge, "No desktop session: nothing tells.")
    go_to(setup.window, Step.WHEN)

    assert setup.window.when.always.isChecked()
    assert not setup.window.when.away.isEnabled()
    assert "nothing would be shared: No desktop session: nothing tells." in setup.window.when.said


def test_an_answer_that_comes_late_counts_unless_the_owner_was_faster(setup: SetupWiring, bridge: FakeBridge) -> None:
    window = setup.window
    go_to(window, Step.WHEN)
    assert window.when.always.isChecked()
    answer_idle(bridge)
    assert window.when.away.isChecked()
    assert window.draft.share == "away"

    window.when.always.click()
    answer_idle(bridge)

    assert window.when.always.isChecked()
    assert window.draft.share == "always"


def test_a_click_survives_going_back_and_forth(setup: SetupWiring, bridge: FakeBridge) -> None:
    window = setup.window
    answer_idle(bridge)
    go_to(window, Step.WHEN)
    window.when.by_hand.click()
    press(window, "Back")
    press(window, "Next")
    answer_idle(bridge)

    assert window.when.by_hand.isChecked()
