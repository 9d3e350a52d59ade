"""The day's ribbon: what stands where, what is said of it, and where a click goes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from zoneinfo import ZoneInfo

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QColor, QPalette
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from core.time_use import DAY_S, Doing, Stretch, time_use_json
from titan_gui.theme import doing_colour
from titan_gui.time_view import TimeView, hour_ticks, runs_of, summary_text, time_view_of
from titan_gui.view_model import clock_text
from titan_gui.widgets.time_panel import TimePanel
from titan_gui.widgets.time_ribbon import BAND_HEIGHT, TimeRibbon

pytestmark = pytest.mark.qt_log_ignore("propagateSizeHints")

T = 1_800_000_000.0
HOUR = 3600.0


def result(*parts: tuple[float, float, Doing, str]) -> Mapping[str, object]:
    """A day from parts in hours since its begin."""
    return time_use_json(
        tuple(Stretch(start=T + a * HOUR, end=T + b * HOUR, what=what, reason_code=code) for a, b, what, code in parts)
    )


DAY = result(
    (0, 6, Doing.OFF, ""),
    (6, 12, Doing.READY, ""),
    (12, 18, Doing.PAUSED, "paused_by_owner"),
    (18, 24, Doing.SERVING, ""),
)


@pytest.fixture
def panel(qtbot: QtBot) -> TimePanel:
    made = TimePanel()
    qtbot.addWidget(made)
    made.resize(824, 200)
    made.show_result(DAY)
    with qtbot.waitExposed(made):
        made.show()
    return made


def at(ribbon: TimeRibbon, share: float) -> QPoint:
    return QPoint(int(share * ribbon.width()), BAND_HEIGHT // 2)


def test_columns_show_what_took_most_of_them() -> None:
    runs = runs_of(time_view_of(DAY), 240)

    assert [(run.first, run.end, run.stretch.what) for run in runs] == [
        (0, 60, Doing.OFF),
        (60, 120, Doing.READY),
        (120, 180, Doing.PAUSED),
        (180, 240, Doing.SERVING),
    ]


@pytest.mark.parametrize("width", [1, 7, 100, 2000])
def test_at_any_width_every_column_shows_one_thing(width: int) -> None:
    runs = runs_of(time_view_of(DAY), width)

    assert runs[0].first == 0
    assert runs[-1].end == width
    assert all(one.end == other.first for one, other in itertools.pairwise(runs))


def test_a_short_session_shows_in_a_day_of_waiting() -> None:
    minute = 1 / 60
    day = result(
        (0, 10, Doing.READY, ""), (10, 10 + minute / 6, Doing.SERVING, ""), (10 + minute / 6, 24, Doing.READY, "")
    )

    whats = [run.stretch.what for run in runs_of(time_view_of(day), 800)]

    assert whats == [Doing.READY, Doing.SERVING, Doing.READY]


def test_what_another_version_says_is_left_out() -> None:
    odd = {
        "stretches": [{"start": 1.0, "end": 2.0, "what": "dancing"}, "x", {"start": None}],
        "shares": [{"what": "x"}],
    }

    assert time_view_of(odd) == TimeView()
    assert time_view_of({}) == TimeView()
    assert runs_of(TimeView(), 100) == ()
    assert hour_ticks(TimeView(), 3) == ()


def test_small_shares_are_not_rounded_to_nothing() -> None:
    view = time_view_of(result((0, 0.1, Doing.SERVING, ""), (0.1, 24, Doing.READY, "")))

    assert summary_text(view) == "Serving < 1 %; Ready, nobody asked 100 %"


def test_hours_are_local_and_follow_a_change_of_clocks() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    midnight = 1_774_738_800.0  # 29 March 2026, 00:00: a day of 23 hours
    view = TimeView(since=midnight, until=midnight + DAY_S, stretches=(), legend=())

    ticks = [(round(tick.share * 24), tick.text) for tick in hour_ticks(view, 6, berlin)]

    assert ticks == [(0, "00:00"), (5, "06:00"), (11, "12:00"), (17, "18:00"), (23, "00:00")]


def test_hours_of_a_zone_off_by_a_quarter() -> None:
    view = TimeView(since=T, until=T + DAY_S, stretches=(), legend=())

    assert len(hour_ticks(view, 3, ZoneInfo("Asia/Kathmandu"))) == 8


def test_pointing_at_a_stretch_says_when_and_what(panel: TimePanel) -> None:
    QTest.mouseMove(panel.ribbon, at(panel.ribbon, 0.6))

    assert panel.pointed == (f"{clock_text(T + 12 * HOUR)} to {clock_text(T + 18 * HOUR)}, 6 h: Paused by you")
    assert panel.ribbon.cursor().shape() is Qt.CursorShape.PointingHandCursor
    QTest.mouseMove(panel.ribbon, at(panel.ribbon, 0.9))
    assert panel.pointed.endswith("to now, 6 h: Serving")
    assert panel.ribbon.cursor().shape() is Qt.CursorShape.ArrowCursor


def test_a_click_goes_to_the_reason_behind_it(qtbot: QtBot, panel: TimePanel) -> None:
    with qtbot.waitSignal(panel.reason_requested, timeout=0) as asked:
        QTest.mouseClick(panel.ribbon, Qt.MouseButton.LeftButton, pos=at(panel.ribbon, 0.6))
    assert asked.args == ["paused_by_owner"]

    with qtbot.assertNotEmitted(panel.reason_requested):
        QTest.mouseClick(panel.ribbon, Qt.MouseButton.LeftButton, pos=at(panel.ribbon, 0.9))


def test_the_keyboard_walks_through_the_day(qtbot: QtBot, panel: TimePanel) -> None:
    panel.ribbon.setFocus()
    assert panel.pointed.endswith("Serving")  # now
    QTest.keyClick(panel.ribbon, Qt.Key.Key_Left)
    assert panel.pointed.endswith("Paused by you")
    assert panel.ribbon.accessibleDescription() == panel.pointed
    with qtbot.waitSignal(panel.reason_requested, timeout=0):
        QTest.keyClick(panel.ribbon, Qt.Key.Key_Return)
    QTest.keyClick(panel.ribbon, Qt.Key.Key_Home)
    QTest.keyClick(panel.ribbon, Qt.Key.Key_Left)
    assert panel.pointed.endswith("Not running")
    QTest.keyClick(panel.ribbon, Qt.Key.Key_End)
    QTest.keyClick(panel.ribbon, Qt.Key.Key_Right)
    assert panel.pointed.endswith("Serving")


def test_the_legend_has_shares_and_leads_to_reasons_by_keyboard_too(qtbot: QtBot, panel: TimePanel) -> None:
    assert [button.text().strip() for button in panel.legend] == [
        "Serving 25 %",
        "Ready, nobody asked 25 %",
        "Paused by you 25 %",
        "Not running 25 %",
    ]
    paused = panel.legend[2]
    assert paused.focusPolicy() is Qt.FocusPolicy.StrongFocus
    assert panel.legend[0].focusPolicy() is Qt.FocusPolicy.NoFocus
    with qtbot.waitSignal(panel.reason_requested, timeout=0) as asked:
        QTest.keyClick(paused, Qt.Key.Key_Space)
    assert asked.args == ["paused_by_owner"]


def test_the_legends_first_line_has_its_room_before_the_answer_comes(qtbot: QtBot) -> None:
    made = TimePanel()
    qtbot.addWidget(made)
    made.resize(824, 200)
    made.show()
    before = made.sizeHint().height()

    made.show_result(result((0, 24, Doing.SERVING, "")))

    assert len(made.legend) == 1
    qtbot.waitUntil(made.legend[0].isVisible)
    assert made.sizeHint().height() == before


def test_a_legend_that_shrinks_and_a_day_that_is_empty(panel: TimePanel) -> None:
    panel.show_result(result((0, 24, Doing.BROKEN, "model_not_ready")))
    assert [button.text().strip() for button in panel.legend] == ["Not working: no model to offer 100 %"]

    panel.show_result({})

    assert panel.legend == ()
    panel.ribbon.setFocus()
    for key in (Qt.Key.Key_Left, Qt.Key.Key_Right, Qt.Key.Key_Home, Qt.Key.Key_End, Qt.Key.Key_Return):
        QTest.keyClick(panel.ribbon, key)
    assert panel.pointed == ""


def test_each_thing_has_its_own_look_in_grey_too(panel: TimePanel) -> None:
    """Patterns: two things differ although their colours were the same."""
    kinds = list(Doing)
    panel.show_result(result(*((3 * n, 3 * (n + 1), one, "") for n, one in enumerate(kinds))))
    image = panel.ribbon.grab().toImage()
    step = image.width() / len(kinds)

    def look(number: int) -> tuple[tuple[float, ...], ...]:
        """Lightness of a patch of 12 by 20 points, as rows."""
        left = int(step * number + step / 2) // 12 * 12
        return tuple(
            tuple(round(image.pixelColor(left + x, 5 + y).lightnessF(), 1) for x in range(12)) for y in range(20)
        )

    assert len({look(number) for number in range(len(kinds))}) == len(kinds)


def test_colours_follow_the_theme() -> None:
    light, dark = QPalette(QColor("#efefef")), QPalette(QColor("#202020"), QColor("#202020"))

    assert doing_colour(light, Doing.SERVING) != doing_colour(dark, Doing.SERVING)
    assert {doing_colour(light, what).isValid() for what in Doing} == {True}
