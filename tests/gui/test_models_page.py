"""The models page: what it says of each model, and that every wish is a click of the owner's."""

from __future__ import annotations

from dataclasses import asdict, replace
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
from core.engines import EngineModel, MissingModel
from core.errors import AgentError, ModelError
from core.fit import Fit, FitVerdict, Room
from core.model_shape import ModelShape
from core.pull_offer import PullChoice, PullOffer
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


def test_a_download_is_looked_up_first_and_begins_only_with_a_click(page: ModelsPage, qtbot: QtBot) -> None:
    page.render(snapshot_with())
    line = page.findChild(QLineEdit)
    assert isinstance(line, QLineEdit)
    assert not button(page, "Download…").isEnabled()
    with qtbot.assertNotEmitted(page.look_requested):
        QTest.keyClicks(line, " ")
        QTest.keyClick(line, Qt.Key.Key_Return)
    QTest.keyClicks(line, "new:8b")
    with qtbot.assertNotEmitted(page.pull_requested), qtbot.waitSignal(page.look_requested) as asked:
        button(page, "Download…").click()
    assert asked.args == ["new:8b"]
    assert line.text() == ""
    page.question.show_offer(PullOffer(asked="new:8b", engine="ollama", choices=(PullChoice(pull_name="new:8b"),)))
    dialog = page.question.dialog
    assert dialog is not None
    with qtbot.waitSignal(page.pull_requested) as pulled:
        dialog.download.click()
    assert pulled.args == ["new:8b", ""]


MISSING = MissingModel(name="llama3.1:8b-q4_k_m", pull_name="llama3.1:8b-q4_k_m", size_bytes=4_900_000_000)
UNPLACED = MissingModel(name="chat:8b")


def test_what_is_wanted_and_not_here_stands_first_with_its_size_and_fit(page: ModelsPage, qtbot: QtBot) -> None:
    page.render(snapshot_with(missing_models=(MISSING,)))
    row = page.missing_row(MISSING.name)
    assert "Wanted, not here · about 4.9 GB by its name" in words(row)
    assert "Fits. Needs about 5.5 GB of graphics memory; 7.0 GB is free. Estimated from its name alone." in words(row)
    QApplication.processEvents()
    assert row.y() < page.row("llama3.1:8b").y()
    with qtbot.assertNotEmitted(page.pull_requested), qtbot.waitSignal(page.look_requested) as asked:
        button(row, "Get it…").click()
    assert asked.args == [MISSING.name]
    with qtbot.waitSignal(page.withdraw_requested) as withdrawn:
        button(row, "Don't offer").click()
    assert withdrawn.args == [MISSING.name]
    page.render(snapshot_with())
    assert "Wanted, not here" not in words(page)


def test_what_is_being_downloaded_is_not_asked_for_again(page: ModelsPage) -> None:
    pull = replace(PULL, model=MISSING.pull_name)
    page.render(snapshot_with(missing_models=(MISSING,), pulls=(pull,)))
    assert "Wanted, not here" not in words(page)
    page.render(snapshot_with(missing_models=(MISSING,), pulls=(replace(PULL, wanted_as=MISSING.name),)))
    assert "Wanted, not here" not in words(page)
    page.render(snapshot_with(missing_models=(MISSING,), pulls=(replace(pull, phase="failed", problem="no"),)))
    assert "Wanted, not here" in words(page)


def test_of_a_wanted_name_that_no_hub_knows_the_owner_says_which_page_has_it(page: ModelsPage, qtbot: QtBot) -> None:
    embedded = replace(busy_snapshot().engine, name="embedded")
    page.render(snapshot_with(missing_models=(UNPLACED,), engine=embedded))
    assert "you say which page has it" in words(page)
    with qtbot.assertNotEmitted(page.look_requested):
        button(page.missing_row("chat:8b"), "Get it…").click()
    dialog = page.question.dialog
    assert dialog is not None
    assert "what comes from there is then offered under that name" in words(dialog)
    QTest.keyClicks(dialog.name, "maker/Chat-GGUF:Q8_0")
    with qtbot.waitSignal(page.look_requested):
        button(dialog, "Look it up").click()
    choice = PullChoice(pull_name="maker/Chat-GGUF:Q8_0", quant="Q8_0", size_bytes=GB, fit="fits", sentence="It fits.")
    page.question.show_offer(PullOffer(asked="maker/Chat-GGUF:Q8_0", engine="embedded", choices=(choice,)))
    with qtbot.waitSignal(page.pull_requested) as pulled:
        dialog.download.click()
    assert pulled.args == ["maker/Chat-GGUF:Q8_0", "chat:8b"]


