"""The first questions with everything real behind them: agent thread, llama.cpp child, settings file, coordinator."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest
from PySide6.QtWidgets import QApplication, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from core.assets_path import SELFTEST_MODEL_NAME
from core.config_load import LoadedSettings, load_settings
from core.instance_lock import InstanceLock
from core.snapshot import AgentSnapshot
from titan_gui.bridge import AgentBridge
from titan_gui.setup_draft import Step
from titan_gui.setup_wiring import SetupWiring

pytestmark = [
    pytest.mark.slow,
    pytest.mark.qt_log_ignore("This plugin does not support"),
    pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="needs the embedded engine"),
]

LIMIT_MS = 60_000


def press(window: QWidget, text: str) -> None:
    QApplication.processEvents()
    found = [button for button in window.findChildren(QPushButton) if button.text() == text and button.isVisible()]
    assert len(found) == 1, text
    assert found[0].isEnabled(), text
    found[0].click()


def codes(snapshot: AgentSnapshot) -> list[str]:
    return [reason.code for reason in snapshot.reasons]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> LoadedSettings:
    monkeypatch.setenv("TITAN_ENGINE", "embedded")
    monkeypatch.setenv("AGENT_PORT", "0")  # the usual ones may be taken by an agent and a coordinator of this machine
    monkeypatch.setenv("COORDINATOR_ENDPOINT", "127.0.0.1:1")
    loaded = load_settings()
    loaded.paths.ensure()
    return loaded


@pytest.fixture
def bridge(loaded: LoadedSettings, qtbot: QtBot) -> Iterator[AgentBridge]:
    with InstanceLock(loaded.paths.lock_file, loaded.settings.profile) as lock:
        bridge = AgentBridge(lock)
        yield bridge
        if bridge.is_running:
            with qtbot.waitSignal(bridge.agent_ended, timeout=LIMIT_MS):
                bridge.stop()
        assert bridge.join(10)


def test_the_setup_tests_the_real_engine_and_shares_only_after_the_last_click(
    loaded: LoadedSettings, bridge: AgentBridge, qtbot: QtBot
) -> None:
    with qtbot.waitSignal(bridge.agent_started, timeout=LIMIT_MS):
        bridge.start(loaded)
    setup = SetupWiring(loaded, bridge)
    qtbot.addWidget(setup.window)
    setup.window.bring_up()
    qtbot.waitUntil(lambda: bool(bridge.snapshot.models), timeout=LIMIT_MS)
    assert codes(bridge.snapshot)[0] == "setup_not_done"
    assert all(address.startswith("127.0.0.1:") for address in bridge.snapshot.listening_on)

    press(setup.window.coordinator, "Test")
    qtbot.waitUntil(lambda: "cannot be reached" in setup.window.coordinator.said, timeout=LIMIT_MS)
    while setup.window.step < Step.TEST:
        press(setup.window, "Next")
    press(setup.window.test, "Run the test")
    qtbot.waitUntil(lambda: setup.window.test.is_proven or "failed" in setup.window.test.said, timeout=LIMIT_MS)
    assert "It works:" in setup.window.test.said
    assert "built-in test model" in setup.window.test.said
    assert not loaded.paths.config_file.exists()
    assert codes(bridge.snapshot)[0] == "setup_not_done"

    setup.finished.connect(bridge.restart)
    with qtbot.waitSignals([setup.finished, setup.closed, bridge.agent_started], timeout=LIMIT_MS):
        press(setup.window, "Start sharing")
    assert load_settings().settings.setup_done
    qtbot.waitUntil(lambda: "setup_not_done" not in codes(bridge.snapshot), timeout=LIMIT_MS)
    assert bridge.snapshot.max_jobs == 1
    assert SELFTEST_MODEL_NAME not in bridge.snapshot.offered_models
