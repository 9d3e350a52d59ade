"""What can be done about a reason, as a row of buttons."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QWidget

from titan_gui.remedies import Action


class ActionButtons(QWidget):
    """`show_actions` makes the buttons anew only where they differ; without any, the row is hidden."""

    action_requested = Signal(object)  # Action

    def __init__(self) -> None:
        super().__init__()
        self._buttons: dict[Action, QPushButton] = {}
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.addStretch(1)
        self.hide()

    @property
    def buttons(self) -> tuple[QPushButton, ...]:
        return tuple(self._buttons.values())

    @property
    def actions_shown(self) -> tuple[Action, ...]:
        return tuple(self._buttons)

    def button(self, action: Action) -> QPushButton:
        """KeyError when it isn't offered now."""
        return self._buttons[action]

    def show_actions(self, actions: Sequence[Action]) -> None:
        if tuple(actions) == self.actions_shown:
            return
        for button in self._buttons.values():
            self._row.removeWidget(button)
            button.hide()
            button.deleteLater()
        self._buttons = {}
        for place, action in enumerate(actions):
            self._buttons[action] = button = QPushButton(self.tr(action.title))
            button.clicked.connect(partial(self._on_button_clicked, action))
            self._row.insertWidget(place, button)
        self.setVisible(bool(actions))

    def _on_button_clicked(self, action: Action, _: bool = False) -> None:
        self.action_requested.emit(action)