def test_a_file_that_the_table_names_and_that_is_gone_is_said(page: ModelsPage) -> None:
    embedded = replace(busy_snapshot().engine, name="embedded")
    page.render(snapshot_with(missing_models=(replace(UNPLACED, gone_file="/x/y.gguf"),), engine=embedded))
    assert "Wanted, not here · its file /x/y.gguf is not there" in words(page)
    assert not page.missing_row("chat:8b").get.isHidden()


def test_a_server_without_downloads_gets_no_button_for_what_is_missing(page: ModelsPage) -> None:
    openai = replace(busy_snapshot().engine, name="openai")
    page.render(snapshot_with(missing_models=(UNPLACED,), engine=openai))
    assert "to be loaded in that server" in words(page)
    assert page.missing_row("chat:8b").get.isHidden()


def test_who_comes_for_a_model_that_is_not_ready_finds_its_name_filled_in(page: ModelsPage) -> None:
    page.hide()
    page.render(snapshot_with(missing_models=(MISSING,)))
    page.show()
    page.focus_missing()
    line = page.findChild(QLineEdit)
    assert isinstance(line, QLineEdit)
    assert line.text() == MISSING.name
    assert page.focusWidget() is page.missing_row(MISSING.name).get
    page.render(snapshot_with())
    page.focus_missing()  # it has come meanwhile


def test_how_big_a_library_s_model_is_and_whether_it_fits_is_told_as_soon_as_it_is_known(page: ModelsPage) -> None:
    page.render(snapshot_with(pulls=(replace(PULL, total_bytes=40 * GB),)))
    assert "Too big: Needs about 44.7 GB of graphics memory" in words(page.pull_row("new:8b"))


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
    with qtbot.waitSignal(page.pull_requested) as again:
        page.render(snapshot_with(pulls=(replace(PULL, phase="cancelled", wanted_as="chat:8b"),)))
        button(row, "Go on").click()
    assert again.args == ["new:8b", "chat:8b"]  # asked already: it goes on at once
    page.render(snapshot_with(pulls=(replace(PULL, phase="failed", problem="no such name"),)))
    button(row, "Try again")
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
        (replace(PULL, phase="done", served_as="chat:8b"), "Downloaded. It is offered as chat:8b, as you wished."),
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
    assert not button(page, "Download…").isVisible()
    assert "load it in that server" in words(page)
    assert "There is no model yet." in words(page)


def test_the_own_engine_downloads_from_the_hub_or_takes_a_file(page: ModelsPage) -> None:
    snapshot = busy_snapshot()
    page.render(replace(snapshot, models=(), engine=replace(snapshot.engine, name="embedded")))
    assert button(page, "Download…").isVisible()
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
    page.look_requested.emit("a")
    page.pull_requested.emit("a", "")
    page.cancel_requested.emit("a")
    page.delete_requested.emit("a")
    page.offer_requested.emit("a")
    page.withdraw_requested.emit("a")
    assert [name for name, _ in bridge.commands] == [
        "look_up_model",
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


def test_answers_to_a_question_go_into_its_dialog_alone(page: ModelsPage) -> None:
    bridge = FakeBridge()
    ModelsWiring(page, cast(AgentBridge, bridge), Path("models"), open_url=lambda url: False)
    page.question.ask("a:1")
    assert bridge.commands == [("look_up_model", {"model": "a:1"})]
    dialog = page.question.dialog
    assert dialog is not None
    bridge.command_failed.emit("look_up_model", ModelError("there is no such page", hint="Check the spelling."))
    assert "There is no such page. Check the spelling." in words(dialog)
    assert not dialog.download.isEnabled()
    dialog.look_up()
    offer = PullOffer(asked="a:1", engine="ollama", choices=(PullChoice(pull_name="a:1"),))
    bridge.command_finished.emit("look_up_model", CommandOutcome("", asdict(offer)))
    assert dialog.download.isEnabled()
    assert "no such page" not in words(dialog)
    dialog.download.click()
    assert bridge.commands[-1] == ("pull_model", {"model": "a:1", "serve_as": ""})
    bridge.command_finished.emit("look_up_model", CommandOutcome("", asdict(offer)))  # nobody waits any more


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
