"""Where the last 24 hours went: the ribbon, what is pointed at, and the share of each thing below."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QToolButton, QVBoxLayout, QWidget

from core.time_use import Doing
from titan_gui.theme import tabular
from titan_gui.time_view import LegendEntry, TimeView, time_view_of
from titan_gui.widgets.doing_pattern import SWATCH, swatch
from titan_gui.widgets.stat_tile import Card
from titan_gui.widgets.text_labels import ElidedLabel, TextLabel
from titan_gui.widgets.time_ribbon import TimeRibbon

LEGEND_GAP = 6


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
        room = QWidget()  # the legend's first line comes with the first answer: nothing below may jump
        room.setFixedSize(0, self._entry_height())
        self._legend.addWidget(room, 0, 0)
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
                button.setIcon(swatch(entry.what, self))

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

    def _entry_height(self) -> int:
        sample = self._new_entry(0)
        sample.setIcon(swatch(Doing.OFF, self))
        sample.setText("100 %")
        return sample.sizeHint().height()

    def _show_entry(self, button: QToolButton, entry: LegendEntry) -> None:
        leads = bool(entry.reason_code)
        button.setIcon(swatch(entry.what, self))
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
