"""The charts as widgets: loaded late, drawn only while seen, with values under the pointer."""

from __future__ import annotations

import subprocess
import sys

import pytest
from PySide6.QtCore import QPoint
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QGraphicsView, QLabel, QScrollArea
from pytestqt.qtbot import QtBot

from core.snapshot import Reason
from tests.fakes.machines import card, measured
from titan_gui.charts import ChartData
from titan_gui.history import History, Span
from titan_gui.pages.dashboard import DashboardPage
from titan_gui.widgets.charts_panel import ChartsPanel
from titan_gui.widgets.history_chart import HistoryChart, chart_height

pytestmark = pytest.mark.qt_log_ignore("propagateSizeHints")

NOW = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW + 60

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def history() -> History:
    made = History()
    for second in range(0, 60, 2):
        made.record(measured(NOW + second, card("a"), card("b", load=10.0)), NOW + second)
    return made


@pytest.fixture
def panel(qtbot: QtBot, history: History, clock: Clock) -> ChartsPanel:
    made = ChartsPanel(history, clock=clock)
    qtbot.addWidget(made)
    made.resize(900, 600)
    with qtbot.waitSignal(made.ready, timeout=20_000):
        made.show()
    return made


def test_pyqtgraph_is_not_there_before_a_chart_is() -> None:
    code = (
        "import sys, titan_gui.window_pages, titan_gui.pages.dashboard, titan_gui.overview_wiring\n"
        "sys.exit('pyqtgraph' in sys.modules or 'numpy' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_charts_that_come_find_their_room_and_move_nothing(qtbot: QtBot, history: History, clock: Clock) -> None:
    panel = ChartsPanel(history, clock=clock)
    qtbot.addWidget(panel)
    panel.show()
    before = panel.sizeHint()
    assert panel.charts == {}
    with qtbot.waitSignal(panel.ready, timeout=20_000):
        pass
    assert len(panel.charts) == 6
    assert abs(panel.sizeHint().height() - before.height()) <= 3  # of three rows
    assert {chart.sizeHint().height() for chart in panel.charts.values()} <= {
        chart_height(panel.font()) + n for n in (0, 1)
    }


def test_a_pointer_over_the_plot_shows_the_moment(qtbot: QtBot, panel: ChartsPanel) -> None:
    chart = panel.charts["cpu"]
    plot = chart.findChild(QGraphicsView)
    assert plot is not None
    QTest.mouseMove(plot.viewport(), QPoint(plot.width() - 20, plot.height() // 2))
    qtbot.waitUntil(lambda: ":" in chart.legend_text.split(",")[0])


def test_every_chart_shows_its_newest_values(panel: ChartsPanel) -> None:
    texts = {name: chart.legend_text for name, chart in panel.charts.items()}

    assert texts["vram-a"] == "ours 3.9 GB, others 2.0 GB"
    assert texts["gpu_load"] == "GPU 1: 50 %, GPU 2: 10 %"
    assert texts["temperature"] == "GPU 1: 60 °C, GPU 2: 60 °C"
    assert texts["cpu"] == "ours 10 %, others 30 %"


def test_hovering_shows_the_values_of_that_moment(panel: ChartsPanel, history: History, clock: Clock) -> None:
    history.record(measured(NOW + 62, card("a", load=99.0), card("b")), NOW + 62)
    clock.now = NOW + 62
    panel.refresh("")
    chart = panel.charts["gpu_load"]
    assert chart.legend_text.startswith("GPU 1: 99 %")

    chart.hover_at(-10.0)
    assert "GPU 1: 50 %" in chart.legend_text
    assert ":" in chart.legend_text.split(",")[0]  # the time of that moment
    chart.hover_at(None)
    assert chart.legend_text.startswith("GPU 1: 99 %")


def test_the_day_is_shown_on_demand(panel: ChartsPanel) -> None:
    panel.set_span(Span.DAY)

    assert panel.span is Span.DAY
    assert panel.charts["cpu"].legend_text == "ours 10 %, others 30 %"


def test_nothing_is_drawn_while_hidden_and_the_newest_when_shown(
    panel: ChartsPanel, history: History, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    real = HistoryChart.show_data

    def record(chart: HistoryChart, data: ChartData) -> None:
        drawn.append(data.spec.name)
        real(chart, data)

    monkeypatch.setattr(HistoryChart, "show_data", record)
    panel.hide()
    history.record(measured(NOW + 70, card("a", load=77.0), card("b")), NOW + 70)
    clock.now = NOW + 70
    panel.refresh("")
    assert drawn == []

    panel.show()

    assert "gpu_load" in drawn
    assert panel.charts["gpu_load"].legend_text.startswith("GPU 1: 77 %")


def test_a_chart_out_of_sight_is_drawn_when_it_is_scrolled_in(
    qtbot: QtBot, panel: ChartsPanel, history: History, clock: Clock
) -> None:
    area = QScrollArea()
    qtbot.addWidget(area)
    area.setWidgetResizable(True)
    area.setWidget(panel)
    area.resize(900, 150)
    area.show()
    qtbot.waitUntil(lambda: panel.charts["gpu_load"].visibleRegion().isEmpty())
    history.record(measured(NOW + 70, card("a", load=77.0), card("b")), NOW + 70)
    clock.now = NOW + 70
    panel.refresh("")
    assert panel.charts["gpu_load"].legend_text.startswith("GPU 1: 50 %")

    area.verticalScrollBar().setValue(area.verticalScrollBar().maximum())

    qtbot.waitUntil(lambda: panel.charts["gpu_load"].legend_text.startswith("GPU 1: 77 %"))
    area.takeWidget()  # the fixture closes it


def test_without_a_new_sample_nothing_is_drawn(panel: ChartsPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HistoryChart, "show_data", lambda self, data: pytest.fail("drawn without need"))

    panel.refresh("")


def test_a_card_that_comes_late_gets_its_charts(
    qtbot: QtBot, panel: ChartsPanel, history: History, clock: Clock
) -> None:
    history.record(measured(NOW + 70, card("a"), card("b"), card("c")), NOW + 70)
    clock.now = NOW + 70

    with qtbot.waitSignal(panel.ready, timeout=5000):
        panel.refresh("")

    assert "vram-c" in panel.charts


def test_no_card_is_said(qtbot: QtBot, clock: Clock) -> None:
    history = History()
    history.record(measured(NOW), NOW)
    panel = ChartsPanel(history, clock=clock)
    qtbot.addWidget(panel)
    with qtbot.waitSignal(panel.ready, timeout=20_000):
        panel.show()

    panel.refresh("no NVIDIA driver")

    assert panel.note == "no NVIDIA driver"


def test_a_paused_stretch_is_painted(panel: ChartsPanel, history: History, clock: Clock) -> None:
    chart = panel.charts["cpu"]
    before = chart.grab().toImage()
    history.record(measured(NOW + 60, card("a"), card("b"), reasons=(Reason(code="x", sentence="x"),)), NOW + 60)
    history.record(measured(NOW + 300, card("a"), card("b")), NOW + 300)
    clock.now = NOW + 300

    panel.refresh("")
    image = chart.grab().toImage()

    middle = image.width() * 3 // 4, image.height() // 2
    assert image.pixelColor(*middle) != before.pixelColor(*middle)


def test_the_wheel_over_a_chart_scrolls_the_page(qtbot: QtBot, history: History, clock: Clock) -> None:
    page = DashboardPage(history, clock=clock)
    qtbot.addWidget(page)
    page.resize(900, 400)
    with qtbot.waitSignal(page.charts.ready, timeout=20_000):
        page.show()
    area = page.findChild(QScrollArea)
    assert area is not None
    bar = area.verticalScrollBar()
    qtbot.waitUntil(lambda: bar.maximum() > 0)
    plot = page.charts.charts["ram"].findChild(QGraphicsView)
    assert plot is not None
    for spot in (plot.rect().center(), QPoint(10, plot.height() // 2)):  # on the curves, and on the values' axis
        bar.setValue(bar.maximum())
        area.ensureWidgetVisible(plot, 0, 0)
        qtbot.waitUntil(lambda at=spot: page.childAt(plot.mapTo(page, at)) is plot.viewport())  # type: ignore[misc]
        before = bar.value()

        QTest.wheelEvent(page.windowHandle(), plot.mapTo(page, spot), QPoint(0, 120))  # up

        qtbot.waitUntil(lambda was=before: bar.value() < was, timeout=2000)  # type: ignore[misc]


def test_a_legend_stays_where_it_is_when_figures_change(panel: ChartsPanel, history: History, clock: Clock) -> None:
    chart = panel.charts["gpu_load"]

    def places() -> list[tuple[int, int]]:
        QApplication.processEvents()
        marks = [label for label in chart.findChildren(QLabel) if label.text() == "■"]
        return [(mark.mapTo(chart, QPoint()).x(), mark.width()) for mark in marks]

    seen = []
    for step, load in enumerate((1.0, 64.0, 100.0, 7.0)):
        at = NOW + 70 + 2 * step
        history.record(measured(at, card("a", load=load), card("b", load=load)), at)
        clock.now = at
        panel.refresh("")
        seen.append(places())

    assert len(seen[0]) == 2
    assert seen == [seen[0]] * 4
