"""One line drawing per page, in the colour of the text beside it: crisp at every size, right in every theme."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen

GRID = 24.0  # the drawings' own units, across and down
STROKE = 1.8


def draw_page_icon(name: str, painter: QPainter, rect: QRectF, colour: QColor) -> None:
    """Draw the page's icon into `rect`; nothing for a page that has none."""
    draw = _DRAWINGS.get(name)
    if draw is None:
        return
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.translate(rect.topLeft())
    painter.scale(rect.width() / GRID, rect.height() / GRID)
    painter.setPen(QPen(colour, STROKE, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap, Qt.PenJoinStyle.RoundJoin))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    draw(painter)
    painter.restore()


def _dashboard(painter: QPainter) -> None:
    """A gauge."""
    painter.drawArc(QRectF(3, 5, 18, 18), -30 * 16, 240 * 16)
    painter.drawLine(QPointF(12, 14), QPointF(16, 9))


def _activity(painter: QPainter) -> None:
    """A pulse."""
    painter.drawPolyline([QPointF(x, y) for x, y in ((2, 13), (7, 13), (10, 5), (14, 20), (17, 13), (22, 13))])


def _models(painter: QPainter) -> None:
    """A box."""
    painter.drawPolygon([QPointF(x, y) for x, y in ((12, 2), (21, 7), (21, 17), (12, 22), (3, 17), (3, 7))])
    painter.drawPolyline([QPointF(x, y) for x, y in ((3, 7), (12, 12), (21, 7))])
    painter.drawLine(QPointF(12, 12), QPointF(12, 22))


def _rules(painter: QPainter) -> None:
    """A list with ticks."""
    for y in (6.0, 12.0, 18.0):
        painter.drawPolyline([QPointF(2.5, y), QPointF(4.5, y + 2), QPointF(8, y - 2)])
        painter.drawLine(QPointF(12, y), QPointF(21.5, y))


def _settings(painter: QPainter) -> None:
    """Sliders."""
    for y, knob in ((6.0, 15.0), (12.0, 8.0), (18.0, 17.0)):
        painter.drawLine(QPointF(2.5, y), QPointF(knob - 2.5, y))
        painter.drawLine(QPointF(knob + 2.5, y), QPointF(21.5, y))
        painter.drawEllipse(QPointF(knob, y), 2.5, 2.5)


def _log(painter: QPainter) -> None:
    """A written page."""
    painter.drawRoundedRect(QRectF(4, 2.5, 16, 19), 2, 2)
    for y, right in ((8.0, 16.0), (12.0, 16.0), (16.0, 12.5)):
        painter.drawLine(QPointF(8, y), QPointF(right, y))


_DRAWINGS: dict[str, Callable[[QPainter], None]] = {
    "dashboard": _dashboard,
    "activity": _activity,
    "models": _models,
    "rules": _rules,
    "settings": _settings,
    "log": _log,
}
