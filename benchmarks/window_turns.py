"""How long Qt's thread stands still at what a person does in a full window: milliseconds by what is done, as JSON.

    scripts/bench window turns

Real pages with real snapshots and no agent beside them: 100 models, 200 past sessions (as many as the page asks for,
of however many), 32 that run, a log of 20,000 lines. A block is what tests/fakes/qt_watchdog.py calls one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import titan_gui  # before Qt (titan_gui/constants_guard.py)  # isort: skip
from PySide6.QtCore import QEventLoop, QSettings, QTimer
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication

from core.engines import EngineModel
from core.snapshot import AgentSnapshot
from tests.fakes.opened_window import FakeDesktop
from tests.fakes.qt_watchdog import QtWatchdog
from tests.fakes.snapshots import busy_snapshot
from titan_gui.app import Desktop
from titan_gui.application import DesktopApplication
from titan_gui.garbage import keep_what_is_there, put_off_full_collections
from titan_gui.log_lines import LogLine
from titan_gui.main_window import MainWindow
from titan_gui.pages.activity import ActivityPage
from titan_gui.pages.log import LogPage
from titan_gui.window_pages import add_pages

assert titan_gui
SETTLE_MS = 400
LOG_LINES, MODELS, PAST, LIVE = 20_000, 100, 200, 32
DARK = {
    QPalette.ColorRole.Window: "#2b2b2b",
    QPalette.ColorRole.WindowText: "#f0f0f0",
    QPalette.ColorRole.Base: "#1e1e1e",
    QPalette.ColorRole.Text: "#f0f0f0",
    QPalette.ColorRole.Button: "#3a3a3a",
    QPalette.ColorRole.ButtonText: "#f0f0f0",
}


def block_of(act: Callable[[], object], wait_ms: int = SETTLE_MS) -> float:
    """The longest block from an act on until all that it brings has been painted."""
    watchdog, loop = QtWatchdog(), QEventLoop()
    watchdog.start()
    act()
    QTimer.singleShot(wait_ms, loop.quit)
    loop.exec()
    watchdog.stop()
    return watchdog.longest_ms


def full_snapshot() -> AgentSnapshot:
    snapshot = busy_snapshot()
    names = [f"model-{number:03}:8b-instruct-q4_k_m" for number in range(MODELS)]
    return replace(
        snapshot,
        models=tuple(EngineModel(name=name, size_bytes=4_900_000_000, quant="Q4_K_M") for name in names),
        sessions=tuple(replace(snapshot.sessions[0], session_id=f"s{number}") for number in range(LIVE)),
    )


def past_sessions() -> dict[str, object]:
    entry = {
        "model": "llama3.1:8b",
        "quant": "Q4_K_M",
        "completion_tokens": 100,
        "seconds": 3.0,
        "end_reason": "finished",
    }
    return {"recent": [{**entry, "started_at": 1.8e9 - 60 * n, "client": f"c{n % 7}"} for n in range(PAST)]}


def log_lines() -> list[LogLine]:
    levels = ("info", "warning", "error")
    text = "2026-11-25 09:19:12 {0:<8} an event with some words number={1} path=/some/where"
    return [LogLine(levels[n % 3], text.format(levels[n % 3], n)) for n in range(LOG_LINES)]


def take_theme(*, dark: bool) -> None:
    palette = QPalette(QApplication.style().standardPalette())
    for role, colour in DARK.items() if dark else ():
        palette.setColor(role, QColor(colour))
    QApplication.setPalette(palette)


def measure(window: MainWindow) -> dict[str, float]:
    """One round: each figure once."""
    found = {}
    full = full_snapshot()
    for name in (*window.page_names[1:], window.page_names[0]):
        found[f"first_{name}_ms"] = block_of(lambda name=name: window.show_page(name))  # type: ignore[misc]
    for name in window.page_names:
        found[f"again_{name}_ms"] = block_of(lambda name=name: window.show_page(name))  # type: ignore[misc]
    window.show_page("activity")
    activity, log = cast(ActivityPage, window.page("activity")), cast(LogPage, window.page("log"))
    found["past_sessions_ms"] = block_of(lambda: activity.show_contribution(past_sessions()))
    found["live_sessions_ms"] = block_of(lambda: window.render_snapshot(full), 1500)  # with the table's next second
    found["models_ms"] = block_of(lambda: window.show_page("models"), 1500)
    found["theme_on_models_ms"] = block_of(lambda: take_theme(dark=True))
    window.show_page("log")
    found["log_ms"] = block_of(lambda: log.show_lines(log_lines()))
    found["log_filter_ms"] = block_of(lambda: log.level.setCurrentIndex(2))
    found["theme_on_log_ms"] = block_of(lambda: take_theme(dark=False))
    window.show_page("dashboard")
    found["theme_on_dashboard_ms"] = block_of(lambda: take_theme(dark=True))
    found["resize_ms"] = block_of(lambda: window.resize(1200, 760))
    take_theme(dark=False)
    return found


def opened_window(folder: str) -> MainWindow:
    window = MainWindow(QSettings(f"{folder}/window.ini", QSettings.Format.IniFormat))
    add_pages(window, cast(Desktop, FakeDesktop()))
    window.render_snapshot(busy_snapshot())
    put_off_full_collections()
    window.show()
    loop = QEventLoop()
    window.all_built.connect(lambda: QTimer.singleShot(2000, loop.quit))  # and the charts
    loop.exec()
    keep_what_is_there()
    return window


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one window instead of five")
    rounds = 1 if parser.parse_args().quick else 5
    application = DesktopApplication(sys.argv[:1])
    found = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TITAN_HOME"] = folder
        for _ in range(rounds):
            window = opened_window(folder)
            found.append(measure(window))
            window.close_for_good()
            window.deleteLater()
            application.processEvents()
    print(json.dumps({name: statistics.median(one[name] for one in found) for name in found[0]}))


if __name__ == "__main__":
    main()
