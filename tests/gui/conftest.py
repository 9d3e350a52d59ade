"""What tests of the settings and the rules share: the bridge's double, the files, and a settings page tied to both."""

from __future__ import annotations

from typing import cast

import pytest
from pytestqt.qtbot import QtBot

from core.config_load import load_settings
from tests.fakes.fake_bridge import FakeBridge
from titan_gui.bridge import AgentBridge
from titan_gui.pages.settings import SettingsPage
from titan_gui.settings_files import SettingsFiles
from titan_gui.settings_wiring import SettingsWiring


@pytest.fixture
def bridge() -> FakeBridge:
    return FakeBridge()


@pytest.fixture
def files() -> SettingsFiles:
    return SettingsFiles(load_settings({}), environ={})


@pytest.fixture
def settings(qtbot: QtBot, files: SettingsFiles, bridge: FakeBridge) -> SettingsPage:
    made = SettingsPage()
    qtbot.addWidget(made)
    with qtbot.waitSignal(files.secrets_read):
        SettingsWiring(made, files, cast(AgentBridge, bridge))
    return made
