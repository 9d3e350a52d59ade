"""The graphics cards to lend: a box for each card of this machine, or a line to type while none is seen."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QLineEdit, QVBoxLayout, QWidget

from core.config_values import Declaration
from core.gpu import GpuSample
from titan_gui.cards_view import card_text, is_ticked, with_card
from titan_gui.widgets.choices import CheckBox


class CardsControl(QWidget):
    """Its text is the setting's: UUIDs and names, separated by commas; "" leaves the choice to the agent."""

    edited = Signal()

    def __init__(self, declaration: Declaration) -> None:
        super().__init__()
        self._cards: tuple[GpuSample, ...] = ()
        self._boxes: dict[str, CheckBox] = {}
        self._line = QLineEdit()
        self._line.setPlaceholderText(declaration.default_text)
        self._line.textEdited.connect(lambda _: self.edited.emit())
        self._lines = QVBoxLayout(self)
        self._lines.setContentsMargins(0, 0, 0, 0)
        self._lines.setSpacing(4)
        self._lines.addWidget(self._line)

    def show_cards(self, cards: Sequence[GpuSample]) -> None:
        """The cards of this machine now."""
        if [card.uuid for card in cards] != list(self._boxes):
            self._make_boxes(cards)
        self._cards = tuple(cards)
        self._show_ticks()

    def text(self) -> str:
        return self._line.text()

    def show_text(self, text: str) -> None:
        self._line.setText(text)
        self._line.setCursorPosition(0)
        self._show_ticks()

    def focus_target(self) -> QWidget:
        return next((box for box in self._boxes.values() if box.isEnabled()), self._line)

    def _make_boxes(self, cards: Sequence[GpuSample]) -> None:
        for box in self._boxes.values():
            box.setParent(None)
            box.deleteLater()
        self._boxes = {card.uuid: CheckBox() for card in cards}
        for uuid, box in self._boxes.items():
            box.clicked.connect(lambda is_on, uuid=uuid: self._on_box_clicked(uuid, is_on))
            self._lines.addWidget(box)
        for before, after in pairwise((self._line, *self._boxes.values())):
            self.setTabOrder(before, after)
        self._line.setVisible(not self._boxes)

    def _show_ticks(self) -> None:
        ticked = [card.uuid for card in self._cards if is_ticked(card, self.text())]
        for card in self._cards:
            box = self._boxes[card.uuid]
            box.setText(card_text(card))
            box.setChecked(card.uuid in ticked)
            box.setEnabled(ticked != [card.uuid])  # one at least
            box.setToolTip("" if box.isEnabled() else self.tr("One card at least is lent while you share."))

    def _on_box_clicked(self, uuid: str, is_on: bool) -> None:
        self._line.setText(with_card(self._cards, self.text(), uuid, is_on))
        self._show_ticks()
        self.edited.emit()
