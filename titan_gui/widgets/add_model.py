"""How another model comes to this computer: a sentence, the folder it goes into, and where to get Ollama."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from titan_gui.models_view import add_text, model_site, takes_files
from titan_gui.widgets.notes import Note, dim_note


class AddModel(QWidget):
    """Nothing is opened but by a click: the folder in the file manager, the site in the browser."""

    folder_requested = Signal()
    site_requested = Signal(str)  # "ollama.com"

    def __init__(self, then: str = "") -> None:
        """`then` says how a model that has come is offered."""
        super().__init__()
        self._then = then
        self._engine = self._site = self._folder = ""
        self._how, self._path = dim_note(), Note()
        self._open_folder, self._open_site = QPushButton(self.tr("Open the folder")), QPushButton()
        buttons = QHBoxLayout()
        buttons.addWidget(self._open_folder)
        buttons.addWidget(self._open_site)
        buttons.addStretch(1)
        lines = QVBoxLayout(self)
        lines.setContentsMargins(0, 0, 0, 0)
        lines.addWidget(self._how)
        lines.addWidget(self._path)
        lines.addLayout(buttons)
        self._open_folder.clicked.connect(self.folder_requested)
        self._open_site.clicked.connect(lambda: self.site_requested.emit(self._site))
        self.show_engine("")

    def show_folder(self, folder: str) -> None:
        """Where the embedded engine finds its models."""
        self._folder = folder
        self.show_engine(self._engine)

    def show_engine(self, name: str) -> None:
        self._engine = name
        words, self._site = add_text(name), model_site(name)
        self._how.say(f"{words} {self._then}".strip() if words else "")
        has_folder = takes_files(name) and bool(self._folder)
        self._path.say(self.tr("Models folder: {0}").format(self._folder) if has_folder else "")
        self._open_folder.setVisible(has_folder)
        self._open_site.setText(self.tr("Open {0}").format(self._site))
        self._open_site.setVisible(bool(self._site))
