"""Measuring in the window: twenty seconds on a click, how far it is, stopped at a click, and the result that stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from core.commands import CommandOutcome
from core.engines import ChosenQuant, EngineModel
from core.errors import AgentError
from core.snapshot import AgentSnapshot
from core.speed_book import Measuring, Speed
from tests.fakes.fake_bridge import FakeBridge
from tests.fakes.snapshots import NOW, busy_snapshot
from tests.gui.test_models_page import words
from titan_gui.bridge import AgentBridge
from titan_gui.measure_view import NOTHING_OFFERED, measure_view
from titan_gui.models_wiring import ModelsWiring
from titan_gui.pages.models import ModelsPage
from titan_gui.widgets.measure_body import STEPS, MeasureBody
from titan_gui.widgets.measure_panel import MeasurePanel

pytestmark = pytest.mark.qt_log_ignore("propagateSizeHints")

NAME = "llama3.1:8b"
SPEED = Speed(
    model=NAME, device="CUDA0", tokens_per_second=48.25, first_token_ms=90.0, seconds=20.0, measured_at=1_000_000_000.0
)


def idle_snapshot(**changes: object) -> AgentSnapshot:
    return replace(busy_snapshot(), running_jobs=0, sessions=(), **changes)  # type: ignore[arg-type]


@pytest.fixture
def page(qtbot: QtBot) -> ModelsPage:
    page = ModelsPage()
    qtbot.addWidget(page)
    page.show()
    return page


def opened(panel: MeasurePanel) -> MeasureBody:
    panel.toggle.click()
    assert panel.body is not None
    panel.body._now = lambda: NOW
    return panel.body


def test_how_far_it_is() -> None:
    loading = measure_view(idle_snapshot(measuring=Measuring(model=NAME, seconds=20.0)), NAME, NOW)
    assert (loading.running, loading.share, loading.text) == (NAME, None, "Loading the model …")
    running = Measuring(model=NAME, seconds=20.0, started_at=NOW - 5)
    half = measure_view(idle_snapshot(measuring=running), NAME, NOW)
    assert (half.share, half.text) == (0.25, "5 of 20 seconds")
    late = measure_view(idle_snapshot(measuring=running), NAME, NOW + 60)
    assert (late.share, late.text) == (1.0, "Waiting for the end of the last answer …")


def test_results_of_what_is_here_are_kept_in_view() -> None:
    gone = replace(SPEED, model="gone:1b")
    slow = replace(SPEED, device="CPU", tokens_per_second=3.0)
    lines = measure_view(idle_snapshot(speeds=(SPEED, slow, gone)), NAME, NOW).results
    assert lines == (
        "llama3.1:8b: 48.2 tokens per second, first token after 90 ms (CUDA0, 9 September 2001)",
        "llama3.1:8b: 3.0 tokens per second, first token after 90 ms (CPU, 9 September 2001)",
    )


def test_why_nothing_can_be_measured_now_is_said_before_the_click() -> None:
    assert measure_view(busy_snapshot(), NAME, NOW).problem.startswith("1 session runs now, so nothing true")
    two = replace(busy_snapshot(), queued_jobs=1)
    assert measure_view(two, NAME, NOW).problem.startswith("2 sessions run now")
    assert measure_view(idle_snapshot(offered_models=()), "", NOW).problem == NOTHING_OFFERED
    big = EngineModel(name="Big-Q8_0", size_bytes=900_000_000_000)
    chosen = (ChosenQuant(offered="Big", model="Big-Q8_0", reason="It is the best that is here."),)
    snapshot = idle_snapshot(models=(big,), offered_models=("Big",), chosen_quants=chosen)
    assert "it is too big. Needs about 1005" in measure_view(snapshot, "Big", NOW).problem
    assert measure_view(idle_snapshot(), NAME, NOW).problem == ""


def test_a_click_measures_another_stops_and_the_result_is_said(page: ModelsPage) -> None:
    bridge, panel = FakeBridge(), page.speed
    ModelsWiring(page, cast(AgentBridge, bridge), Path("models"), open_url=lambda url: False)
    panel.show_snapshot(idle_snapshot())
    assert panel.body is None
    body = opened(panel)
    body.measure.click()
    assert bridge.commands == [("measure_speed", {"model": NAME})]
    assert not body.measure.isEnabled()  # one at a time
    panel.show_snapshot(idle_snapshot(measuring=Measuring(model=NAME, seconds=20.0, started_at=NOW - 5)))
    assert (body.bar.isHidden(), body.bar.value(), body.bar.maximum()) == (False, STEPS // 4, STEPS)
    assert "llama3.1:8b: 5 of 20 seconds" in words(panel)
    body.stop.click()
    assert bridge.commands[-1] == ("stop_measuring", {})
    bridge.command_finished.emit("measure_speed", CommandOutcome("Measuring was stopped.", {"stopped": True}))
    assert "Measuring was stopped." in words(page)
    bridge.command_finished.emit("measure_speed", CommandOutcome("llama3.1:8b: 48.2 tokens per second."))
    panel.show_snapshot(idle_snapshot(speeds=(SPEED,)))
    assert body.measure.isEnabled()
    assert body.bar.isHidden()
    assert "Measuring was stopped." not in words(page)
    assert "first token after 90 ms (CUDA0" in words(panel)


def test_a_refusal_is_said_and_the_button_comes_back(page: ModelsPage) -> None:
    bridge, panel = FakeBridge(), page.speed
    ModelsWiring(page, cast(AgentBridge, bridge), Path("models"), open_url=lambda url: False)
    body = opened(panel)
    panel.show_snapshot(idle_snapshot())
    body.measure.click()
    bridge.command_failed.emit("measure_speed", AgentError("a session began meanwhile"))
    assert "A session began meanwhile." in words(page)
    assert body.measure.isEnabled()
    panel.show_snapshot(busy_snapshot())
    assert not body.measure.isEnabled()


def test_what_was_begun_elsewhere_opens_the_panel(page: ModelsPage) -> None:
    panel = page.speed
    panel.show_snapshot(idle_snapshot())
    panel.show_snapshot(idle_snapshot(measuring=Measuring(model=NAME, seconds=20.0)))
    QApplication.processEvents()
    assert panel.toggle.isChecked()
    assert panel.body is not None
    assert panel.body.bar.maximum() == 0  # busy: how far isn't known while it loads
    panel.toggle.click()
    panel.show_snapshot(idle_snapshot(measuring=Measuring(model=NAME, seconds=20.0)))
    assert not panel.toggle.isChecked()


def test_the_speed_stands_with_its_model_too(page: ModelsPage) -> None:
    page.render(idle_snapshot(speeds=(SPEED,)))
    assert "48.2 tokens per second, measured here" in words(page.row(NAME))
    page.render(idle_snapshot(speeds=(replace(SPEED, tokens_per_second=2000.6),)))
    assert "2,001 tokens per second, measured here" in words(page.row(NAME))
