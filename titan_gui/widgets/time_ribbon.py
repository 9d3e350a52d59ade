"""Where the last 24 hours went, as a ribbon: one colour and one pattern for each thing, and the share of each below."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from PySide6.QtCore import QEvent, QLineF, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QFocusEvent,
    QIcon,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPalette,
    QPen,
    QPixmap,
    QResizeEvent,
)
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from core.time_use import Doing
from titan_gui.theme import dimmed, doing_colour, tabular
from titan_gui.time_view import LegendEntry, Run, TimeView, hour_ticks, runs_of, summary_text, text_of, time_view_of
from titan_gui.widgets.stat_tile import Card
from titan_gui.widgets.text_labels import ElidedLabel, TextLabel

BAND_HEIGHT = 30
GROUND_ALPHA = 60  # of 255, behind a pattern
PATTERN_STEP = 6.0
NARROW = 560  # below it an hour's text every 6 hours instead of every 3
SWATCH = QSize(22, 14)
LEGEND_GAP = 6


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


class TimePanel(Card):
    """Title, ribbon, what is pointed at, and the legend; `show_result` takes the answer of the command `time_use`."""

    reason_requested = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._view = TimeView()
        self._entries: list[QToolButton] = []
        self.ribbon = TimeRibbon()
        self.ribbon.reason_requested.connect(self.reason_requested)
        self.ribbon.pointed.connect(self._on_ribbon_pointed)
        self._pointed = ElidedLabel(scale=0.9, is_quiet=True)
        top = QHBoxLayout()
        top.addWidget(TextLabel(self.tr("Where the last 24 hours went"), bold=True))
        top.addSpacing(16)
        top.addWidget(self._pointed, 1)
        self._legend = QGridLayout()
        self._legend.setHorizontalSpacing(LEGEND_GAP)
        self._legend.setVerticalSpacing(0)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 10, 12, 8)
        layout.setSpacing(6)
        layout.addLayout(top)
        layout.addWidget(self.ribbon)
        layout.addLayout(self._legend)

    @property
    def legend(self) -> tuple[QToolButton, ...]:
        return tuple(self._entries)

    @property
    def pointed(self) -> str:
        return self._pointed.text

    def show_result(self, result: Mapping[str, object]) -> None:
        view = time_view_of(result)
        if view == self._view:
            return
        before, self._view = self._view, view
        self.ribbon.show_view(view)
        if view.legend != before.legend:
            self._show_legend()

    # Qt overrides

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self._arrange()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange:
            for button, entry in zip(self._entries, self._view.legend, strict=False):
                button.setIcon(_swatch(entry.what, self))

    def _show_legend(self) -> None:
        """A figure that changed changes a text; buttons come and go only with what they stand for."""
        while len(self._entries) > len(self._view.legend):
            gone = self._entries.pop()
            self._legend.removeWidget(gone)
            gone.deleteLater()
        while len(self._entries) < len(self._view.legend):
            self._entries.append(self._new_entry(len(self._entries)))
        for button, entry in zip(self._entries, self._view.legend, strict=True):
            self._show_entry(button, entry)
        self._arrange()
        leading = [button for button in self._entries if button.focusPolicy() is not Qt.FocusPolicy.NoFocus]
        for before, after in pairwise((self.ribbon, *leading)):
            self.setTabOrder(before, after)

    def _new_entry(self, number: int) -> QToolButton:
        button = QToolButton()
        button.setAutoRaise(True)
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        button.setIconSize(SWATCH)
        button.setFont(tabular(button.font(), scale=0.9))
        button.clicked.connect(lambda: self.reason_requested.emit(self._view.legend[number].reason_code))
        return button

    def _show_entry(self, button: QToolButton, entry: LegendEntry) -> None:
        leads = bool(entry.reason_code)
        button.setIcon(_swatch(entry.what, self))
        button.setText(f" {entry.title} {entry.percent}".replace("&", "&&"))
        button.setFocusPolicy(Qt.FocusPolicy.StrongFocus if leads else Qt.FocusPolicy.NoFocus)
        button.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents, not leads)
        button.setToolTip(self.tr("Show the rule") if leads else "")

    def _arrange(self) -> None:
        widest = max((button.sizeHint().width() for button in self._entries), default=1)
        room = self.contentsRect().width() - 24
        columns = max(1, (room + LEGEND_GAP) // (widest + LEGEND_GAP))
        for column in range(self._legend.columnCount()):
            self._legend.setColumnStretch(column, 0)
        for number, button in enumerate(self._entries):
            self._legend.addWidget(button, number // columns, number % columns, Qt.AlignmentFlag.AlignLeft)
        self._legend.setColumnStretch(columns, 1)

    def _on_ribbon_pointed(self, said: str) -> None:
        self._pointed.show_text(said)


def paint_doing(painter: QPainter, rect: QRectF, what: Doing, palette: QPalette) -> None:
    """A rectangle in the colour and the pattern of one thing: the same in the ribbon and in the legend."""
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


def _swatch(what: Doing, widget: QWidget) -> QIcon:
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
