"""The times that the tray and the dashboard offer for a pause, and for sharing now."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QMenu

from titan_gui.tray_view import tomorrow_morning


def add_times(
    menu: QMenu, times: Iterable[tuple[str, int]], clock: Callable[[], float], ask: Callable[[float], object]
) -> None:
    """A line for each of `times` (its title, seconds), and tomorrow morning. `ask` gets the end, seconds since the
    epoch, counted from the click on.
    """
    for title, seconds in times:
        action = menu.addAction(_tr(title))
        action.triggered.connect(lambda _=False, s=seconds: ask(clock() + s))
    tomorrow = menu.addAction(_tr("Until tomorrow 8:00"))
    tomorrow.triggered.connect(lambda: ask(tomorrow_morning(clock())))


def _tr(text: str) -> str:
    return QCoreApplication.translate("add_times", text)
