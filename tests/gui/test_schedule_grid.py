"""The week's grid: what a drag, a key and a title do, and what is told."""

from __future__ import annotations

import itertools
import time

import pytest
from PySide6.QtCore import QLocale, QPoint, QPointF, QRectF, Qt
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from core.rules.schedule import ALWAYS, NEVER, Grid, format_schedule, parse_schedule
from titan_gui.widgets.schedule_grid import CELL_HEIGHT, Cell, ScheduleGrid

pytestmark = pytest.mark.qt_log_ignore("propagateSizeHints")

GERMAN, AMERICAN, ARABIC = (
    QLocale(QLocale.Language.German, QLocale.Country.Germany),
    QLocale(QLocale.Language.English, QLocale.Country.UnitedStates),
    QLocale(QLocale.Language.Arabic, QLocale.Country.Egypt),
)
WEDNESDAY = time.mktime((2026, 11, 25, 13, 30, 0, 0, 0, -1))
LEFT = Qt.MouseButton.LeftButton


def shown(qtbot: QtBot, locale: QLocale = GERMAN) -> ScheduleGrid:
    made = ScheduleGrid(clock=lambda: WEDNESDAY, locale=locale)
    qtbot.addWidget(made)
    made.resize(700, made.sizeHint().height())
    with qtbot.waitExposed(made):
        made.show()
    return made


@pytest.fixture
def grid(qtbot: QtBot) -> ScheduleGrid:
    made = shown(qtbot)
    made.show_grid(NEVER)
    return made


def middle(grid: ScheduleGrid, cell: Cell) -> QPoint:
    return grid.cell_rect(cell).center().toPoint()


def drag(grid: ScheduleGrid, start: Cell, end: Cell) -> None:
    QTest.mousePress(grid, LEFT, pos=middle(grid, start))
    QTest.mouseMove(grid, middle(grid, end))
    QTest.mouseRelease(grid, LEFT, pos=middle(grid, end))


def test_a_drag_turns_a_rectangle_on_and_tells_it_once(qtbot: QtBot, grid: ScheduleGrid) -> None:
    told: list[Grid] = []
    grid.edited.connect(told.append)

    drag(grid, (0, 9), (4, 16))

    assert format_schedule(grid.grid) == "mon-fri 09-17"
    assert told == [grid.grid]


def test_a_drag_that_begins_on_a_shared_hour_turns_off_in_any_direction(grid: ScheduleGrid) -> None:
    grid.show_grid(ALWAYS)

    drag(grid, (4, 16), (0, 9))

    assert grid.grid == parse_schedule("mon-fri 00-09 17-24, sat-sun all")


def test_a_rectangle_that_shrinks_gives_back_what_was_there(grid: ScheduleGrid) -> None:
    QTest.mousePress(grid, LEFT, pos=middle(grid, (0, 0)))
    QTest.mouseMove(grid, middle(grid, (6, 23)))
    QTest.mouseMove(grid, middle(grid, (0, 1)))
    QTest.mouseRelease(grid, LEFT, pos=middle(grid, (0, 1)))

    assert format_schedule(grid.grid) == "mon 00-02"


def test_a_drag_beyond_the_edge_ends_at_the_edge(grid: ScheduleGrid) -> None:
    QTest.mousePress(grid, LEFT, pos=middle(grid, (5, 20)))
    QTest.mouseMove(grid, QPoint(grid.width() + 50, grid.height() + 50))
    QTest.mouseRelease(grid, LEFT, pos=QPoint(grid.width() + 50, grid.height() + 50))

    assert format_schedule(grid.grid) == "sat-sun 20-24"


def test_escape_gives_a_drag_up(qtbot: QtBot, grid: ScheduleGrid) -> None:
    with qtbot.assertNotEmitted(grid.edited):
        QTest.mousePress(grid, LEFT, pos=middle(grid, (0, 0)))
        QTest.mouseMove(grid, middle(grid, (3, 3)))
        QTest.keyClick(grid, Qt.Key.Key_Escape)
        QTest.mouseRelease(grid, LEFT, pos=middle(grid, (3, 3)))

    assert grid.grid == NEVER


def test_settings_that_come_in_during_a_drag_do_not_disturb_it(grid: ScheduleGrid) -> None:
    QTest.mousePress(grid, LEFT, pos=middle(grid, (0, 5)))
    grid.show_grid(ALWAYS)
    QTest.mouseRelease(grid, LEFT, pos=middle(grid, (0, 5)))

    assert format_schedule(grid.grid) == "mon 05-06"


