"""The list of pages at the window's side: an icon and a word each, with room for a finger."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRectF, QSize, Qt
from PySide6.QtGui import QPainter, QPalette, QPen
from PySide6.QtWidgets import QFrame, QListWidget, QListWidgetItem, QStyle, QStyledItemDelegate, QStyleOptionViewItem

from titan_gui.page_icons import draw_page_icon

ICON_PX = 18
PADDING_PX = 10
GAP_PX = 10  # between icon and word
RADIUS_PX = 6
NAME_ROLE = Qt.ItemDataRole.UserRole

Index = QModelIndex | QPersistentModelIndex


class PageList(QListWidget):
    """One row per page, as wide as the longest word."""

    def __init__(self) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.viewport().setAutoFillBackground(False)  # the window's ground, not a white box
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setItemDelegate(_RowDelegate(self))
        self.setSpacing(1)

    def add_page(self, name: str, title: str) -> None:
        """`name` picks the icon."""
        item = QListWidgetItem(title)
        item.setData(NAME_ROLE, name)
        self.addItem(item)
        self.setFixedWidth(self.sizeHintForColumn(0) + 2 * self.frameWidth() + 2 * self.spacing())


class _RowDelegate(QStyledItemDelegate):
    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        metrics = option.fontMetrics
        words = metrics.horizontalAdvance(str(index.data()))
        height = max(metrics.lineSpacing(), ICON_PX) + 2 * PADDING_PX - 4
        return QSize(PADDING_PX + ICON_PX + GAP_PX + words + 2 * PADDING_PX, height)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        rect, palette, state = option.rect, option.palette, option.state
        is_selected = bool(state & QStyle.StateFlag.State_Selected)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        box = QRectF(rect).adjusted(0.5, 0.5, -0.5, -0.5)
        if is_selected:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(palette.highlight())
            painter.drawRoundedRect(box, RADIUS_PX, RADIUS_PX)
        if state & QStyle.StateFlag.State_HasFocus and state & QStyle.StateFlag.State_KeyboardFocusChange:
            painter.setPen(QPen(palette.windowText().color(), 1))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(box, RADIUS_PX, RADIUS_PX)
        role = QPalette.ColorRole.HighlightedText if is_selected else QPalette.ColorRole.WindowText
        colour = palette.color(role)
        top = rect.top() + (rect.height() - ICON_PX) / 2
        icon_rect = QRectF(rect.left() + PADDING_PX, top, ICON_PX, ICON_PX)
        draw_page_icon(str(index.data(NAME_ROLE)), painter, icon_rect, colour)
        painter.setPen(colour)
        words = rect.adjusted(PADDING_PX + ICON_PX + GAP_PX, 0, -PADDING_PX, 0)
        painter.drawText(words, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, str(index.data()))
        painter.restore()
