"""Folders and addresses that the owner's own programs open, at a click and never by themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, QUrl, Signal
from PySide6.QtGui import QDesktopServices

from core.errors import AgentError, StorageError
from titan_gui.background import Background

OpenUrl = Callable[[QUrl], bool]


class Opener(QObject):
    """Hands the models folder to the file manager, and an address to the browser."""

    failed = Signal(object)  # AgentError

    def __init__(
        self, folder: Path, *, open_url: OpenUrl = QDesktopServices.openUrl, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self.folder = folder
        self._open_url = open_url
        self._background = Background(self)

    def open_folder(self) -> None:
        """Make the folder where there is none yet, and show it."""
        folder = self.folder

        def make() -> str:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StorageError(f"cannot make the folder {folder}: {error.strerror}") from error
            return str(folder)

        self._background.run(make, lambda path: self._open(QUrl.fromLocalFile(path), path), self.failed.emit)

    def open_site(self, address: str) -> None:
        """`address` as people write it: "ollama.com"."""
        self._open(QUrl(f"https://{address}"), address)

    def wait(self, timeout_ms: int = 5_000) -> bool:
        """Until a folder that was asked for is made."""
        return self._background.wait(timeout_ms)

    def _open(self, url: QUrl, words: str) -> None:
        if not self._open_url(url):
            self.failed.emit(AgentError(f"this computer has no program that opens {words}", hint="Open it yourself."))
