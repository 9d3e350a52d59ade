"""A bar per day: how many tokens this machine gave. Painted by hand, so that it costs nothing to have."""

from __future__ import annotations

from PySide6.QtCore import QDate, QEvent, QLocale, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QHelpEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from titan_gui.theme import colours_of, dimmed, tabular
from titan_gui.tiles import DayBar, count_text

GAP_SHARE = 0.25
LABEL_WIDTH_PX = 44  # a date below every bar that has this room to itself


class DayBars(QWidget):
    """Days from left to right, today last. Each bar's figures stand in its tool tip and in the description."""

    def __init__(self) -> None:
        super().__init__()
        self._days: tuple[DayBar, ...] = ()
        self.setFont(tabular(self.font(), scale=0.85))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(self.tr("Tokens per day"))

    def show_days(self, days: tuple[DayBar, ...]) -> None:
        if days != self._days:
            self._days = days
            self.setAccessibleDescription("; ".join(map(self.text_of, days)))
            self.update()

    def text_of(self, day: DayBar) -> str:
        """ "Tue 3 Nov: 1,234 tokens, 5 sessions"."""
        return self.tr("{0}: {1} tokens, {2} sessions").format(_date_text(day), f"{day.tokens:,}", f"{day.sessions:,}")

    def bar_rect(self, index: int) -> QRectF:
        """Where the bar of that day stands; a day with tokens is always visible."""
        plot = self._plot()
        step = plot.width() / max(1, len(self._days))
        top = max((day.tokens for day in self._days), default=0) or 1
        height = plot.height() * self._days[index].tokens / top
        if self._days[index].tokens:
            height = max(2.0, height)
        left = plot.left() + index * step + step * GAP_SHARE / 2
        return QRectF(left, plot.bottom() - height, step * (1 - GAP_SHARE), height)

    # Qt overrides

    def sizeHint(self) -> QSize:
        return QSize(300, 110)

    def minimumSizeHint(self) -> QSize:
        return QSize(160, 110)

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent) and event.type() is QEvent.Type.ToolTip and self._days:
            plot = self._plot()
            index = int((event.pos().x() - plot.left()) * len(self._days) / max(1.0, plot.width()))
            if 0 <= index < len(self._days):
                QToolTip.showText(event.globalPos(), self.text_of(self._days[index]), self)
            return True
        return super().event(event)

    def paintEvent(self, _: QPaintEvent) -> None:
        painter = QPainter(self)
        plot = self._plot()
        quiet = dimmed(self.palette())
        painter.setPen(quiet)
        top = max((day.tokens for day in self._days), default=0)
        if top:
            painter.drawText(QRectF(0, 0, self.width(), plot.top()), Qt.AlignmentFlag.AlignLeft, count_text(top))
        painter.drawLine(plot.bottomLeft(), plot.bottomRight())
        colour = QColor(colours_of(self.palette()).ours)
        step = plot.width() / max(1, len(self._days))
        every = max(1, -(-LABEL_WIDTH_PX // max(1, int(step))))
        for index, day in enumerate(self._days):
            painter.fillRect(self.bar_rect(index), colour)
            if (len(self._days) - 1 - index) % every == 0:
                text = _date_text(day)
                width = self.fontMetrics().horizontalAdvance(text)
                left = plot.left() + (index + 0.5) * step - width / 2
                left = max(0.0, min(left, self.width() - width))
                painter.drawText(QPointF(left, plot.bottom() + 2 + self.fontMetrics().ascent()), text)

    def _plot(self) -> QRectF:
        line = self.fontMetrics().lineSpacing()
        return QRectF(0, line + 4, self.width(), self.height() - 2 * line - 8)


def _date_text(day: DayBar) -> str:
    return QLocale().toString(QDate(day.day.year, day.day.month, day.day.day), "d MMM")
