"""The legend of a chart: the colour, the name and the newest value of each line."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QGridLayout, QLabel, QWidget

from titan_gui.charts import Line
from titan_gui.theme import Colours, tabular

LEGEND_COLUMNS = 4


class ChartLegend(QWidget):
    """A coloured square, a name and a value per line, each as wide as its widest value: nothing moves sideways."""

    def __init__(self) -> None:
        super().__init__()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(4)
        self._grid.setVerticalSpacing(0)
        self._at = self._add_label(0, 0)
        self._labels: dict[Line, tuple[QLabel, QLabel]] = {}

    @property
    def text(self) -> str:
        parts = [value.text() for _, value in self._labels.values()]
        return ", ".join([self._at.text(), *parts] if self._at.text() else parts)

    def show_values(self, at: str, values: dict[Line, str], widest: tuple[str, ...], colours: Colours) -> None:
        """`at`: the moment under the pointer, "" for now; `widest`: what a value can be at its widest."""
        if list(values) != list(self._labels):
            self._rebuild(values)
        _set_text(self._at, at)
        for line, value in values.items():
            mark, label = self._labels[line]
            _set_text(label, f"{line.label} {value}".strip())
            metrics = label.fontMetrics()
            wanted = max(metrics.horizontalAdvance(f"{line.label} {one}".strip()) for one in (value, *widest))
            if wanted > label.minimumWidth():
                label.setMinimumWidth(wanted)
            colour = colour_of(line.role, colours)
            palette = mark.palette()
            if palette.windowText().color() != colour:
                palette.setColor(palette.ColorRole.WindowText, colour)
                mark.setPalette(palette)

    def _rebuild(self, lines: dict[Line, str]) -> None:
        for pair in self._labels.values():
            for label in pair:
                self._grid.removeWidget(label)
                label.deleteLater()
        self._labels = {}
        for number, line in enumerate(lines):
            row, column = divmod(number, LEGEND_COLUMNS)
            self._labels[line] = (self._add_label(row, 2 * column + 1, "■"), self._add_label(row, 2 * column + 2))

    def _add_label(self, row: int, column: int, text: str = "") -> QLabel:
        label = QLabel(text)
        label.setTextFormat(Qt.TextFormat.PlainText)
        label.setFont(tabular(self.font(), scale=0.9))
        self._grid.addWidget(label, row, column)
        return label


def colour_of(role: str, colours: Colours) -> QColor:
    """A line's colour: "ours", "others", "whole", or a card's number (counted round)."""
    named = {"ours": colours.ours, "others": colours.others, "whole": colours.whole}
    return QColor(named[role] if role in named else colours.cards[int(role) % len(colours.cards)])


def _set_text(label: QLabel, text: str) -> None:
    if label.text() != text:
        label.setText(text)
