"""Who offers downloads has one of these: at most one question is open, and every answer goes into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QWidget

from core.errors import AgentError
from core.pull_offer import PullOffer

if TYPE_CHECKING:
    from titan_gui.widgets.pull_dialog import PullDialog


class PullQuestion(QObject):
    """At most one question at a time, for whoever offers downloads."""

    look_requested = Signal(str)
    pull_requested = Signal(str, str)

    def __init__(self, owner: QWidget) -> None:
        super().__init__(owner)
        self._owner = owner
        self.dialog: PullDialog | None = None

    def ask(self, name: str, *, serve_as: str = "", example: str = "") -> None:
        """Open it; a name is looked up at once."""
        if self.dialog is not None:
            self.dialog.reject()
        from titan_gui.widgets.pull_dialog import PullDialog  # only for those who download

        self.dialog = dialog = PullDialog(self._owner, name=name, serve_as=serve_as, example=example)
        dialog.look_requested.connect(self.look_requested)
        dialog.pull_requested.connect(self.pull_requested)
        dialog.finished.connect(self._on_finished)
        dialog.open()
        if name:
            dialog.look_up()
        else:
            dialog.name.setFocus()

    def show_offer(self, offer: PullOffer) -> None:
        if self.dialog is not None:
            self.dialog.show_offer(offer)

    def show_error(self, error: AgentError) -> None:
        if self.dialog is not None:
            self.dialog.show_error(error)

    def _on_finished(self, _: int) -> None:
        self.dialog = None
