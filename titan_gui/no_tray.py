"""Closing the only window on a desktop without a tray: asked once, go on (minimised) or quit."""

from __future__ import annotations

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtWidgets import QAbstractButton, QMessageBox, QWidget


class NoTrayQuestion(QObject):
    """Asks without stopping Qt's loop. The answer "go on" holds until the program ends; "quit" ends it."""

    go_on_chosen = Signal()
    quit_chosen = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.wants_to_go_on = False
        self._box: QMessageBox | None = None

    def ask(self, parent: QWidget) -> QMessageBox:
        """Show the question over `parent`; a question that is shown already comes to the front."""
        if self._box is None:
            self._box = self._make_box(parent)
        self._box.open()
        self._box.raise_()
        return self._box

    def _make_box(self, parent: QWidget) -> QMessageBox:
        box = QMessageBox(QMessageBox.Icon.Question, "TitanCompute", self.tr("Keep sharing?"), parent=parent)
        box.setTextFormat(Qt.TextFormat.PlainText)
        box.setInformativeText(
            self.tr(
                "This desktop has no tray for an icon, so this window is all that there is to see. "
                "It can stay minimised while sharing goes on. On GNOME the extension AppIndicator adds a tray."
            )
        )
        self._go_on = box.addButton(self.tr("Keep sharing"), QMessageBox.ButtonRole.AcceptRole)
        self._quit = box.addButton(self.tr("Quit"), QMessageBox.ButtonRole.DestructiveRole)
        box.addButton(QMessageBox.StandardButton.Cancel)
        box.setDefaultButton(self._go_on)
        box.buttonClicked.connect(self._on_box_button_clicked)
        return box

    def _on_box_button_clicked(self, button: QAbstractButton) -> None:
        if button is self._go_on:
            self.wants_to_go_on = True
            self.go_on_chosen.emit()
        elif button is self._quit:
            self.quit_chosen.emit()
