"""One figure of the dashboard: name, value, and a line of detail. Its size never depends on what it says."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QToolButton, QVBoxLayout, QWidget

from titan_gui.theme import colours_of, tint
from titan_gui.tiles import Tile
from titan_gui.view_model import Mood
from titan_gui.widgets.text_labels import ElidedLabel, TextLabel

RADIUS = 6.0
EDGE_INSET = 8.0


class Card(QWidget):
    """A rounded ground in the palette's base colour, with room inside."""

    def __init__(self) -> None:
        super().__init__()
        self.edge: QColor | None = None  # a coloured left edge

    def paintEvent(self, _: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        line = QColor(self.palette().windowText().color())
        line.setAlpha(40)
        painter.setPen(line)
        painter.setBrush(self.palette().base())
        rect = self.rect().toRectF().adjusted(0.5, 0.5, -0.5, -0.5)
        painter.drawRoundedRect(rect, RADIUS, RADIUS)
        if self.edge is not None:
            painter.setPen(self.edge)
            painter.setBrush(self.edge)
            painter.drawRoundedRect(QRectF(0.5, EDGE_INSET, 3, self.height() - 2 * EDGE_INSET), 1.5, 1.5)


class StatTile(Card):
    """`show_tile` changes only what differs."""

    action_requested = Signal(object)  # remedies.Action

    def __init__(self, tile: Tile) -> None:
        super().__init__()
        self._tile: Tile | None = None
        self._title = TextLabel(scale=0.9, is_quiet=True)
        self._value = ElidedLabel(scale=1.35, bold=True)
        self._detail = ElidedLabel(lines=2, scale=0.9, is_quiet=True)
        self.button = self._make_button()
        top = QHBoxLayout()
        top.addWidget(self._title, 1)
        top.addWidget(self.button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 10, 12, 10)
        layout.setSpacing(2)
        layout.addLayout(top)
        layout.addWidget(self._value)
        layout.addWidget(self._detail)
        layout.addStretch(1)
        self.show_tile(tile)

    @property
    def tile(self) -> Tile | None:
        return self._tile

    def show_tile(self, tile: Tile) -> None:
        if tile == self._tile:
            return
        self._tile = tile
        self._title.show_text(self.tr(tile.title))
        self._value.show_text(tile.value)
        self._detail.show_text(tile.detail)
        self.setAccessibleName(f"{tile.title}: {tile.value}. {tile.detail}")
        self.button.setVisible(tile.action is not None)
        if tile.action is not None:
            self.button.setText(self.tr(tile.action.short_title))
            self.button.setAccessibleName(self.tr(tile.action.title))
            self.button.setToolTip(self.tr(tile.action.title))
        self._tint()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange and self._tile is not None:
            self._tint()

    def _make_button(self) -> QToolButton:
        """Its place is kept while it is hidden, and no higher than the title: the tile's size stays."""
        button = QToolButton()
        button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        button.setFont(self._title.font())
        button.setFixedHeight(self._title.sizeHint().height() + 4)
        keeping = button.sizePolicy()
        keeping.setRetainSizeWhenHidden(True)
        button.setSizePolicy(keeping)
        button.clicked.connect(self._on_button_clicked)
        button.hide()
        return button

    def _on_button_clicked(self) -> None:
        if self._tile is not None and self._tile.action is not None:
            self.action_requested.emit(self._tile.action)

    def _tint(self) -> None:
        """Trouble is said by the detail; the value's colour and the edge only point at it."""
        is_trouble = self._tile is not None and self._tile.is_trouble
        colour = QColor(colours_of(self.palette()).moods[Mood.ATTENTION]) if is_trouble else None
        if colour != self.edge:
            self.edge = colour
            self.update()
        tint(self._value, colour or self.palette().windowText().color())
