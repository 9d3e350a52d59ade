"""The window's frame: pages, the last snapshot for each, its place remembered, and no closing by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import QEventLoop, QSettings, Qt, QTimer
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QListWidget, QStatusBar, QWidget
from pytestqt.qtbot import QtBot

from core.snapshot import AgentSnapshot
from tests.fakes.snapshots import busy_snapshot, paused_snapshot
from titan_gui.main_window import DEFAULT_SIZE, MainWindow
from titan_gui.step_builder import Steps

pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")  # what the offscreen display can't do

MakeWindow = Callable[[], MainWindow]


class FakePage(QWidget):
    def __init__(self) -> None:
        super().__init__()
        self.rendered: list[AgentSnapshot] = []

    def render(self, snapshot: AgentSnapshot) -> None:  # type: ignore[override]
        self.rendered.append(snapshot)


@pytest.fixture
def make_window(qtbot: QtBot, tmp_path: Path) -> MakeWindow:
    """Each is a new start of the program with the same memory."""

    def make() -> MainWindow:
        window = MainWindow(QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat))
        qtbot.addWidget(window, before_close_func=lambda widget: widget.close_for_good())
        return window

    return make


def fill(window: MainWindow) -> dict[str, FakePage]:
    pages = {"dashboard": FakePage(), "activity": FakePage(), "settings": FakePage()}
    for name, page in pages.items():
        window.add_page(name, name.title(), page)
    return pages


def test_the_first_page_is_shown_and_the_list_turns_pages(make_window: MakeWindow) -> None:
    window = make_window()
    assert window.current_page == ""
    fill(window)
    assert window.page_names == ("dashboard", "activity", "settings")
    assert window.current_page == "dashboard"
    names = window.findChild(QListWidget, "pages")
    assert isinstance(names, QListWidget)
    assert names.accessibleName()
    names.setCurrentRow(2)
    assert window.current_page == "settings"


def test_a_link_turns_to_its_page_and_an_unknown_one_changes_nothing(make_window: MakeWindow) -> None:
    window = make_window()
    fill(window)
    window.show_page("activity")
    window.show_page("nowhere")
    assert window.current_page == "activity"


def test_the_arrow_keys_turn_pages(make_window: MakeWindow) -> None:
    window = make_window()
    fill(window)
    names = window.findChild(QListWidget, "pages")
    assert isinstance(names, QListWidget)
    QTest.keyClick(names, Qt.Key.Key_Down)
    assert window.current_page == "activity"


def test_every_page_gets_each_snapshot_and_a_late_page_the_last_one(make_window: MakeWindow) -> None:
    window = make_window()
    pages = fill(window)
    window.render_snapshot(busy_snapshot())
    window.render_snapshot(paused_snapshot())
    assert [page.rendered for page in pages.values()] == [[busy_snapshot(), paused_snapshot()]] * 3
    late = FakePage()
    window.add_page("log", "Log", late)
    assert late.rendered == [paused_snapshot()]


def test_a_widget_that_renders_nothing_is_a_page_too(make_window: MakeWindow) -> None:
    window = make_window()
    window.add_page("about", "About", QLabel("TitanCompute"))
    window.render_snapshot(busy_snapshot())
    assert isinstance(window.page("about"), QLabel)


def test_two_pages_of_one_name_are_a_bug(make_window: MakeWindow) -> None:
    window = make_window()
    fill(window)
    with pytest.raises(ValueError, match="activity"):
        window.add_page("activity", "Activity", QWidget())
    with pytest.raises(KeyError):
        window.page("nowhere")


# Pages that are built later


class Works:
    """Makes pages in two steps each, and notes the order."""

    def __init__(self, window: MainWindow, *names: str) -> None:
        self.made: dict[str, FakePage] = {}
        self.begun: list[str] = []
        for name in names:
            window.add_page_later(name, name.title(), lambda name=name: self._make(name))  # type: ignore[misc]

    def _make(self, name: str) -> Steps:
        self.begun.append(name)
        yield None
        self.made[name] = page = FakePage()
        return page


def test_pages_are_built_once_the_window_is_seen_the_shown_one_first(make_window: MakeWindow, qtbot: QtBot) -> None:
    window = make_window()
    works = Works(window, "dashboard", "activity", "settings")
    window.render_snapshot(busy_snapshot())
    window.show_page("activity")
    assert window.page_names == ("dashboard", "activity", "settings")
    assert works.made == {}
    with qtbot.waitSignal(window.all_built):
        window.show()
        assert works.made == {}  # first the frame
    assert list(works.made) == ["activity", "dashboard", "settings"]
    assert window.current_page == "activity"
    assert [window.page(name) for name in works.made] == list(works.made.values())
    assert works.made["activity"].isVisible()
    assert [page.rendered for page in works.made.values()] == [[busy_snapshot()]] * 3


def test_each_step_of_each_page_has_a_turn_of_its_own(make_window: MakeWindow, qtbot: QtBot) -> None:
    window = make_window()
    works = Works(window, "dashboard", "activity", "settings")
    turns: set[tuple[int, int]] = set()
    between = QTimer(interval=0)
    between.timeout.connect(lambda: turns.add((len(works.begun), len(works.made))))
    between.start()
    with qtbot.waitSignal(window.all_built):
        window.show()
    between.stop()
    assert {(1, 0), (1, 1), (2, 1), (2, 2), (3, 2)} <= turns


def test_a_page_that_is_half_built_is_finished_when_it_is_turned_to(make_window: MakeWindow, qtbot: QtBot) -> None:
    window = make_window()
    works = Works(window, "dashboard", "activity")
    with qtbot.waitSignal(window.all_built):
        window.show()
        while works.begun != ["dashboard", "activity"]:
            QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 0)
        window.show_page("activity")
    assert works.begun == ["dashboard", "activity"]
    assert works.made["activity"].isVisible()


def test_a_page_that_is_turned_to_is_built_next_and_none_of_it_in_the_click(
    make_window: MakeWindow, qtbot: QtBot
) -> None:
    window = make_window()
    works = Works(window, "dashboard", "activity", "settings")
    with qtbot.waitSignal(window.all_built):
        window.show()
        while not works.made:
            QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 0)
        window.show_page("settings")
        assert window.current_page == "settings"
        assert list(works.made) == ["dashboard"]
    assert list(works.made) == ["dashboard", "settings", "activity"]
    assert works.made["settings"].isVisible()


def test_a_page_that_is_asked_for_is_built_at_once(make_window: MakeWindow, qtbot: QtBot) -> None:
    window = make_window()
    works = Works(window, "dashboard", "activity", "settings")
    assert window.page("settings") is works.made["settings"]
    assert list(works.made) == ["settings"]
    with qtbot.waitSignal(window.all_built):
        window.show()


def test_who_waits_for_a_page_gets_it_once_it_stands(make_window: MakeWindow, qtbot: QtBot) -> None:
    window = make_window()
    works = Works(window, "dashboard", "activity")
    got: list[QWidget] = []
    window.when_built("activity", got.append)
    window.when_built("nowhere", got.append)
    with qtbot.waitSignal(window.all_built):
        window.show()
        assert got == []
    assert got == [works.made["activity"]]
    window.when_built("dashboard", got.append)
    assert got[1:] == [works.made["dashboard"]]


def test_a_minimised_window_builds_nothing_until_it_is_seen(make_window: MakeWindow, qtbot: QtBot) -> None:
    window = make_window()
    works = Works(window, "dashboard", "activity")
    window.showMinimized()
    QApplication.processEvents()
    QApplication.processEvents()
    assert works.made == {}
    with qtbot.waitSignal(window.all_built):
        window.bring_up()
    assert list(works.made) == ["dashboard", "activity"]


def test_the_remembered_page_is_the_first_one_built(make_window: MakeWindow, qtbot: QtBot) -> None:
    first = make_window()
    fill(first)
    first.show_page("settings")
    first.show()
    first.hide()
    again = make_window()
    works = Works(again, "dashboard", "activity", "settings")
    with qtbot.waitSignal(again.all_built):
        again.show()
    assert next(iter(works.made)) == "settings"
    assert again.current_page == "settings"


def test_closing_only_asks(make_window: MakeWindow, qtbot: QtBot) -> None:
    window = make_window()
    window.show()
    with qtbot.waitSignal(window.close_requested):
        window.close()
    assert window.isVisible()
    with qtbot.assertNotEmitted(window.close_requested):
        window.close_for_good()
    assert not window.isVisible()


def test_place_and_page_are_remembered(make_window: MakeWindow) -> None:
    first = make_window()
    fill(first)
    first.resize(720, 510)
    first.show_page("settings")
    first.show()
    first.hide()
    again = make_window()
    fill(again)
    assert (again.width(), again.height(), again.current_page) == (720, 510, "settings")


@pytest.mark.parametrize("damage", ["\x00", "[General]\ngeometry=no\npage=7\n"])
def test_a_damaged_memory_means_the_default_place(make_window: MakeWindow, tmp_path: Path, damage: str) -> None:
    (tmp_path / "window.ini").write_text(damage)
    window = make_window()
    fill(window)
    assert window.height() == DEFAULT_SIZE.height()
    assert window.current_page == "dashboard"


def test_a_new_window_fits_a_small_screen(make_window: MakeWindow) -> None:
    window = make_window()
    fill(window)
    screen = window.screen().availableSize()
    assert screen.width() < DEFAULT_SIZE.width()
    assert window.width() < screen.width()


def test_quit_is_reachable_by_button_and_key(make_window: MakeWindow, qtbot: QtBot) -> None:
    window = make_window()
    with qtbot.waitActive(window):
        window.bring_up()
    with qtbot.waitSignal(window.quit_requested):
        QTest.keyClick(window, Qt.Key.Key_Q, Qt.KeyboardModifier.ControlModifier)


def test_a_minimised_window_comes_back(make_window: MakeWindow) -> None:
    window = make_window()
    window.showMinimized()
    window.bring_up()
    assert window.isVisible()
    assert not window.isMinimized()


def test_an_answer_in_the_status_bar_changes_no_pages_height(qtbot: QtBot, make_window: MakeWindow) -> None:
    window = make_window()
    pages = fill(window)
    with qtbot.waitExposed(window):
        window.show()
    bar = window.findChild(QStatusBar)
    assert bar is not None
    assert bar.isVisible()
    before = pages["dashboard"].height()

    bar.showMessage("Paused.")
    qtbot.wait(0)
    assert pages["dashboard"].height() == before
    bar.clearMessage()
    qtbot.wait(0)
    assert pages["dashboard"].height() == before
