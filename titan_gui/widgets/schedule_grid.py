"""The hours of the week in which to share, as a grid to drag in, by mouse and by keyboard. Local time."""

from __future__ import annotations

import time
from collections.abc import Callable

from PySide6.QtCore import QEvent, QLocale, QPointF, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import (
    QColor,
    QFocusEvent,
    QHelpEvent,
    QHideEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPalette,
    QPen,
    QShowEvent,
)
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from core.rules.schedule import ALWAYS, Grid
from core.time_use import Doing
from titan_gui.theme import dimmed, doing_colour, tabular

HOURS, DAYS = 24, 7
CELL_HEIGHT = 20
GAP = 1.0
NOW_MS = 60_000
NARROW = 560  # below it an hour's figure every 6 hours instead of every 3

Cell = tuple[int, int]  # day from Monday, hour
_STEPS = {
    Qt.Key.Key_Left: (0, -1),
    Qt.Key.Key_Right: (0, 1),
    Qt.Key.Key_Up: (-1, 0),
    Qt.Key.Key_Down: (1, 0),
}


class ScheduleGrid(QWidget):
    """Seven rows of 24 hours. A drag gives every hour in its rectangle what the first one gets.

    Arrow keys walk, with Shift they mark, and Space turns what is marked on or off. A click on a day or an hour's
    figure turns the whole row or column. Escape gives a drag up.
    """

    edited = Signal(object)  # Grid, by the owner
    pointed = Signal(str)  # what the hour under the pointer or the keyboard says; "" when there is none

    def __init__(self, *, clock: Callable[[], float] = time.time, locale: QLocale | None = None) -> None:
        super().__init__()
        self._clock = clock
        self._locale = locale or QLocale()
        first = self._locale.firstDayOfWeek().value - 1
        self._days = tuple((first + row) % DAYS for row in range(DAYS))  # the day of each row
        self._grid = ALWAYS
        self._before: Grid | None = None  # while dragging
        self._anchor: Cell = (self._days[0], 0)
        self._cursor: Cell = (self._days[0], 0)
        self._hovered: Cell | None = None
        self._is_on = True  # what a drag gives
        self._now = QTimer(self, interval=NOW_MS)
        self._now.timeout.connect(self.update)
        self.setFont(tabular(self.font(), scale=0.85))
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(self.tr("Hours of the week in which to share"))

    @property
    def grid(self) -> Grid:
        return self._grid

    @property
    def days(self) -> tuple[int, ...]:
        """The days from top to bottom; 0 is Monday."""
        return self._days

    def show_grid(self, grid: Grid) -> None:
        if grid != self._grid and self._before is None:
            self._grid = grid
            self._tell()

    def cell_rect(self, cell: Cell) -> QRectF:
        day, hour = cell
        plot = self._plot()
        width = plot.width() / HOURS
        top = plot.top() + self._days.index(day) * (CELL_HEIGHT + GAP)
        return QRectF(plot.left() + hour * width, top, width - GAP, CELL_HEIGHT)

    def text_of(self, cell: Cell) -> str:
        """ "Tuesday, 14:00 to 15:00: shared"."""
        day, hour = cell
        name = self._locale.dayName(day + 1, QLocale.FormatType.LongFormat)
        state = self.tr("shared") if self._grid[day][hour] else self.tr("not shared")
        return self.tr("{0}, {1}:00 to {2}:00: {3}").format(name, f"{hour:02}", f"{hour + 1:02}", state)

    # Qt overrides

    def sizeHint(self) -> QSize:
        return QSize(520, int(self._header() + DAYS * (CELL_HEIGHT + GAP) + 1))

    def minimumSizeHint(self) -> QSize:
        return QSize(300, self.sizeHint().height())

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._now.start()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._now.stop()

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent) and event.type() is QEvent.Type.ToolTip:
            cell = self._cell_at(QPointF(event.pos()))
            QToolTip.showText(event.globalPos(), self.text_of(cell) if cell else "", self)
            return True
        return super().event(event)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() is not Qt.MouseButton.LeftButton:
            return
        block = self._block_at(event.position())
        if block is None:
            return
        self._before = self._grid
        self._anchor, self._cursor = block
        self._is_on = not self._is_all_on()
        self._paint_block()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        cell = self._cell_at(event.position(), is_held=self._before is not None)
        if self._before is not None and cell is not None and cell != self._cursor:
            self._cursor = cell
            self._paint_block()
        if cell != self._hovered:
            self._hovered = cell
            self._tell()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() is Qt.MouseButton.LeftButton:
            self._finish()

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        self._hovered = None
        self._tell()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        is_marking = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        key = Qt.Key(event.key())
        row, hour = self._days.index(self._cursor[0]), self._cursor[1]
        if key in _STEPS and self._before is None:
            down, right = _STEPS[key]
            self._walk(row + down, hour + right, is_marking)
        elif key in (Qt.Key.Key_Home, Qt.Key.Key_End) and self._before is None:
            self._walk(row, 0 if key == Qt.Key.Key_Home else HOURS - 1, is_marking)
        elif key == Qt.Key.Key_Space and self._before is None:
            self._before = self._grid
            self._is_on = not self._is_all_on()
            self._paint_block()
            self._finish()
        elif key == Qt.Key.Key_Escape and self._before is not None:
            self._grid, self._before = self._before, None
            self._tell()
        else:
            super().keyPressEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        self._tell()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self._finish()
        self._tell()

    def paintEvent(self, _: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        palette = self.palette()
        self._paint_titles(painter, palette)
        colour = doing_colour(palette, Doing.SERVING)
        line = QColor(palette.windowText().color())
        if not self.isEnabled():
            colour.setAlpha(110)
        line.setAlpha(70)
        for day in self._days:
            for hour in range(HOURS):
                rect = self.cell_rect((day, hour))
                if self._grid[day][hour]:
                    painter.fillRect(rect, colour)
                else:
                    painter.setPen(QPen(line, 1))
                    painter.setBrush(palette.base())
                    painter.drawRect(rect.adjusted(0.5, 0.5, -0.5, -0.5))
        self._paint_now(painter, palette)
        if self.hasFocus():
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(palette.windowText().color(), 2))
            block = self.cell_rect(self._anchor).united(self.cell_rect(self._cursor))
            painter.drawRect(block.adjusted(1, 1, -1, -1))

    def _paint_titles(self, painter: QPainter, palette: QPalette) -> None:
        painter.setPen(dimmed(palette))
        metrics, plot = self.fontMetrics(), self._plot()
        every = 3 if self.width() >= NARROW else 6
        for hour in range(0, HOURS + 1, every):
            text = str(hour)
            x = plot.left() + hour * plot.width() / HOURS - (0 if hour == 0 else metrics.horizontalAdvance(text) / 2)
            painter.drawText(QPointF(min(x, self.width() - metrics.horizontalAdvance(text)), metrics.ascent()), text)
        for row, day in enumerate(self._days):
            area = QRectF(0, plot.top() + row * (CELL_HEIGHT + GAP), plot.left() - 6, CELL_HEIGHT)
            name = self._locale.dayName(day + 1, QLocale.FormatType.ShortFormat)
            painter.drawText(area, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, name)

    def _paint_now(self, painter: QPainter, palette: QPalette) -> None:
        """A line through the hour, where it stands now."""
        now = time.localtime(self._clock())
        rect = self.cell_rect((now.tm_wday, now.tm_hour))
        x = rect.left() + rect.width() * now.tm_min / 60
        painter.setPen(QPen(palette.base().color(), 5))
        painter.drawLine(QPointF(x, rect.top()), QPointF(x, rect.bottom()))
        painter.setPen(QPen(palette.windowText().color(), 2.4))
        painter.drawLine(QPointF(x, rect.top() - 1), QPointF(x, rect.bottom() + 1))

    def _header(self) -> float:
        return float(self.fontMetrics().lineSpacing() + 3)

    def _plot(self) -> QRectF:
        names = (self._locale.dayName(day + 1, QLocale.FormatType.ShortFormat) for day in range(DAYS))
        left = max(self.fontMetrics().horizontalAdvance(name) for name in names) + 8
        return QRectF(left, self._header(), max(1, self.width() - left), DAYS * (CELL_HEIGHT + GAP))

    def _cell_at(self, point: QPointF, *, is_held: bool = False) -> Cell | None:
        """The hour at a point; for a drag that left the grid the nearest one."""
        plot = self._plot()
        row = int((point.y() - plot.top()) // (CELL_HEIGHT + GAP))
        hour = int((point.x() - plot.left()) // (plot.width() / HOURS))
        if is_held:
            row, hour = min(max(row, 0), DAYS - 1), min(max(hour, 0), HOURS - 1)
        if not (0 <= row < DAYS and 0 <= hour < HOURS):
            return None
        return self._days[row], hour

    def _block_at(self, point: QPointF) -> tuple[Cell, Cell] | None:
        """Where a press begins and ends: one hour, or from a title the whole row or column."""
        plot = self._plot()
        if point.x() < plot.left() - 6 and point.y() >= plot.top():
            row = min(int((point.y() - plot.top()) // (CELL_HEIGHT + GAP)), DAYS - 1)
            return (self._days[row], 0), (self._days[row], HOURS - 1)
        if point.y() < plot.top() and point.x() >= plot.left():
            hour = min(int((point.x() - plot.left()) // (plot.width() / HOURS)), HOURS - 1)
            return (self._days[0], hour), (self._days[-1], hour)
        cell = self._cell_at(point)
        return None if cell is None else (cell, cell)

    def _block(self) -> list[Cell]:
        rows = sorted(self._days.index(cell[0]) for cell in (self._anchor, self._cursor))
        hours = sorted(cell[1] for cell in (self._anchor, self._cursor))
        return [
            (self._days[row], hour) for row in range(rows[0], rows[1] + 1) for hour in range(hours[0], hours[1] + 1)
        ]

    def _is_all_on(self) -> bool:
        return all(self._grid[day][hour] for day, hour in self._block())

    def _paint_block(self) -> None:
        assert self._before is not None
        hours = [list(day) for day in self._before]
        for day, hour in self._block():
            hours[day][hour] = self._is_on
        self._grid = tuple(tuple(day) for day in hours)
        self._tell()

    def _finish(self) -> None:
        before, self._before = self._before, None
        if before is not None and before != self._grid:
            self.edited.emit(self._grid)

    def _walk(self, row: int, hour: int, is_marking: bool) -> None:
        self._cursor = (self._days[min(max(row, 0), DAYS - 1)], min(max(hour, 0), HOURS - 1))
        if not is_marking:
            self._anchor = self._cursor
        self._hovered = None
        self._tell()

    def _tell(self) -> None:
        cell = self._hovered or (self._cursor if self.hasFocus() else None)
        said = self.text_of(cell) if cell else ""
        self.setAccessibleDescription(said)
        self.pointed.emit(said)
        self.update()