def test_the_keyboard_walks_marks_and_turns(qtbot: QtBot, grid: ScheduleGrid) -> None:
    grid.setFocus()
    for key in (Qt.Key.Key_Down, Qt.Key.Key_Right, Qt.Key.Key_Right):
        QTest.keyClick(grid, key)
    assert grid.accessibleDescription() == "Dienstag, 02:00 to 03:00: not shared"
    QTest.keyClick(grid, Qt.Key.Key_Down, Qt.KeyboardModifier.ShiftModifier)
    QTest.keyClick(grid, Qt.Key.Key_End, Qt.KeyboardModifier.ShiftModifier)
    with qtbot.waitSignal(grid.edited, timeout=0):
        QTest.keyClick(grid, Qt.Key.Key_Space)
    assert format_schedule(grid.grid) == "tue-wed 02-24"

    QTest.keyClick(grid, Qt.Key.Key_Space)
    assert grid.grid == NEVER


def test_the_keyboard_stays_inside(grid: ScheduleGrid) -> None:
    grid.setFocus()
    for key in (Qt.Key.Key_Up, Qt.Key.Key_Left, Qt.Key.Key_Space):
        QTest.keyClick(grid, key)
    assert format_schedule(grid.grid) == "mon 00-01"
    for _ in range(9):
        QTest.keyClick(grid, Qt.Key.Key_Down)
    QTest.keyClick(grid, Qt.Key.Key_End)
    QTest.keyClick(grid, Qt.Key.Key_Right)
    QTest.keyClick(grid, Qt.Key.Key_Space)
    assert format_schedule(grid.grid) == "sun 23-01"


def test_a_click_on_a_day_or_an_hour_turns_all_of_it(grid: ScheduleGrid) -> None:
    row = middle(grid, (2, 0))
    QTest.mouseClick(grid, LEFT, pos=QPoint(3, row.y()))
    assert format_schedule(grid.grid) == "wed all"

    column = middle(grid, (0, 7))
    QTest.mouseClick(grid, LEFT, pos=QPoint(column.x(), 3))
    assert grid.grid == parse_schedule("daily 07-08, wed all")  # not all of it was on: now it is
    QTest.mouseClick(grid, LEFT, pos=QPoint(column.x(), 3))
    assert grid.grid == parse_schedule("wed 00-07 08-24")


@pytest.mark.parametrize(("locale", "first"), [(GERMAN, 0), (AMERICAN, 6), (ARABIC, 5)])
def test_the_week_begins_where_the_country_begins_it(qtbot: QtBot, locale: QLocale, first: int) -> None:
    grid = shown(qtbot, locale)
    grid.show_grid(NEVER)

    assert grid.days[0] == first
    assert grid.cell_rect((first, 0)).top() < grid.cell_rect(((first + 1) % 7, 0)).top()
    drag(grid, (first, 0), (grid.days[1], 0))
    assert [day for day in range(7) if grid.grid[day][0]] == sorted((first, grid.days[1]))


def test_now_is_marked(grid: ScheduleGrid) -> None:
    here, there = (grid.cell_rect((day, 13)).adjusted(2, 4, -2, -4) for day in (2, 3))
    image = grid.grab().toImage()

    def colours(rect: QRectF) -> set[int]:
        return {image.pixelColor(x, int(rect.center().y())).rgb() for x in range(int(rect.left()), int(rect.right()))}

    assert len(colours(there)) == 1
    assert len(colours(here)) > 1


def test_pointing_says_the_hour(grid: ScheduleGrid) -> None:
    said: list[str] = []
    grid.pointed.connect(said.append)

    QTest.mouseMove(grid, middle(grid, (6, 23)))

    assert said[-1] == "Sonntag, 23:00 to 24:00: not shared"


@pytest.mark.qt_log_ignore("not accepted by receiving widget", extend=True)
def test_a_locked_grid_takes_nothing(qtbot: QtBot, grid: ScheduleGrid) -> None:
    grid.setEnabled(False)
    with qtbot.assertNotEmitted(grid.edited):
        drag(grid, (0, 0), (3, 3))

    assert grid.grid == NEVER


@pytest.mark.parametrize("width", [300, 700, 1500])
def test_cells_fill_the_width_and_do_not_overlap(qtbot: QtBot, grid: ScheduleGrid, width: int) -> None:
    grid.resize(width, grid.sizeHint().height())

    rects = [grid.cell_rect((0, hour)) for hour in range(24)]

    assert all(one.right() <= other.left() for one, other in itertools.pairwise(rects))
    assert rects[-1].right() <= width
    assert grid.cell_rect((6, 0)).bottom() <= grid.height()
    assert rects[0].height() == CELL_HEIGHT
    assert isinstance(rects[0].center(), QPointF)
