"""The Models page with everything real behind it: a wanted model is got from a hub's stand-in, served, and measured."""

from __future__ import annotations

import importlib.util

import pytest
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from core.assets_path import selftest_model_path
from core.config_load import load_settings
from core.instance_lock import InstanceLock
from tests.fakes.fake_hub import FakeHub
from tests.gui.test_models_page import words
from titan_gui.bridge import AgentBridge
from titan_gui.models_wiring import ModelsWiring
from titan_gui.pages.models import ModelsPage

pytestmark = [
    pytest.mark.slow,
    pytest.mark.qt_log_ignore("This plugin does not support"),
    pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="needs the embedded engine"),
]

LIMIT_MS = 60_000
WANTED = "chat:8b"
REPO = "maker/Tiny-GGUF"


def press(owner: QWidget, text: str) -> None:
    QApplication.processEvents()
    found = [button for button in owner.findChildren(QPushButton) if button.text() == text and button.isVisible()]
    assert len(found) == 1, text
    found[0].click()


def test_a_wanted_model_is_got_served_and_measured(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = selftest_model_path().read_bytes()
    with FakeHub({REPO: {"Tiny-Q8_0.gguf": tiny + bytes(900_000), "Tiny-Q4_K_M.gguf": tiny}}) as hub:
        for name, value in {
            "TITAN_ENGINE": "embedded",
            "AGENT_PORT": "0",
            "COORDINATOR_ENDPOINT": "127.0.0.1:1",
            "SUPPORTED_MODELS": WANTED,
            "TITAN_HUB_ENDPOINT": hub.url,
            "TITAN_SETUP_DONE": "true",
        }.items():
            monkeypatch.setenv(name, value)
        loaded = load_settings()
        loaded.paths.ensure()
        with InstanceLock(loaded.paths.lock_file, loaded.settings.profile) as lock:
            bridge, page = AgentBridge(lock), ModelsPage()
            qtbot.addWidget(page)
            ModelsWiring(page, bridge, loaded.settings.models_dir)
            bridge.snapshot_changed.connect(page.render)
            page.show()
            try:
                bridge.start(loaded)
                get_it(page, bridge, qtbot, hub)
                measure_it(page, bridge, qtbot)
            finally:
                with qtbot.waitSignal(bridge.agent_ended, timeout=LIMIT_MS):
                    bridge.stop()
                assert bridge.join(10)


def get_it(page: ModelsPage, bridge: AgentBridge, qtbot: QtBot, hub: FakeHub) -> None:
    qtbot.waitUntil(lambda: "Wanted, not here" in words(page), timeout=LIMIT_MS)
    assert hub.headers == []  # nobody is asked before the click
    press(page.missing_row(WANTED), "Get it…")
    dialog = page.question.dialog
    assert dialog is not None
    QTest.keyClicks(dialog.name, REPO)
    press(dialog, "Look it up")
    qtbot.waitUntil(lambda: dialog.download.isEnabled(), timeout=LIMIT_MS)
    assert dialog.choices.currentItem().text().startswith("Q8_0 · 1.3 MB · Fits")
    assert bridge.snapshot.pulls == ()
    dialog.download.click()
    qtbot.waitUntil(lambda: bridge.snapshot.offered_models == (WANTED,), timeout=LIMIT_MS)
    qtbot.waitUntil(lambda: f"It is offered as {WANTED}, as you wished." in words(page), timeout=LIMIT_MS)
    assert bridge.snapshot.missing_models == ()
    assert load_settings().settings.model_names == (f"{WANTED}=Tiny-Q8_0",)


def measure_it(page: ModelsPage, bridge: AgentBridge, qtbot: QtBot) -> None:
    assert page.speed.body is None  # what most owners never open isn't made
    page.speed.toggle.click()
    press(page.speed, "Measure for 20 seconds")
    qtbot.waitUntil(lambda: "of 20 seconds" in words(page.speed), timeout=LIMIT_MS)
    press(page.speed, "Stop")
    qtbot.waitUntil(lambda: "Measuring was stopped." in words(page), timeout=LIMIT_MS)
    qtbot.waitUntil(lambda: bridge.snapshot.measuring is None, timeout=LIMIT_MS)
    assert bridge.snapshot.speeds == ()
