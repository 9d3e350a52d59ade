"""The log page: the end of the file, filtered, held and followed; read off the Qt thread."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from core.config_load import LoadedSettings, load_settings
from core.snapshot import AgentSnapshot
from titan_gui.log_lines import LogLine, matching, read_line
from titan_gui.log_wiring import LogWiring
from titan_gui.pages.log import LINES_A_TURN, MAX_LINES, LogPage
from titan_gui.widgets.diagnostics_dialog import DiagnosticsDialog

pytestmark = pytest.mark.qt_log_ignore("propagateSizeHints")


def raw(event: str, level: str = "info", **fields: object) -> str:
    values = {"ts": "2026-11-25T09:19:12.345Z", "level": level, "event": event, "logger": "core.agent", **fields}
    return json.dumps(values)


def lines(*events: str, level: str = "info") -> tuple[LogLine, ...]:
    return tuple(read_line(raw(event, level)) for event in events)


@pytest.fixture
def page(qtbot: QtBot) -> LogPage:
    made = LogPage()
    qtbot.addWidget(made)
    made.resize(700, 300)
    with qtbot.waitExposed(made):
        made.show()
    return made


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedSettings:
    loaded = load_settings({"TITAN_HOME": str(tmp_path)})
    loaded.paths.log_dir.mkdir(parents=True)
    return loaded


def test_a_line_is_readable_and_keeps_its_level() -> None:
    line = read_line(raw("session ended", "warning", model="m", tokens=3))

    assert line.level == "warning"
    assert "warning  session ended  model=m tokens=3" in line.text


def test_a_traceback_stays_with_its_event() -> None:
    assert read_line(raw("x", exception="T\n  f\nE: y")).text.count("\n") == 3


@given(st.text())
def test_any_line_is_shown_without_control_characters(text: str) -> None:
    shown = read_line(text.replace("\n", " ")).text

    assert all(char.isprintable() for char in shown)


@given(st.text(), st.sampled_from(["info", "error"]))
def test_no_event_moves_the_cursor(event: str, level: str) -> None:
    shown = read_line(raw(event, level, field=event)).text

    assert not any(char in shown for char in "\x1b\r\x00\x08")
    assert "\n" not in shown


def test_filter_by_level_and_words_and_what_cannot_be_read_is_never_hidden() -> None:
    some = (*lines("good"), *lines("Bad thing", level="error"), read_line("no json"))

    assert [line.text[-9:] for line in matching(some, "warning", "")] == ["Bad thing", "no json"]
    assert [line.level for line in matching(some, "debug", "THING bad")] == ["error"]


def test_a_full_log_comes_in_slices_in_its_order(qtbot: QtBot, page: LogPage) -> None:
    lines = [LogLine("info", f"line {number}") for number in range(3 * LINES_A_TURN + 1)]
    page.show_lines(lines)
    assert page.text.toPlainText().splitlines() == [line.text for line in lines[:LINES_A_TURN]]
    page.show_lines([LogLine("error", "one more")])
    assert "one more" not in page.text.toPlainText()
    texts = [*(line.text for line in lines), "one more"]
    qtbot.waitUntil(lambda: page.text.toPlainText().splitlines() == texts)

    page.level.setCurrentIndex(3)
    assert page.text.toPlainText() == "one more"
    page.level.setCurrentIndex(0)
    page.level.setCurrentIndex(3)  # in the middle of it
    page.level.setCurrentIndex(0)
    qtbot.waitUntil(lambda: page.text.toPlainText().splitlines() == texts)


def test_new_lines_are_added_and_only_the_last_are_kept(qtbot: QtBot, page: LogPage) -> None:
    page.show_lines(lines("first"))
    page.show_lines(lines(*(f"event {number}" for number in range(MAX_LINES))))

    qtbot.waitUntil(lambda: page.text.toPlainText().endswith(f"event {MAX_LINES - 1}"))
    assert len(page.text.toPlainText().splitlines()) == MAX_LINES


def test_a_filter_holds_for_lines_that_come_later(qtbot: QtBot, page: LogPage) -> None:
    page.show_lines(lines("one fish", "two bird"))
    page.words.setText("fish")
    qtbot.waitUntil(lambda: page.text.toPlainText().count("\n") == 0 and "fish" in page.text.toPlainText())

    page.show_lines(lines("red fish", "cat"))

    assert [line[-4:] for line in page.text.toPlainText().splitlines()] == ["fish", "fish"]
    page.words.clear()
    qtbot.waitUntil(lambda: page.text.toPlainText().count("\n") == 3)


def test_the_level_filter(page: LogPage) -> None:
    page.show_lines((*lines("fine"), *lines("broken", level="error")))

    page.level.setCurrentIndex(page.level.findData("error"))

    assert page.text.toPlainText().endswith("broken")
    assert "fine" not in page.text.toPlainText()


def test_held_lines_come_when_following_again(page: LogPage) -> None:
    page.show_lines(lines("before"))
    page.follow.setChecked(False)
    page.show_lines(lines("while held"))
    assert "while held" not in page.text.toPlainText()

    page.follow.setChecked(True)

    assert page.text.toPlainText().endswith("while held")


def test_copy_takes_the_selection_or_everything_shown(page: LogPage) -> None:
    page.show_lines(lines("one", "two"))

    page.copy_button.click()
    assert QApplication.clipboard().text() == page.text.toPlainText()
    page.text.moveCursor(page.text.textCursor().MoveOperation.Start)
    page.text.moveCursor(page.text.textCursor().MoveOperation.EndOfBlock, page.text.textCursor().MoveMode.KeepAnchor)
    page.copy_button.click()
    assert QApplication.clipboard().text().endswith("one")


def test_a_hidden_page_asks_for_nothing(qtbot: QtBot) -> None:
    page = LogPage()
    qtbot.addWidget(page)
    asked: list[bool] = []
    page.lines_requested.connect(lambda: asked.append(True))
    page._timer.timeout.emit()
    assert asked == []

    page.show()
    assert asked == [True]
    page._timer.timeout.emit()
    assert asked == [True]  # the first answer is not there yet
    page.show_lines(())
    page._timer.timeout.emit()
    assert asked == [True, True]


def test_the_file_is_read_off_the_qt_thread_and_followed(
    qtbot: QtBot, loaded: LoadedSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: set[int] = set()

    def read(text: str) -> LogLine:
        readers.add(threading.get_ident())
        return read_line(text)

    monkeypatch.setattr("titan_gui.log_wiring.read_line", read)
    log = loaded.paths.log_file
    log.write_text(raw("one") + "\n" + raw("two") + "\n")
    page = LogPage()
    qtbot.addWidget(page)
    LogWiring(page, loaded=lambda: loaded, snapshot=AgentSnapshot)
    page.show()
    qtbot.waitUntil(lambda: page.text.toPlainText().endswith("two"))

    with log.open("a") as file:
        file.write(raw("three") + "\n")
    page._timer.timeout.emit()

    qtbot.waitUntil(lambda: page.text.toPlainText().endswith("three"))
    assert page.text.toPlainText().count("two") == 1
    assert threading.get_ident() not in readers


def test_a_log_that_cannot_be_read_is_said_until_it_can(qtbot: QtBot, loaded: LoadedSettings) -> None:
    log = loaded.paths.log_file
    log.mkdir()
    page = LogPage()
    qtbot.addWidget(page)
    LogWiring(page, loaded=lambda: loaded, snapshot=AgentSnapshot)
    page.show()
    qtbot.waitUntil(lambda: "Cannot read" in page.problem)

    log.rmdir()
    log.write_text(raw("back") + "\n")
    page._timer.timeout.emit()

    qtbot.waitUntil(lambda: page.text.toPlainText().endswith("back"))
    assert page.problem == ""


def test_diagnostics_are_previewed_and_saved_as_they_stand(
    qtbot: QtBot, loaded: LoadedSettings, tmp_path: Path
) -> None:
    loaded.paths.log_file.write_text(raw("one", peer="203.0.113.9") + "\n")
    page = LogPage()
    qtbot.addWidget(page)
    LogWiring(page, loaded=lambda: loaded, snapshot=AgentSnapshot)
    page.show()

    page.save_button.click()
    qtbot.waitUntil(lambda: bool(page.findChildren(DiagnosticsDialog)), timeout=15_000)
    (dialog,) = page.findChildren(DiagnosticsDialog)
    assert "203.0.113.9" not in dialog.text.toPlainText()
    assert not list(tmp_path.glob("*.txt"))  # nothing before the owner has seen it
    dialog.text.setPlainText("only this")
    target = tmp_path / "report.txt"
    dialog.choose_file(str(target))

    qtbot.waitUntil(target.exists)
    assert target.read_text() == "only this"
    assert target.stat().st_mode & 0o777 == 0o600
    qtbot.waitUntil(lambda: str(target) in page.problem)


def test_diagnostics_that_cannot_be_saved_are_said(qtbot: QtBot, loaded: LoadedSettings, tmp_path: Path) -> None:
    page = LogPage()
    qtbot.addWidget(page)
    wiring = LogWiring(page, loaded=lambda: loaded, snapshot=AgentSnapshot)
    page.show()

    in_the_way = tmp_path / "file"
    in_the_way.touch()

    wiring._on_save_requested(str(in_the_way / "report.txt"), "text")

    qtbot.waitUntil(lambda: "Cannot" in page.problem)
