"""The question before a download: choices with their verdicts, the best one chosen, what is too big only warned of."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from core.hub.download import HubError
from core.pull_offer import PullOffer, hub_offer, name_offer
from tests.core.test_pull_offer import look_8b, room
from tests.gui.test_models_page import words
from titan_gui.pull_view import choice_text, disk_text, problem_text
from titan_gui.widgets.pull_dialog import PullDialog
from titan_gui.widgets.pull_question import PullQuestion

pytestmark = pytest.mark.qt_log_ignore("propagateSizeHints")

REPO = "maker/Llama-3.1-8B-GGUF"


def offer_at(gigabytes: float) -> PullOffer:
    return hub_offer(REPO, "embedded", look_8b(), room(gigabytes), free_bytes=120_300_000_000)


@pytest.fixture
def owner(qtbot: QtBot) -> QWidget:
    widget = QWidget()
    qtbot.addWidget(widget)
    widget.show()
    return widget


def asked(owner: QWidget, name: str = REPO) -> tuple[PullQuestion, PullDialog]:
    question = PullQuestion(owner)
    question.ask(name)
    assert question.dialog is not None
    return question, question.dialog


def test_lines_say_size_and_verdict() -> None:
    offer = offer_at(7.2)
    assert [choice_text(choice) for choice in offer.choices] == [
        "BF16 · 16.1 GB · Too big",
        "Q8_0 · 8.5 GB · Too big",
        "Q6_K · 6.6 GB · Tight",
        "Q4_K_M · 4.9 GB · Fits",
        "Q2_K · 3.2 GB · Fits",
    ]
    assert choice_text(replace(offer.choices[3], is_here=True, disk_problem="full")) == (
        "Q4_K_M · 4.9 GB · Fits · no room on the disk · here already"
    )


def test_the_disk_and_what_isnt_known_are_said() -> None:
    offer = offer_at(7.2)
    assert disk_text(offer, offer.choices[3]) == "4.9 GB to download; 120.3 GB are free on the disk."
    told = name_offer("llama3.1:8b-instruct-q4_k_m", "ollama", room(7.2))
    assert disk_text(told, told.choices[0]).startswith(
        "About 4.9 GB to download. Ollama tells a model's size only once"
    )
    silent = name_offer("llama3.2", "ollama", room(7.2), free_bytes=10**10)
    assert disk_text(silent, silent.choices[0]).startswith("10.0 GB are free on the disk. Ollama tells")
    assert problem_text(silent.choices[0]) == ""


def test_the_best_one_is_chosen_and_return_takes_it(owner: QWidget, qtbot: QtBot) -> None:
    question, dialog = asked(owner)
    assert "Asking what it needs" in words(dialog)
    assert not dialog.download.isEnabled()
    question.show_offer(offer_at(7.2))
    assert dialog.choices.currentItem().text().startswith("Q4_K_M")
    assert "Fits. Needs 6.7 GB of memory for 4 sessions of 4,096 tokens; 7.2 GB is free." in words(dialog)
    assert dialog.download.isDefault()
    with qtbot.waitSignal(question.pull_requested) as pulled:
        QTest.keyClick(dialog.name, Qt.Key.Key_Return)
    assert pulled.args == [f"{REPO}:Q4_K_M", ""]
    assert question.dialog is None


def test_what_is_too_big_is_warned_of_and_not_forbidden(owner: QWidget, qtbot: QtBot) -> None:
    question, dialog = asked(owner)
    question.show_offer(offer_at(7.2))
    dialog.choices.setCurrentRow(0)
    assert "Too big. Needs 17.1 GB" in words(dialog)
    assert dialog.download.text() == "Download anyway"
    assert not dialog.download.isDefault()  # the keyboard's Return must not do that
    assert dialog._cancel.isDefault()
    with qtbot.waitSignal(question.pull_requested) as pulled:
        dialog.download.click()
    assert pulled.args == [f"{REPO}:BF16", ""]


def test_a_single_one_that_is_too_big_is_not_a_key_press_away(owner: QWidget) -> None:
    question, dialog = asked(owner, "llama3.3:70b-instruct-q8_0")
    question.show_offer(name_offer("llama3.3:70b-instruct-q8_0", "ollama", room(7.2)))
    assert dialog.download.text() == "Download anyway"
    assert dialog.focusWidget() is dialog._cancel
    question.ask("llama3.1:8b-instruct-q4_k_m")
    question.show_offer(name_offer("llama3.1:8b-instruct-q4_k_m", "ollama", room(7.2)))
    assert question.dialog is not None
    assert question.dialog.focusWidget() is question.dialog.download


def test_what_has_no_room_on_the_disk_cannot_be_downloaded(owner: QWidget) -> None:
    question, dialog = asked(owner)
    offer = offer_at(7.2)
    full = replace(offer.choices[3], disk_problem="4.9 GB are to come, and the disk of models has 3.0 GB free")
    question.show_offer(replace(offer, choices=(*offer.choices[:3], full, offer.choices[4])))
    assert not dialog.download.isEnabled()
    assert "the disk of models has 3.0 GB free. Free some space" in words(dialog)
    dialog.choices.setCurrentRow(4)
    assert dialog.download.isEnabled()
    assert "Free some space" not in words(dialog)


def test_a_name_that_is_changed_is_to_be_looked_up_again(owner: QWidget, qtbot: QtBot) -> None:
    question, dialog = asked(owner)
    question.show_error(HubError(f"the hub has no {REPO}", hint="Check the spelling: owner/repository."))
    assert f"The hub has no {REPO}. Check the spelling: owner/repository." in words(dialog)
    assert not dialog.download.isEnabled()
    dialog.look_up()
    question.show_offer(offer_at(7.2))
    QTest.keyClicks(dialog.name, "x")
    assert not dialog.download.isEnabled()
    with qtbot.waitSignal(question.look_requested) as looked:
        QTest.keyClick(dialog.name, Qt.Key.Key_Return)
    assert looked.args == [f"{REPO}x"]
    question.show_offer(offer_at(7.2))  # a late answer to the name of before
    assert not dialog.download.isEnabled()


def test_it_grows_with_what_it_says(owner: QWidget) -> None:
    question, dialog = asked(owner)
    question.show_offer(offer_at(7.2))
    dialog.choices.setCurrentRow(0)
    layout = dialog.layout()
    assert layout is not None
    assert dialog.height() >= layout.totalHeightForWidth(dialog.width())


def test_another_question_takes_the_place_of_the_first(owner: QWidget) -> None:
    question, first = asked(owner)
    question.ask("other/One-GGUF", serve_as="chat:8b")
    assert question.dialog is not None
    assert question.dialog is not first
    assert "Get a model for chat:8b" in words(question.dialog)
    question.dialog.reject()
    assert question.dialog is None
    question.show_offer(offer_at(7.2))  # nobody is there any more
    question.show_error(HubError("late"))
