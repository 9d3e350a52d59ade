"""The report before it is saved: the owner reads it, strikes out what is still too much, and saves what is left."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QFontDatabase
from PySide6.QtWidgets import QApplication, QDialog, QDialogButtonBox, QFileDialog, QPlainTextEdit, QVBoxLayout, QWidget

from titan_gui.widgets.text_labels import WrappedLabel


class DiagnosticsDialog(QDialog):
    """Shows exactly what is saved. Nothing is sent anywhere."""

    save_requested = Signal(str, str)  # path, text

    def __init__(self, report: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("Diagnostics"))
        self.resize(760, 560)
        self.text = QPlainTextEdit(report)
        self.text.setAccessibleName(self.tr("The report"))
        self.text.setTabChangesFocus(True)
        self.text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Save | QDialogButtonBox.StandardButton.Close, parent=self
        )
        self.copy_button = self.buttons.addButton(self.tr("Copy"), QDialogButtonBox.ButtonRole.ActionRole)
        self.copy_button.clicked.connect(self._on_copy_button_clicked)
        self.buttons.accepted.connect(self._on_buttons_accepted)
        self.buttons.rejected.connect(self.reject)
        note = WrappedLabel(
            self.tr(
                "Secrets, addresses, host names, home folders and user names are taken out. Read it through, and "
                "delete what you would rather keep to yourself: what stands here is what is saved. Nothing is sent."
            )
        )
        layout = QVBoxLayout(self)
        layout.addWidget(note)
        layout.addWidget(self.text, 1)
        layout.addWidget(self.buttons)

    def choose_file(self, path: str) -> None:
        """Save the text as it stands now, and close."""
        self.save_requested.emit(path, self.text.toPlainText())
        self.accept()

    def _on_copy_button_clicked(self) -> None:
        QApplication.clipboard().setText(self.text.toPlainText())

    def _on_buttons_accepted(self) -> None:
        chooser = QFileDialog(self, self.tr("Save diagnostics"), str(Path.home()), self.tr("Text (*.txt)"))
        chooser.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        chooser.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        chooser.setDefaultSuffix("txt")
        chooser.selectFile("titancompute-diagnostics.txt")
        chooser.fileSelected.connect(self.choose_file)
        chooser.open()
