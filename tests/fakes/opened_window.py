"""Opens the window with its real pages in a process where nothing of it is imported yet, and says what was imported.

As a program it writes one JSON line to stdout: {"on_qts_thread": [...], "elsewhere": [...], "sources_kept": ...}:
modules in their order, from the moment at which the window is asked for until its pages and charts stand, and how many
source files Python's linecache holds then.
"""

from __future__ import annotations

import json
import linecache
import os
import sys
import threading
from pathlib import Path
from typing import cast

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import titan_gui  # before Qt (titan_gui/constants_guard.py)  # isort: skip
from PySide6.QtCore import QSettings, QTimer

from core.config_load import load_settings
from core.errors import AgentError
from tests.fakes.fake_bridge import FakeBridge
from tests.fakes.machines import card, measured
from titan_gui.app import WINDOW_MODULES, Desktop
from titan_gui.application import DesktopApplication
from titan_gui.history import History
from titan_gui.qt_imports import WINDOW_QT, import_modules, make_types

assert titan_gui
NOW = 1_800_000_000.0


class FakeDesktop:
    """What add_pages asks of the program."""

    def __init__(self) -> None:
        self.loaded = load_settings(os.environ)
        self.bridge = FakeBridge()
        self.history = History()
        self.history.record(measured(NOW, card("a")), NOW)

    @property
    def autostart(self) -> object:
        raise AgentError("there is no program to start here")

    def __getattr__(self, name: str) -> object:
        """Everything else that a page may ask for: nothing happens."""
        return lambda *_: None


class ImportNotes:
    """Notes which thread looks for which module: put first on sys.meta_path, it finds none."""

    def __init__(self) -> None:
        self.on_qts_thread: list[str] = []
        self.elsewhere: list[str] = []
        sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        is_qts = threading.current_thread() is threading.main_thread()
        (self.on_qts_thread if is_qts else self.elsewhere).append(name)


def main() -> None:
    application = DesktopApplication(["titan-desktop"])
    for _ in make_types(WINDOW_QT):
        pass
    import_modules(WINDOW_MODULES)
    from titan_gui.main_window import MainWindow
    from titan_gui.window_pages import add_pages

    notes = ImportNotes()
    window = MainWindow(QSettings(f"{os.environ['TITAN_HOME']}/window.ini", QSettings.Format.IniFormat))
    add_pages(window, cast(Desktop, FakeDesktop()))
    awaited = {"pages", "charts"}

    def stands(what: str) -> None:
        awaited.discard(what)
        if not awaited:
            QTimer.singleShot(0, application, application.exit)

    window.all_built.connect(lambda: stands("pages"))
    window.when_built("dashboard", lambda page: page.charts.ready.connect(lambda: stands("charts")))  # type: ignore[attr-defined]
    window.show()
    application.exec()
    imported = {"on_qts_thread": notes.on_qts_thread, "elsewhere": notes.elsewhere}
    sys.stdout.write(json.dumps({**imported, "sources_kept": len(linecache.cache)}) + "\n")


if __name__ == "__main__":
    main()
