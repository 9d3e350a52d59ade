"""A newer version is there: what it brings, a link to its page, and "skip". Hidden while there is none."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QPushButton

from core.updates.release_index import Release
from titan_gui.plain_text import sentences
from titan_gui.widgets.stat_tile import Card
from titan_gui.widgets.text_labels import WrappedLabel


class UpdateBar(Card):
    """`show_release(None)` hides it."""

    page_requested = Signal(str)  # the release's page, an https address
    skip_requested = Signal(str)  # the version

    def __init__(self) -> None:
        super().__init__()
        self._release: Release | None = None
        self._label = WrappedLabel()
        self.open_button = QPushButton(self.tr("What is new"))
        self.open_button.clicked.connect(self._on_open_button_clicked)
        self.skip_button = QPushButton(self.tr("Skip this version"))
        self.skip_button.clicked.connect(self._on_skip_button_clicked)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(16, 8, 12, 8)
        layout.addWidget(self._label, 1)
        layout.addWidget(self.open_button)
        layout.addWidget(self.skip_button)
        self.hide()

    @property
    def sentence(self) -> str:
        return self._label.text()

    def show_release(self, release: Release | None) -> None:
        if release == self._release:
            return
        self._release = release
        self.setVisible(release is not None)
        if release is None:
            return
        told = self.tr("TitanCompute {version} is out.").format(version=release.version)
        self._label.show_text(sentences(told, release.summary))
        self.open_button.setVisible(bool(release.url))
        self.open_button.setToolTip(release.url)
        self.setAccessibleName(self._label.text())

    def _on_open_button_clicked(self) -> None:
        if self._release is not None:
            self.page_requested.emit(self._release.url)

    def _on_skip_button_clicked(self) -> None:
        if self._release is not None:
            self.skip_requested.emit(self._release.version)
