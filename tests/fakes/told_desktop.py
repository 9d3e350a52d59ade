"""titan-desktop on a machine that is told what it is: for pictures of every rule holding in the real window.

As a program (`python tests/fakes/told_desktop.py FILE`) it takes the place of the real signals alone. FILE is JSON,
read again whenever it changes: {"signals": {name: value}, "rule": CODE}. The signals are calm but for these; the rule
is brought into view; where it then stands, and where the dashboard's first card does, is told on stderr,
in the window's own pixels: {"event": "rule in view", "rule": CODE, "row": [x, y, width, height], "top": [...]}.
"""

from __future__ import annotations

import asyncio
import functools
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import titan_gui  # before Qt (titan_gui/constants_guard.py)  # isort: skip
from PySide6.QtCore import QPoint, QTimer
from PySide6.QtWidgets import QWidget

from core.signals import FullScreen, GpuUse, Power, ProcessorHeat, Signals
from tests.fakes.calm_signals import FakeSignals

INTERVAL_S = 0.1
SETTLE_MS = 400  # scrolling, and the layout that it waits for
assert titan_gui

_MADE_OF: Mapping[str, Callable[..., Any]] = {
    "power": Power,
    "full_screen": FullScreen,
    "gpu_use_by_others": GpuUse,
    "processor_heat": ProcessorHeat,
}


def read_told(file: Path) -> tuple[dict[str, Any], str]:
    """The signals as the rules take them, and the rule to bring into view. A file in the middle of being written is
    nothing yet: it is read again."""
    try:
        told = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}, ""
    signals = {
        name: _MADE_OF[name](**value) if name in _MADE_OF else tuple(value) if isinstance(value, list) else value
        for name, value in told["signals"].items()
    }
    return signals, str(told["rule"])


class ToldSignals(FakeSignals):
    """The machine is as the file says."""

    def __init__(self, file: Path, on_change: Callable[[Signals], None]) -> None:
        super().__init__(on_change)
        self._file = file

    def take_engine_use(self, model: str) -> None:
        pass  # the file says it

    async def run(self) -> None:
        before: dict[str, Any] | None = None
        while True:
            signals, _ = read_told(self._file)
            if signals != before:
                before = signals
                self.show(**signals)
            await asyncio.sleep(INTERVAL_S)


def box_in(widget: QWidget, window: QWidget) -> list[int]:
    """x, y, width and height within the window, in pixels of the screen."""
    corner, ratio = widget.mapTo(window, QPoint(0, 0)), widget.devicePixelRatioF()
    return [round(side * ratio) for side in (corner.x(), corner.y(), widget.width(), widget.height())]


def run_told(file: Path, arguments: list[str]) -> int:
    import core.app
    from core.agent import Agent
    from titan_gui import app
    from titan_gui.launch import launch
    from titan_gui.pages.dashboard import DashboardPage
    from titan_gui.pages.rules import RulesPage

    class ToldDesktop(app.Desktop):
        def start(self) -> None:
            self._rule = ""
            self._looking = QTimer(self, interval=round(INTERVAL_S * 1000))
            self._looking.timeout.connect(self._look)
            self._looking.start()
            super().start()

        def _look(self) -> None:
            _, rule = read_told(file)
            if rule and rule != self._rule and self.window is not None:
                self._rule = rule
                self.open_window("rules")
                page = self.window.page("rules")
                assert isinstance(page, RulesPage)
                page.focus_reason(rule)
                QTimer.singleShot(SETTLE_MS, self, functools.partial(self._say_where, rule, page.rows[rule]))

        def _say_where(self, rule: str, row: QWidget) -> None:
            assert self.window is not None
            dashboard = self.window.page("dashboard")
            assert isinstance(dashboard, DashboardPage)
            boxes = {"row": box_in(row, self.window), "top": box_in(dashboard.headline, self.window)}
            sys.stderr.write(json.dumps({"event": "rule in view", "rule": rule, **boxes}) + "\n")
            sys.stderr.flush()

    app.Desktop = ToldDesktop  # type: ignore[misc]
    told = functools.partial(Agent, open_signals=functools.partial(ToldSignals, file))
    core.app.Agent = told  # type: ignore[attr-defined, assignment]  # of which the bridge makes its agent
    return launch(arguments)


if __name__ == "__main__":
    sys.exit(run_told(Path(sys.argv[1]), sys.argv[2:]))
