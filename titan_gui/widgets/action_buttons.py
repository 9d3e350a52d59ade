"""What can be done about a reason, as a row of buttons."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QWidget

from titan_gui.remedies import Action

MOST = 4  # no reason has more


class ActionButtons(QWidget):
    """`show_actions` gives the buttons their meaning; without any, the row is hidden.

    The buttons are made once: one that is made later comes last by keyboard, wherever it stands.
    """

    action_requested = Signal(object)  # Action

    def __init__(self) -> None:
        super().__init__()
        self._actions: tuple[Action, ...] = ()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._all = tuple(QPushButton() for _ in range(MOST))
        for place, button in enumerate(self._all):
            button.clicked.connect(partial(self._on_button_clicked, place))
            button.hide()
            row.addWidget(button)
        row.addStretch(1)
        self.hide()

    @property
    def buttons(self) -> tuple[QPushButton, ...]:
        return self._all[: len(self._actions)]

    @property
    def actions_shown(self) -> tuple[Action, ...]:
        return self._actions

    @property
    def last_stop(self) -> QPushButton:
        """What comes last here by keyboard, shown or not: for the tab order of what stands below."""
        return self._all[-1]

    def button(self, action: Action) -> QPushButton:
        """ValueError when it isn't offered now."""
        return self._all[self._actions.index(action)]

    def show_actions(self, actions: Sequence[Action]) -> None:
        if tuple(actions) == self._actions:
            return
        self._actions = tuple(actions[:MOST])
        for place, button in enumerate(self._all):
            is_used = place < len(self._actions)
            if is_used:
                button.setText(self.tr(self._actions[place].title))
            button.setVisible(is_used)
        self.setVisible(bool(self._actions))

    def _on_button_clicked(self, place: int, _: bool = False) -> None:
        self.action_requested.emit(self._actions[place])
