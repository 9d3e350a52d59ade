"""One chart of the history. The only module that imports pyqtgraph, and only inside functions: it costs 54 MB."""

from __future__ import annotations

import time
from typing import Any

from PySide6.QtCore import QEvent, QPointF, QRectF, Qt, QTimer, Signal
from PySide6.QtGui import QBrush, QColor, QFont, QFontMetrics, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import (
    QFrame,
    QGraphicsGridLayout,
    QGraphicsItem,
    QHBoxLayout,
    QVBoxLayout,
    QWidget,
)

from titan_gui.charts import ChartData, Shape, axis_steps, axis_text, time_ticks, value_text, widest_texts
from titan_gui.qt_imports import import_modules
from titan_gui.series import Shade
from titan_gui.theme import Colours, colours_of, dimmed, tabular
from titan_gui.widgets.chart_legend import ChartLegend, colour_of
from titan_gui.widgets.text_labels import ElidedLabel

CHARTS_QT = tuple(  # what pyqtgraph imports of PySide6, where it is there
    f"PySide6.{name}" for name in ("QtCore", "QtGui", "QtWidgets", "QtOpenGL", "QtOpenGLWidgets", "QtSvg", "QtTest")
)
PLOT_HEIGHT = 132
GAP_PX = 4  # between the legend and the plot
AREA_ALPHA = 90


def import_charts() -> None:
    """Take the import's quarter of a second: for a worker thread. Makes no Qt object."""
    import_modules(("pyqtgraph",))


def chart_height(font: QFont) -> int:
    """How much room a chart takes whose legend is one line: for the layout, before there is a chart. In pixels."""
    return QFontMetrics(tabular(font, bold=True)).lineSpacing() + GAP_PX + PLOT_HEIGHT


class HistoryChart(QWidget):
    """Title, legend with the newest values (or those under the pointer), and the plot. `show_data` repaints.

    One that is scrolled out of sight needs no data: `is_stale` says that it missed some, and `exposed` asks for them.
    """

    exposed = Signal()

    def __init__(self, title: str) -> None:
        import pyqtgraph as pg

        super().__init__()
        self.is_stale = False
        self._data: ChartData | None = None
        self._hover_x: float | None = None
        self._heading = ElidedLabel(bold=True)
        self._heading.show_text(title)
        self._legend = ChartLegend()
        self._axes = {side: pg.AxisItem(side) for side in ("bottom", "left")}
        self._box = pg.ViewBox(enableMenu=False, enableMouse=False)
        self._plot = self._make_plot()
        self._item = _ShapesItem()
        self._cursor = pg.InfiniteLine(angle=90, movable=False)
        self._cursor.hide()
        for item in (self._item, self._cursor):
            self._box.addItem(item, ignoreBounds=True)
        self._plot.scene().sigMouseMoved.connect(self._on_scene_mouse_moved)
        self._plot.viewport().installEventFilter(self)
        top = QHBoxLayout()
        top.addWidget(self._heading, 1, Qt.AlignmentFlag.AlignTop)
        top.addWidget(self._legend)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GAP_PX)
        layout.addLayout(top)
        layout.addWidget(self._plot)
        self._restyle()

    @property
    def legend_text(self) -> str:
        """What the legend says, for tests and for screen readers."""
        return self._legend.text

    def show_data(self, data: ChartData) -> None:
        before, self._data, self.is_stale = self._data, data, False
        spec = data.spec
        if before is None or before.spec != spec or before.span is not data.span:
            self._heading.show_text(spec.title)
            self._box.setXRange(-data.span.seconds, 0, padding=0)
            self._box.setYRange(0, spec.top, padding=0.06)
            self._axes["left"].setTicks([[(at, axis_text(at, spec.unit)) for at in axis_steps(spec)]])
            self._axes["left"].setLabel(spec.unit.value)
            self._plot.setAccessibleName(f"{spec.title}, {data.span.value}")
        self._axes["bottom"].setTicks([time_ticks(data.now, data.span)])
        self._item.show_shapes(data, colours_of(self.palette()))
        self._show_values()

    def hover_at(self, x: float | None) -> None:
        """Show the values at x (seconds before now); None: the newest."""
        self._hover_x = x
        self._cursor.setVisible(x is not None)
        if x is not None:
            self._cursor.setPos(x)
        self._show_values()

    def _make_plot(self) -> Any:
        """The box with its two axes. pyqtgraph's own PlotWidget brings a menu with forms: three times the time."""
        import pyqtgraph as pg

        plot = pg.GraphicsView()
        plot.enableMouse(False)
        plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # nothing to do in it by keyboard: values stand above it
        plot.setFixedHeight(PLOT_HEIGHT)
        plot.setFrameShape(QFrame.Shape.NoFrame)
        whole = pg.GraphicsWidget()
        grid = QGraphicsGridLayout(whole)
        grid.setContentsMargins(1, 1, 1, 1)
        grid.setSpacing(0)
        for item, row, column in ((self._axes["left"], 0, 0), (self._box, 0, 1), (self._axes["bottom"], 1, 1)):
            grid.addItem(item, row, column)
        grid.setRowStretchFactor(0, 1)
        grid.setColumnStretchFactor(1, 1)
        for axis in self._axes.values():
            axis.linkToView(self._box)
        plot.setCentralItem(whole)
        return plot

    # Qt overrides

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if self.is_stale:
            self.is_stale = False
            QTimer.singleShot(0, self, self.exposed.emit)  # not in the middle of painting

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.FontChange):
            self._restyle()

    def eventFilter(self, watched: Any, event: QEvent) -> bool:
        if event.type() is QEvent.Type.Wheel:
            event.ignore()  # the axes would swallow it: there is nothing to zoom, and the page scrolls
            return True
        if event.type() is QEvent.Type.Leave:
            self.hover_at(None)
        return super().eventFilter(watched, event)

    def _on_scene_mouse_moved(self, position: QPointF) -> None:
        box = self._box
        if self._data is None or not box.sceneBoundingRect().contains(position):
            self.hover_at(None)
            return
        self.hover_at(min(0.0, max(-self._data.span.seconds, box.mapSceneToView(position).x())))

    def _show_values(self) -> None:
        if self._data is None:
            return
        data, unit = self._data, self._data.spec.unit
        values = {line: value_text(value, unit) for line, value in data.values_at(self._hover_x).items()}
        at = ""
        if self._hover_x is not None:
            at = time.strftime("%H:%M:%S", time.localtime(data.now + self._hover_x))
            at = " ".join(filter(None, (at, data.shade_at(self._hover_x))))
        self._legend.show_values(at, values, widest_texts(data.spec), colours_of(self.palette()))
        self._plot.setAccessibleDescription(self._legend.text)

    def _restyle(self) -> None:
        palette = self.palette()
        self._plot.setBackground(palette.base().color())
        quiet = dimmed(palette)
        for axis in self._axes.values():
            axis.setTextPen(quiet)
            axis.setPen(_pen(quiet))
            axis.setStyle(tickFont=tabular(self.font(), scale=0.85), tickLength=-4)
        self._axes["left"].setWidth(self.fontMetrics().horizontalAdvance("0000") + 28)  # plots below each other align
        grid = QColor(palette.text().color())
        grid.setAlpha(35)
        self._item.grid_pen = _pen(grid)
        self._cursor.setPen(_pen(quiet))
        if self._data is not None:
            self._item.show_shapes(self._data, colours_of(palette))
            self._show_values()


