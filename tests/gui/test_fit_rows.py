"""Rows of the models page: the verdict by arithmetic, what is served under a model's name, and loads with less."""

from __future__ import annotations

from dataclasses import replace

from pytestqt.qtbot import QtBot

from core.engines import ChosenQuant, EngineModel, LoadedModel
from core.fit import Fit
from core.memory_need import ollama_plan
from core.quantization import size_at
from core.snapshot import AgentSnapshot
from tests.fakes.llama_8b import LLAMA_8B, PARAMETERS_8B
from tests.fakes.snapshots import busy_snapshot
from titan_gui.models_view import ModelRow, model_rows
from titan_gui.pull_view import FIT_WORDS
from titan_gui.widgets.model_rows import FIT_MOODS, ModelRowWidget


def snapshot_with(**changes: object) -> AgentSnapshot:
    models = tuple(
        EngineModel(name=f"llama3.1:8b-{quant.lower()}", quant=quant, size_bytes=size_at(PARAMETERS_8B, quant),
                    shape=LLAMA_8B)
        for quant in ("Q8_0", "Q4_K_M")
    )  # fmt: skip
    snapshot = replace(busy_snapshot(), models=models, load_plan=ollama_plan(context_tokens=4096), loaded_models=())
    return replace(snapshot, **changes)  # type: ignore[arg-type]


def row(snapshot: AgentSnapshot, quant: str) -> ModelRow:
    return next(row for row in model_rows(snapshot) if row.name.endswith(quant))


def test_model_that_is_too_big_for_the_card_runs_partly_on_it(qtbot: QtBot) -> None:
    big = row(snapshot_with(), "q8_0")
    assert big.verdict.fit is Fit.PARTLY
    widget = ModelRowWidget(big)
    qtbot.addWidget(widget)
    assert widget._verdict.text().startswith(
        "Partly on the graphics card. Needs 9.2 GB of graphics memory for 1 session"
    )


def test_every_verdict_has_a_word_and_a_colour() -> None:
    assert set(FIT_WORDS) == set(FIT_MOODS) == set(Fit)


def test_file_that_is_served_for_a_model_counts_as_offered_and_says_why() -> None:
    choice = ChosenQuant(offered="llama3.1:8b", model="llama3.1:8b-q4_k_m", reason="Q8_0 needs 9,600 MB of 7,168 MB.")
    snapshot = snapshot_with(offered_models=("llama3.1:8b",), chosen_quants=(choice,))
    served, other = row(snapshot, "q4_k_m"), row(snapshot, "q8_0")
    assert served.is_offered
    assert "Served as llama3.1:8b. Q8_0 needs 9,600 MB of 7,168 MB." in served.facts
    assert not other.is_offered


def test_model_that_was_loaded_with_less_says_so() -> None:
    loaded = LoadedModel(name="llama3.1:8b-q4_k_m", total_mb=5300, note="2 sessions instead of 4: memory is short.")
    assert (
        "in memory (5.2 GB) · 2 sessions instead of 4: memory is short."
        in row(snapshot_with(loaded_models=(loaded,)), "q4_k_m").facts
    )
