"""The models page: what it says of each model, and that every wish is a click of the owner's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from PySide6.QtCore import Qt, QUrl
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QApplication,
    QCheckBox,
    QLabel,
    QLineEdit,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QWidget,
)
from pytestqt.qtbot import QtBot

from core.commands import CommandOutcome
from core.engines import EngineModel
from core.errors import AgentError, ModelError
from core.fit import Fit, FitVerdict, Room
from core.model_shape import ModelShape
from core.snapshot import AgentSnapshot, PullView
from tests.fakes.fake_bridge import FakeBridge
from tests.fakes.snapshots import busy_snapshot
from titan_gui.bridge import AgentBridge
from titan_gui.models_view import model_rows, pull_text
from titan_gui.models_wiring import ModelsWiring
from titan_gui.pages.models import ModelsPage

# The offscreen display says this of every window that is shown.
pytestmark = pytest.mark.qt_log_ignore("propagateSizeHints")

GB = 1_000_000_000
BIG = EngineModel(name="big:70b", size_bytes=42 * GB, quant="Q4_K_M")
NOISE = EngineModel(name="a-noise", size_bytes=442_815, is_selftest=True)
PULL = PullView(
    model="new:8b", status="pulling aa", completed_bytes=GB, total_bytes=4 * GB, bytes_per_second=20_000_000.0
)


def snapshot_with(*models: EngineModel, **changes: object) -> AgentSnapshot:
    return replace(busy_snapshot(), models=(*busy_snapshot().models, *models), **changes)  # type: ignore[arg-type]


@pytest.fixture
def page(qtbot: QtBot) -> ModelsPage:
    widget = ModelsPage()
    qtbot.addWidget(widget)
    widget.resize(700, 500)
    widget.show()
    return widget


def words(widget: QWidget) -> str:
    return "\n".join(label.text() for label in widget.findChildren(QLabel) if not label.isHidden())


def button(widget: QWidget, text: str) -> QPushButton:
    return next(found for found in widget.findChildren(QPushButton) if found.text() == text)


def switch(page: ModelsPage, name: str) -> QCheckBox:
    found = page.row(name).findChild(QCheckBox)
    assert isinstance(found, QCheckBox)
    return found


def test_a_model_shows_size_quant_memory_fit_and_offer(page: ModelsPage) -> None:
    page.render(snapshot_with(BIG))
    assert "Ollama 0.6.3, on CUDA0" in words(page)
    assert "3 models, 1 offered to the network." in words(page)
    row = words(page.row("llama3.1:8b"))
    assert "4.9 GB · Q4_K_M · in memory (5.1 GB)" in row
    assert "Fits. Needs about 5.5 GB of graphics memory" in row
    assert switch(page, "llama3.1:8b").isChecked()
    assert "Too big." in words(page.row("big:70b"))
    assert not switch(page, "big:70b").isChecked()


def test_the_self_test_model_is_labelled_last_and_cannot_be_offered(page: ModelsPage) -> None:
    page.render(snapshot_with(NOISE))
    assert "its answers are noise" in words(page.row("a-noise"))
    assert not switch(page, "a-noise").isEnabled()
    assert [row.name for row in model_rows(snapshot_with(NOISE))][-1] == "a-noise"


def test_names_are_never_read_as_rich_text(page: ModelsPage) -> None:
    page.render(snapshot_with(EngineModel(name="<b>bold</b>")))
    for label in page.findChildren(QLabel):
        assert label.textFormat() is Qt.TextFormat.PlainText


def test_the_switch_asks_and_waits_for_the_answer(page: ModelsPage, qtbot: QtBot) -> None:
    page.render(snapshot_with(BIG))
    with qtbot.waitSignal(page.offer_requested) as asked:
        switch(page, "big:70b").click()
    assert asked.args == ["big:70b"]
    assert not switch(page, "big:70b").isEnabled()
    page.render(snapshot_with(BIG))  # not yet
    assert switch(page, "big:70b").isChecked()
    page.render(snapshot_with(BIG, offered_models=("llama3.1:8b", "big:70b")))
    assert switch(page, "big:70b").isEnabled()
    with qtbot.waitSignal(page.withdraw_requested) as asked:
        switch(page, "big:70b").click()
    assert asked.args == ["big:70b"]


def test_a_refused_wish_turns_the_switch_back_and_says_why(page: ModelsPage) -> None:
    page.render(snapshot_with(BIG))
    switch(page, "big:70b").click()
    page.show_error(ModelError("the offered models are set by environment SUPPORTED_MODELS", hint="Change them there."))
    assert not switch(page, "big:70b").isChecked()
    assert switch(page, "big:70b").isEnabled()
    assert "The offered models are set by environment SUPPORTED_MODELS. Change them there." in words(page)


def test_a_download_begins_only_with_a_click(page: ModelsPage, qtbot: QtBot) -> None:
    page.render(snapshot_with())
    line = page.findChild(QLineEdit)
    assert isinstance(line, QLineEdit)
    assert not button(page, "Download").isEnabled()
    with qtbot.assertNotEmitted(page.pull_requested):
        QTest.keyClicks(line, " ")
        QTest.keyClick(line, Qt.Key.Key_Return)
    QTest.keyClicks(line, "new:8b")
    with qtbot.waitSignal(page.pull_requested) as asked:
        button(page, "Download").click()
    assert asked.args == ["new:8b"]
    assert line.text() == ""


def test_a_download_shows_how_far_how_fast_and_how_long_and_can_be_cancelled(page: ModelsPage, qtbot: QtBot) -> None:
    page.render(snapshot_with(pulls=(PULL,)))
    row = page.pull_row("new:8b")
    assert "1.0 GB of 4.0 GB · 20.0 MB/s · 2 min left" in words(row)
    bar = row.findChild(QProgressBar)
    assert isinstance(bar, QProgressBar)
    assert (bar.value(), bar.maximum()) == (250, 1000)
    with qtbot.waitSignal(page.cancel_requested) as asked:
        button(row, "Cancel").click()
    assert asked.args == ["new:8b"]
    page.render(snapshot_with(pulls=(replace(PULL, phase="cancelled"),)))
    assert not bar.isVisible()
    assert not button(row, "Cancel").isVisible()
    page.render(snapshot_with())
    assert "new:8b" not in words(page)


@pytest.mark.parametrize(
    ("pull", "text"),
    [
        (PullView(model="x", status="pulling manifest"), "Pulling manifest"),
        (PullView(model="x"), "Starting"),
        (replace(PULL, bytes_per_second=None), "1.0 GB of 4.0 GB"),
        (replace(PULL, completed_bytes=4 * GB), "4.0 GB of 4.0 GB · 20.0 MB/s"),
        (
            replace(PULL, phase="failed", problem="the disk is full", hint="Free some space."),
            "Not downloaded: the disk is full. Free some space.",
        ),
        (replace(PULL, phase="done"), "Downloaded. It is offered to nobody before you switch that on."),
    ],
)
def test_what_is_said_of_a_download(pull: PullView, text: str) -> None:
    assert pull_text(pull) == text


def test_only_what_was_downloaded_here_can_be_deleted_and_only_after_a_question(page: ModelsPage, qtbot: QtBot) -> None:
    page.render(snapshot_with(BIG, pulled_models=("big:70b",)))
    assert not button(page.row("llama3.1:8b"), "Delete…").isVisible()
    for answer, expected in (("Keep it", []), ("Delete", ["big:70b"])):
        deleted: list[str] = []
        page.delete_requested.connect(deleted.append)
        button(page.row("big:70b"), "Delete…").click()
        box = page.findChildren(QMessageBox)[-1]
        assert box.defaultButton().text() == "Keep it"
        assert box.textFormat() is Qt.TextFormat.PlainText
        button(box, answer).click()
        assert deleted == expected
        page.delete_requested.disconnect(deleted.append)


def test_an_engine_without_downloads_says_how_a_model_is_added(page: ModelsPage) -> None:
    snapshot = busy_snapshot()
    page.render(replace(snapshot, models=(), engine=replace(snapshot.engine, name="openai")))
    assert not button(page, "Download").isVisible()
    assert "load it in that server" in words(page)
    assert "There is no model yet." in words(page)


def test_the_own_engine_downloads_from_the_hub_or_takes_a_file(page: ModelsPage) -> None:
    snapshot = busy_snapshot()
    page.render(replace(snapshot, models=(), engine=replace(snapshot.engine, name="embedded")))
    assert button(page, "Download").isVisible()
    assert "(its name ends in .gguf) into the models folder" in words(page)
    assert "A download starts only when you ask for it" in words(page)


def test_models_come_go_and_stay_in_order(page: ModelsPage) -> None:
    page.render(snapshot_with(BIG))
    kept = page.row("big:70b")
    page.render(snapshot_with(BIG, EngineModel(name="middle:1b")))
    page.render(snapshot_with(EngineModel(name="middle:1b")))
    assert "big:70b" not in words(page)
    page.render(snapshot_with(BIG, EngineModel(name="middle:1b")))
    assert page.row("big:70b") is not kept
    QApplication.processEvents()
    tops = [page.row(row.name).y() for row in model_rows(snapshot_with(BIG, EngineModel(name="middle:1b")))]
    assert tops == sorted(tops)


def test_another_rule_can_take_the_verdict_s_place(qtbot: QtBot) -> None:
    def rule(size_bytes: int | None, room: Room, shape: ModelShape | None = None) -> FitVerdict:
        return FitVerdict(fit=Fit.TIGHT, sentence="A finer rule says so.")

    page = ModelsPage(rule)
    qtbot.addWidget(page)
    page.show()
    page.render(snapshot_with())
    assert "Tight. A finer rule says so." in words(page.row("llama3.1:8b"))


def test_a_hidden_page_renders_when_it_is_shown(qtbot: QtBot) -> None:
    page = ModelsPage()
    qtbot.addWidget(page)
    page.render(snapshot_with())
    assert "Ollama" not in words(page)
    page.show()
    assert "Ollama" in words(page)


def test_wishes_become_commands_and_answers_come_back(page: ModelsPage, qtbot: QtBot) -> None:
    bridge = FakeBridge()
    ModelsWiring(page, cast(AgentBridge, bridge), Path("models"), open_url=lambda url: False)
    page.pull_requested.emit("a")
    page.cancel_requested.emit("a")
    page.delete_requested.emit("a")
    page.offer_requested.emit("a")
    page.withdraw_requested.emit("a")
    assert [name for name, _ in bridge.commands] == [
        "pull_model",
        "cancel_pull",
        "delete_model",
        "offer_model",
        "withdraw_model",
    ]
    assert {arguments["model"] for _, arguments in bridge.commands} == {"a"}
    bridge.command_finished.emit("offer_model", CommandOutcome("a is offered from now on."))
    assert "a is offered from now on." in words(page)
    bridge.command_failed.emit("pause", AgentError("not this page's"))
    assert "not this page's" not in words(page)
    bridge.command_failed.emit("pull_model", AgentError("a is being downloaded already"))
    assert "A is being downloaded already." in words(page)


def test_the_models_folder_is_named_made_and_opened_at_a_click(page: ModelsPage, qtbot: QtBot, tmp_path: Path) -> None:
    folder, opened = tmp_path / "data" / "models", list[str]()

    def open_url(url: QUrl) -> bool:
        opened.append(url.toLocalFile() or url.toString())
        return True

    wiring = ModelsWiring(page, cast(AgentBridge, FakeBridge()), folder, open_url=open_url)
    embedded = replace(busy_snapshot().engine, name="embedded")
    page.render(snapshot_with(engine=embedded))
    assert f"Models folder: {folder}" in words(page)
    assert "ends in .gguf" in words(page)
    assert opened == []
    assert not folder.exists()
    button(page, "Open the folder").click()
    qtbot.waitUntil(lambda: bool(opened))
    assert opened == [str(folder)]
    assert folder.is_dir()
    button(page, "Open huggingface.co").click()
    assert opened[1:] == ["https://huggingface.co"]
    assert wiring.opener.wait()


def test_another_models_folder_is_named_at_once(page: ModelsPage, tmp_path: Path) -> None:
    wiring = ModelsWiring(page, cast(AgentBridge, FakeBridge()), tmp_path / "old", open_url=lambda _: True)
    page.render(snapshot_with(engine=replace(busy_snapshot().engine, name="embedded")))
    wiring.use_folder(tmp_path / "new")
    assert f"Models folder: {tmp_path / 'new'}" in words(page)
    assert wiring.opener.folder == tmp_path / "new"


def test_a_folder_that_cannot_be_opened_is_said(page: ModelsPage, qtbot: QtBot, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    wiring = ModelsWiring(page, cast(AgentBridge, FakeBridge()), tmp_path / "file" / "models", open_url=lambda _: False)
    wiring.opener.open_folder()
    qtbot.waitUntil(lambda: "Cannot make the folder" in words(page))
    wiring.opener.open_site("ollama.com")
    assert "no program that opens ollama.com" in words(page)


def test_the_folder_is_no_matter_where_ollama_has_its_own(page: ModelsPage) -> None:
    page.add.show_folder("models")
    page.render(snapshot_with())
    assert "Models folder" not in words(page)
    assert not button(page, "Open ollama.com/library").isHidden()