class _ShapesItem(QGraphicsItem):
    """Bands, grid, areas and lines in one item: one paint for a whole chart."""

    def __init__(self) -> None:
        super().__init__()
        self.grid_pen = QPen()
        self._bounds = QRectF()
        self._bands: list[tuple[QRectF, QColor]] = []
        self._grid: list[tuple[QPointF, QPointF]] = []
        self._shapes: list[tuple[QPolygonF, QBrush | QPen]] = []

    def show_shapes(self, data: ChartData, colours: Colours) -> None:
        top, left = data.spec.top, -data.span.seconds
        self.prepareGeometryChange()
        self._bounds = QRectF(left, 0, -left, top)
        bands = {Shade.PAUSED: colours.paused_band, Shade.OFFLINE: colours.offline_band}
        self._bands = [
            (QRectF(one.begins_at - data.now, 0, one.ends_at - one.begins_at, top), QColor(bands[one.shade]))
            for one in data.stretches
        ]
        self._grid = [(QPointF(left, at), QPointF(0, at)) for at in axis_steps(data.spec)]
        self._shapes = [(_polygon(shape), _ink(shape, colours)) for shape in data.shapes]
        self.update()

    # Qt overrides

    def boundingRect(self) -> QRectF:
        return self._bounds

    def paint(self, painter: QPainter, *_: object) -> None:
        for band, colour in self._bands:
            painter.fillRect(band, colour)
        painter.setPen(self.grid_pen)
        for begin, end in self._grid:
            painter.drawLine(begin, end)
        for polygon, ink in self._shapes:
            # Smooth lines of one pixel cost 0.1 ms for 300 points, 1.5 pixels 3 ms; a smooth area 3 ms, this one 0.8.
            painter.setRenderHint(QPainter.RenderHint.Antialiasing, isinstance(ink, QPen))
            if isinstance(ink, QBrush):
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(ink)
                painter.drawPolygon(polygon)
            else:
                painter.setPen(ink)
                painter.drawPolyline(polygon)


def _pen(colour: QColor) -> QPen:
    """One pixel on the screen whatever the axes' scale."""
    pen = QPen(colour, 1.0)
    pen.setCosmetic(True)
    return pen


def _polygon(shape: Shape) -> QPolygonF:
    """Through arrays: a fifth of the time of 300 points made one by one."""
    from pyqtgraph.functions import arrayToQPolygonF, np

    xs, ys = np.array(shape.points, dtype=float).T
    polygon: QPolygonF = arrayToQPolygonF(xs, ys)
    return polygon


def _ink(shape: Shape, colours: Colours) -> QBrush | QPen:
    colour = colour_of(shape.role, colours)
    if shape.is_area:
        colour.setAlpha(AREA_ALPHA)
        return QBrush(colour)
    pen = _pen(colour)
    if shape.role.isdigit() and int(shape.role) >= len(colours.cards):
        pen.setStyle(Qt.PenStyle.DashLine)
    return pen
