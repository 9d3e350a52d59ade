"""titan-desktop whose window tells what stands in it, for tests that run the real program.

As a program (`python tests/fakes/window_reader.py ...`) it writes one JSON line on stderr whenever the visible texts
change: {"event": "window says", "page": ..., "texts": [...]}.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import titan_gui  # before Qt (titan_gui/constants_guard.py)  # isort: skip
from PySide6.QtCore import QAbstractItemModel, QModelIndex, QTimer
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QApplication,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QWidget,
)

INTERVAL_MS = 50
assert titan_gui


def visible_texts() -> list[str]:
    """Every text of the visible widgets of this program, accessible names and tool tips too."""
    return [
        text
        for top in QApplication.topLevelWidgets()
        if top.isVisible()
        for widget in (top, *top.findChildren(QWidget))
        if widget.isVisible()
        for text in (widget.windowTitle(), widget.accessibleName(), widget.toolTip(), *_own_texts(widget))
        if text
    ]


def _own_texts(widget: QWidget) -> Iterator[str]:
    if isinstance(widget, QLabel | QAbstractButton | QLineEdit):
        yield widget.text()
    elif isinstance(widget, QPlainTextEdit):
        yield widget.toPlainText()
    elif isinstance(widget, QAbstractItemView) and isinstance(model := widget.model(), QAbstractItemModel):
        for row in range(model.rowCount(QModelIndex())):
            for column in itertools.count():
                index = model.index(row, column)
                if not index.isValid():  # a list's model doesn't let its columns be counted
                    break
                yield str(index.data() or "")


def run_read(arguments: list[str]) -> int:
    """titan-desktop with the reader in it."""
    from titan_gui import app
    from titan_gui.launch import launch

    class ReadDesktop(app.Desktop):
        def start(self) -> None:
            self._said: tuple[str, list[str]] = ("", [])
            self._reading = QTimer(self, interval=INTERVAL_MS)
            self._reading.timeout.connect(self._read)
            self._reading.start()
            super().start()

        def _read(self) -> None:
            page = self.window.current_page if self.window is not None and self.window.isVisible() else ""
            said = (page, visible_texts())
            if said != self._said:
                self._said = said
                sys.stderr.write(json.dumps({"event": "window says", "page": page, "texts": said[1]}) + "\n")
                sys.stderr.flush()

    app.Desktop = ReadDesktop  # type: ignore[misc]
    return launch(arguments)


if __name__ == "__main__":
    sys.exit(run_read(sys.argv[1:]))
