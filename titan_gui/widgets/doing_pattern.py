"""The colour and the pattern of each thing that a stretch of time went to: the same in the ribbon and in its legend."""

from __future__ import annotations

from PySide6.QtCore import QLineF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QIcon, QPainter, QPalette, QPen, QPixmap
from PySide6.QtWidgets import QWidget

from core.time_use import Doing
from titan_gui.theme import doing_colour

GROUND_ALPHA = 60  # of 255, behind a pattern
PATTERN_STEP = 6.0
SWATCH = QSize(22, 14)


def paint_doing(painter: QPainter, rect: QRectF, what: Doing, palette: QPalette) -> None:
    """Fill a rectangle with them."""
    colour = doing_colour(palette, what)
    if what is Doing.SERVING:
        painter.fillRect(rect, colour)
        return
    if what is Doing.OFF:
        return
    ground = QColor(colour)
    ground.setAlpha(GROUND_ALPHA)
    painter.fillRect(rect, ground)
    painter.save()
    painter.setClipRect(rect)
    painter.setPen(QPen(colour, 1.4))
    if what is Doing.READY:
        painter.fillRect(QRectF(rect.left(), rect.bottom() - 4, rect.width(), 4), colour)
    else:
        painter.drawLines(_pattern(rect, what))
    painter.restore()


def swatch(what: Doing, widget: QWidget) -> QIcon:
    """A small sample, sharp on the screen of `widget`."""
    ratio = widget.devicePixelRatioF()
    picture = QPixmap(SWATCH * ratio)
    picture.setDevicePixelRatio(ratio)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    rect = QRectF(0.5, 0.5, SWATCH.width() - 1, SWATCH.height() - 1)
    paint_doing(painter, rect, what, widget.palette())
    line = QColor(widget.palette().windowText().color())
    line.setAlpha(90)
    painter.setPen(QPen(line, 1))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawRect(rect)
    painter.end()
    return QIcon(picture)


def _pattern(rect: QRectF, what: Doing) -> list[QLineF]:
    """Lines at fixed places, so that a pattern runs through where two rectangles meet."""
    top, bottom, height = rect.top(), rect.bottom(), rect.height()
    first = int((rect.left() - height) // PATTERN_STEP)
    xs = [number * PATTERN_STEP for number in range(first, int(rect.right() // PATTERN_STEP) + 2)]
    rising = [QLineF(x, bottom, x + height, top) for x in xs]
    falling = [QLineF(x, top, x + height, bottom) for x in xs]
    match what:
        case Doing.PREPARING:
            return falling
        case Doing.PAUSED:
            return rising
        case Doing.BROKEN:
            return rising + falling
        case Doing.UNREACHABLE:
            return [QLineF(x, top, x, bottom) for x in xs]
        case _:
            rows = range(1, int(height // PATTERN_STEP) + 1)
            return [QLineF(rect.left(), top + y * PATTERN_STEP, rect.right(), top + y * PATTERN_STEP) for y in rows]
