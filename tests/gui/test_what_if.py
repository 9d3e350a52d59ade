"""The slider that asks "what if": what it says, and that it changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pytestqt.qtbot import QtBot

from core.engines import EngineModel
from core.memory_need import ollama_plan
from core.quantization import size_at
from core.snapshot import AgentSnapshot
from core.speed_book import Speed
from tests.fakes.llama_8b import LLAMA_8B, PARAMETERS_8B
from tests.fakes.snapshots import busy_snapshot
from titan_gui.pages.models import ModelsPage
from titan_gui.what_if_view import EXAMPLE_NOTE, lent_gb, most_gb, share_view

# The offscreen display says this of every window that is shown.
pytestmark = pytest.mark.qt_log_ignore("propagateSizeHints")

MODEL = EngineModel(
    name="llama3.1:8b-q4_k_m", quant="Q4_K_M", size_bytes=size_at(PARAMETERS_8B, "Q4_K_M"), shape=LLAMA_8B
)
SPEED = Speed(
    model=MODEL.name, device="CUDA0", tokens_per_second=48.25, first_token_ms=90.0, seconds=20.0, measured_at=1.0
)


def snapshot_with(**changes: object) -> AgentSnapshot:
    snapshot = replace(busy_snapshot(), models=(MODEL,), load_plan=ollama_plan(context_tokens=4096))
    return replace(snapshot, **changes)  # type: ignore[arg-type]


def test_slider_spans_the_card_and_stands_at_what_is_lent() -> None:
    assert (most_gb(snapshot_with()), lent_gb(snapshot_with())) == (8, 7)
    assert most_gb(snapshot_with(machine=None)) == 0


def test_another_quantisation_is_to_be_downloaded_and_has_no_made_up_speed() -> None:
    view = share_view(snapshot_with(speeds=(SPEED,)), 8)
    assert view.headline == "With 8 GB of graphics memory: near-original quality (Premium)"
    assert view.lines == ("llama3.1:8b: Q6_K_L, 7.7 GB, 1 session of 4,096 tokens at once, to be downloaded, 6.8 GB",)


def test_what_is_here_and_was_measured_has_its_speed() -> None:
    view = share_view(snapshot_with(speeds=(SPEED, replace(SPEED, device="CPU", tokens_per_second=3.0))), 6)
    assert view.lines == (
        "llama3.1:8b: Q4_K_M, 5.9 GB, 1 session of 4,096 tokens at once, 48.2 tokens per second, measured here",
    )


def test_what_does_not_fit_says_what_it_needs() -> None:
    assert share_view(snapshot_with(), 2).lines == ("llama3.1:8b: does not fit; it needs 4.0 GB at least",)


def test_many_models_are_cut_to_a_few_lines() -> None:
    many = tuple(replace(MODEL, name=f"model{number}:8b-q4_k_m") for number in range(9))
    view = share_view(snapshot_with(models=many), 8)
    assert len(view.lines) == 7
    assert view.lines[-1] == "… and 3 models more"


def test_without_figures_of_its_own_models_examples_are_named_as_such() -> None:
    view = share_view(snapshot_with(models=()), 8)
    assert view.note == EXAMPLE_NOTE
    assert "Llama 3.1 8B: " in view.lines[2]


def test_panel_is_closed_follows_what_is_lent_and_changes_nothing(qtbot: QtBot) -> None:
    page = ModelsPage()
    qtbot.addWidget(page)
    page.resize(700, 600)
    page.show()
    page.render(snapshot_with())
    panel = page.what_if
    assert panel.isVisible()
    assert not panel.slider.isVisible()
    panel.toggle.click()
    assert panel.slider.isVisible()
    assert (panel.slider.maximum(), panel.slider.value()) == (8, 7)
    assert panel._headline.text().startswith("With 7 GB of graphics memory")
    page.render(snapshot_with(capacity=replace(busy_snapshot().capacity, total_mb=4096)))
    assert panel.slider.value() == 4  # it isn't moved yet, so it follows
    panel.slider.setValue(6)
    assert "Q4_K_M" in panel._lines.text()
    page.render(snapshot_with())
    assert panel.slider.value() == 6
    panel.toggle.click()
    assert not panel.slider.isVisible()


def test_panel_hides_where_memory_is_not_measured(qtbot: QtBot) -> None:
    page = ModelsPage()
    qtbot.addWidget(page)
    page.show()
    page.render(snapshot_with(machine=None))
    assert not page.what_if.isVisible()
