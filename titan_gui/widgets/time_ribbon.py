"""The last 24 hours as a ribbon: one colour and one pattern for each thing that they went to."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QLineF, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QFocusEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPalette,
    QPen,
    QResizeEvent,
)
from PySide6.QtWidgets import QSizePolicy, QWidget

from titan_gui.theme import dimmed, tabular
from titan_gui.time_view import Run, TimeView, hour_ticks, runs_of, summary_text, text_of
from titan_gui.widgets.doing_pattern import paint_doing

BAND_HEIGHT = 30
NARROW = 560  # below it an hour's text every 6 hours instead of every 3


class TimeRibbon(QWidget):
    """The band and its hours. Arrow keys walk from stretch to stretch; a click or Enter asks for what is behind one."""

    reason_requested = Signal(str)  # a reason's code
    pointed = Signal(str)  # the text of the stretch under the pointer or the keyboard; "" when there is none

    def __init__(self) -> None:
        super().__init__()
        self._view = TimeView()
        self._runs: tuple[Run, ...] = ()
        self._chosen = -1  # by the keyboard
        self._hovered = -1
        self.setFont(tabular(self.font(), scale=0.85))
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(self.tr("Where the last 24 hours went"))

    @property
    def runs(self) -> tuple[Run, ...]:
        return self._runs

    @property
    def said(self) -> str:
        """The text of what is pointed at, "" when nothing is."""
        number = self._hovered if self._hovered >= 0 else self._chosen if self.hasFocus() else -1
        return text_of(self._runs[number], self._view) if 0 <= number < len(self._runs) else ""

    def show_view(self, view: TimeView) -> None:
        if view == self._view:
            return
        self._view = view
        self._sort_into_columns()
        self._tell()

    def run_rect(self, number: int) -> QRectF:
        """Where that run stands."""
        run = self._runs[number]
        return QRectF(run.first, 1, run.end - run.first, BAND_HEIGHT)

    # Qt overrides

    def sizeHint(self) -> QSize:
        return QSize(400, BAND_HEIGHT + self.fontMetrics().lineSpacing() + 8)

    def minimumSizeHint(self) -> QSize:
        return QSize(200, self.sizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._sort_into_columns()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self._hover(self._run_at(event.position()))

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        self._hover(-1)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        number = self._run_at(event.position())
        if event.button() is Qt.MouseButton.LeftButton and number >= 0:
            self._chosen = number
            self._open(number)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        last = len(self._runs) - 1
        match event.key():
            case Qt.Key.Key_Left:
                self._choose(max(0, self._chosen - 1))
            case Qt.Key.Key_Right:
                self._choose(min(last, self._chosen + 1))
            case Qt.Key.Key_Home:
                self._choose(min(0, last))
            case Qt.Key.Key_End:
                self._choose(last)
            case Qt.Key.Key_Return | Qt.Key.Key_Enter | Qt.Key.Key_Space if self._chosen >= 0:
                self._open(self._chosen)
            case _:
                super().keyPressEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        if self._chosen < 0:
            self._chosen = len(self._runs) - 1  # now
        self._tell()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self._tell()

    def paintEvent(self, _: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        palette = self.palette()
        for number, run in enumerate(self._runs):
            rect = self.run_rect(number)
            paint_doing(painter, rect, run.stretch.what, palette)
            if number and run.stretch.what is self._runs[number - 1].stretch.what:  # another reason for the same
                painter.setPen(QPen(palette.window().color(), 2))
                painter.drawLine(rect.topLeft(), rect.bottomLeft())
        self._paint_frame(painter, palette)
        self._paint_hours(painter, palette)
        number = self._hovered if self._hovered >= 0 else self._chosen if self.hasFocus() else -1
        if 0 <= number < len(self._runs):
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(palette.windowText().color(), 2))
            chosen = self.run_rect(number).adjusted(0, 1, 0, -1)
            left = min(chosen.left(), self.width() - 4)
            painter.drawRect(QRectF(max(1.0, left), chosen.top(), max(3.0, chosen.width()) - 2, chosen.height()))

    def _paint_frame(self, painter: QPainter, palette: QPalette) -> None:
        line = QColor(palette.windowText().color())
        line.setAlpha(90)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(line, 1))
        painter.drawRect(QRectF(0.5, 0.5, self.width() - 1, BAND_HEIGHT + 1))

    def _paint_hours(self, painter: QPainter, palette: QPalette) -> None:
        metrics, width = self.fontMetrics(), self.width()
        painter.setPen(dimmed(palette))
        base = BAND_HEIGHT + 6 + metrics.ascent()
        now = self.tr("now") if self._runs else ""
        room = width - metrics.horizontalAdvance(now)
        painter.drawText(QPointF(room, base), now)
        for tick in hour_ticks(self._view, 3 if width >= NARROW else 6):
            x, half = tick.share * width, metrics.horizontalAdvance(tick.text) / 2
            painter.drawLine(QLineF(x, BAND_HEIGHT + 1, x, BAND_HEIGHT + 5))
            if half <= x <= room - half - 8:
                painter.drawText(QPointF(x - half, base), tick.text)

    def _sort_into_columns(self) -> None:
        at_end = self._chosen == len(self._runs) - 1
        self._runs = runs_of(self._view, self.width())
        if at_end or self._chosen >= len(self._runs):
            self._chosen = len(self._runs) - 1 if self._chosen >= 0 else -1
        self._hovered = -1
        self.setAccessibleDescription(summary_text(self._view))
        self.update()

    def _run_at(self, point: QPointF) -> int:
        if not 0 <= point.y() <= BAND_HEIGHT + 2:
            return -1
        return next((number for number, run in enumerate(self._runs) if run.first <= point.x() < run.end), -1)

    def _hover(self, number: int) -> None:
        if number != self._hovered:
            self._hovered = number
            leads = number >= 0 and bool(self._runs[number].stretch.reason_code)
            self.setCursor(Qt.CursorShape.PointingHandCursor if leads else Qt.CursorShape.ArrowCursor)
            self._tell()

    def _choose(self, number: int) -> None:
        self._chosen, self._hovered = number, -1
        self._tell()

    def _open(self, number: int) -> None:
        self._tell()
        if self._runs[number].stretch.reason_code:
            self.reason_requested.emit(self._runs[number].stretch.reason_code)

    def _tell(self) -> None:
        said = self.said
        self.setAccessibleDescription(said or summary_text(self._view))
        self.pointed.emit(said)
        self.update()
