"""The graphics cards to lend, as boxes on the settings page."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLineEdit
from pytestqt.qtbot import QtBot

from core.config import DECLARATIONS
from core.config_load import load_settings
from core.gpu import GpuSample
from core.gpu.lending import DRIVES_DISPLAY
from core.snapshot import AgentSnapshot
from core.stats_collector import SystemStats
from titan_gui.cards_view import card_text, is_ticked, with_card
from titan_gui.pages.settings import SettingsPage
from titan_gui.widgets.cards_control import CardsControl
from titan_gui.widgets.choices import CheckBox

pytestmark = pytest.mark.qt_log_ignore("propagateSizeHints")

BIG = GpuSample(uuid="GPU-a", name="RTX 4090", total_mb=24576)
SHOWN = GpuSample(uuid="GPU-b", name="RTX 3060", total_mb=12288, has_monitor=True, kept_because=DRIVES_DISPLAY)
CARDS = (BIG, SHOWN)


def machine(*cards: GpuSample) -> AgentSnapshot:
    return AgentSnapshot(machine=SystemStats(taken_at=1.0, gpus=cards))


@pytest.fixture
def page(qtbot: QtBot) -> SettingsPage:
    widget = SettingsPage()
    qtbot.addWidget(widget)
    widget.show_settings(load_settings({}))
    widget.show()
    return widget


def boxes(page: SettingsPage) -> list[CheckBox]:
    control = page.editor("gpus").findChild(CardsControl)
    assert control is not None
    return control.findChildren(CheckBox)


def ticks(page: SettingsPage) -> list[bool]:
    return [box.isChecked() for box in boxes(page)]


def test_each_card_has_its_name_its_memory_and_what_it_is_for() -> None:
    assert card_text(BIG) == "RTX 4090 · 24.0 GB"
    assert card_text(SHOWN) == "RTX 3060 · 12.0 GB · shows your desktop"
    assert card_text(GpuSample(uuid="x", name="RTX 2060", is_lost=True)) == "RTX 2060 · gone now"


def test_without_a_setting_the_ticks_are_what_the_agent_has_chosen() -> None:
    assert [is_ticked(card, "") for card in CARDS] == [True, False]
    assert [is_ticked(card, "rtx 3060") for card in CARDS] == [False, True]
    assert [is_ticked(card, "gpu-A, GPU-b") for card in CARDS] == [True, True]


def test_a_tick_names_cards_by_their_number_and_keeps_what_is_not_here() -> None:
    assert with_card(CARDS, "", "GPU-b", True) == "GPU-a,GPU-b"
    assert with_card(CARDS, "RTX 4090, RTX 3060, RTX 5090", "GPU-a", False) == "GPU-b,RTX 5090"


def test_a_click_is_a_change_to_save_and_undo_takes_it_back(page: SettingsPage) -> None:
    page.render(machine(*CARDS))
    assert [box.text() for box in boxes(page)] == [card_text(card) for card in CARDS]
    assert ticks(page) == [True, False]
    assert not boxes(page)[0].isEnabled()  # the only one that is lent
    assert page.changes == {}
    boxes(page)[1].setFocus()
    QTest.keyClick(boxes(page)[1], Qt.Key.Key_Space)
    assert page.changes == {"gpus": "GPU-a,GPU-b"}
    assert boxes(page)[0].isEnabled()
    page.editor("gpus").undo()
    assert page.changes == {}
    assert ticks(page) == [True, False]


def test_a_card_that_goes_and_comes_back_keeps_its_box_and_what_was_ticked(page: SettingsPage) -> None:
    page.render(machine(*CARDS))
    QTest.keyClick(boxes(page)[1], Qt.Key.Key_Space)
    page.render(machine(BIG, replace(SHOWN, total_mb=None, is_lost=True)))
    assert boxes(page)[1].text() == "RTX 3060 · gone now"
    page.render(machine(BIG))
    assert len(boxes(page)) == 1
    assert page.changes == {"gpus": "GPU-a,GPU-b"}


def test_without_a_card_there_is_a_line_to_type(page: SettingsPage) -> None:
    page.render(machine())
    line = page.editor("gpus").control
    assert isinstance(line, QLineEdit)
    assert line.isVisibleTo(page)
    assert line.placeholderText() == DECLARATIONS["gpus"].default_text
    page.render(machine(*CARDS))
    assert not line.isVisibleTo(page)
    assert page.editor("gpus").control is boxes(page)[1]  # where a reason's link puts the keyboard
