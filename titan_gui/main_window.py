"""The window: a list of pages on the left, the chosen page on the right. Remembers where it stood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

from PySide6.QtCore import QByteArray, QEvent, QSettings, QSize, Qt, Signal
from PySide6.QtGui import QCloseEvent, QHideEvent, QKeySequence, QShowEvent
from PySide6.QtWidgets import (
    QHBoxLayout,
    QMainWindow,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from core.snapshot import AgentSnapshot
from titan_gui.step_builder import Make, StepBuilder
from titan_gui.turns import next_turn
from titan_gui.widgets.page_list import PageList

DEFAULT_SIZE = QSize(960, 640)
FRAME = QSize(16, 48)  # what a window manager adds, about: the buttons at the bottom must be in reach on a small screen


class Page(Protocol):
    """What most pages are. A page renders only while it is visible, and the last snapshot when it is shown.

    `render` hides QWidget's own method of that name, which paints a widget elsewhere and which nobody here calls.
    """

    def render(self, snapshot: AgentSnapshot) -> None: ...


class MainWindow(QMainWindow):
    """Holds pages and knows nothing of what is in them.

    It never closes by itself: closing it is a question to the program (hide, go on without a window, quit).
    """

    close_requested = Signal()
    quit_requested = Signal()
    seen = Signal(bool)  # whether it is on the screen: neither hidden nor minimised
    all_built = Signal()  # every page that was added to be built later stands

    def __init__(self, memory: QSettings) -> None:
        """`memory` keeps the window's place and page; where it is empty or damaged the default size is taken."""
        super().__init__()
        self.setObjectName("main-window")
        self.setWindowTitle("TitanCompute")
        self._memory = memory
        self._names: list[str] = []
        self._builder = StepBuilder(self, wanted=lambda: self.current_page)
        self._builder.built.connect(self._on_page_built)
        self._builder.all_built.connect(self.all_built)
        self._when_built: dict[str, list[Callable[[QWidget], object]]] = {}
        self._snapshot: AgentSnapshot | None = None
        self._may_close = False
        self._is_seen = False
        self._list = PageList()
        self._list.setObjectName("pages")
        self._list.setAccessibleName(self.tr("Pages"))
        self._list.currentRowChanged.connect(self._on_list_current_row_changed)
        self._stack = QStackedWidget()
        self._quit = QPushButton(self.tr("Quit"))
        self._quit.setFlat(True)
        self._quit.setShortcut(QKeySequence("Ctrl+Q"))
        self._quit.setToolTip(self.tr("Stop sharing and end the program"))
        self._quit.clicked.connect(lambda: self.quit_requested.emit())
        side = QVBoxLayout()
        side.addWidget(self._list, 1)
        side.addWidget(self._quit)
        centre = QWidget()
        layout = QHBoxLayout(centre)
        layout.addLayout(side)
        layout.addWidget(self._stack, 1)
        self.setCentralWidget(centre)
        self.statusBar()  # made now and never taken away: an answer in it must not change the pages' height
        self._restore_place()

    @property
    def page_names(self) -> tuple[str, ...]:
        return tuple(self._names)

    @property
    def current_page(self) -> str:
        """The shown page's name; "" while there is none."""
        row = self._stack.currentIndex()
        return self._names[row] if row >= 0 else ""

    def add_page(self, name: str, title: str, widget: QWidget) -> None:
        """Add a page at the end. `name` is stable (settings, links, icons, tests); `title` is what a person reads."""
        if name in self._names:
            raise ValueError(f"there is a page {name!r} already")
        self._names.append(name)
        self._stack.addWidget(widget)
        self._list.add_page(name, title)
        if self._snapshot is not None:
            _render(widget, self._snapshot)
        if len(self._names) == 1 or name == self._memory.value("page"):
            self.show_page(name)

    def add_page_later(self, name: str, title: str, make: Make) -> None:
        """Add a page that is built once the window is seen: the shown one first, and a step per turn of Qt's loop.

        So a window that is opened minimised, or not at all, costs next to nothing, and Qt's thread never stands still.
        """
        self._builder.add(name, make)
        self.add_page(name, title, QWidget())

    def page(self, name: str) -> QWidget:
        """The page of that name, built if need be, in one go; KeyError when there is none."""
        self._builder.finish(name)
        widget = self._stack.widget(self._names.index(name)) if name in self._names else None
        if widget is None:
            raise KeyError(name)
        return widget

    def when_built(self, name: str, call: Callable[[QWidget], object]) -> None:
        """Call `call` with the page: at once, or when it stands. Nothing happens where there is no such page."""
        if name in self._builder:
            self._when_built.setdefault(name, []).append(call)
        elif name in self._names:
            call(self.page(name))

    def show_page(self, name: str) -> None:
        """Turn to a page; an unknown name changes nothing (a link may name a page that isn't built yet)."""
        if name in self._names:
            self._list.setCurrentRow(self._names.index(name))

    def render_snapshot(self, snapshot: AgentSnapshot) -> None:
        """Hand the snapshot to every page; those that can't be seen only keep it."""
        self._snapshot = snapshot
        for row in range(self._stack.count()):
            _render(self._stack.widget(row), snapshot)

    def bring_up(self) -> None:
        """Show the window in front, wherever it was: hidden, minimised or behind others."""
        if self.isMinimized():
            self.setWindowState(self.windowState() & ~Qt.WindowState.WindowMinimized)
        self.show()
        self.raise_()
        self.activateWindow()

    def close_for_good(self) -> None:
        """Close without asking anybody: the program ends."""
        self._may_close = True
        self.close()

    # Qt overrides

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._begin_building()
        self._look_if_seen()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() is QEvent.Type.WindowStateChange:
            self._begin_building()
            self._look_if_seen()

    def closeEvent(self, event: QCloseEvent) -> None:
        self._remember_place()
        if self._may_close:
            event.accept()
        else:
            event.ignore()
            self.close_requested.emit()

    def hideEvent(self, event: QHideEvent) -> None:
        self._remember_place()
        super().hideEvent(event)
        self._look_if_seen()

    def _on_list_current_row_changed(self, row: int) -> None:
        if row >= 0:
            self._stack.setCurrentIndex(row)  # to an empty page while its own is still to be built: it is the next one

    def _begin_building(self) -> None:
        """In a turn of its own: the frame and the list are on the screen before the first page is built."""
        if not self._builder.is_started and self.isVisible() and not self.isMinimized():
            next_turn(self, self._builder.start)

    def _look_if_seen(self) -> None:
        is_seen = self.isVisible() and not self.isMinimized()
        if is_seen is not self._is_seen:
            self._is_seen = is_seen
            self.seen.emit(is_seen)

    def _on_page_built(self, name: str, widget: QWidget) -> None:
        """Put the page in the place that was kept for it."""
        row = self._names.index(name)
        is_current = self._stack.currentIndex() == row
        empty = self._stack.widget(row)
        self._stack.insertWidget(row, widget)
        if is_current:
            self._stack.setCurrentIndex(row)
        if empty is not None:
            self._stack.removeWidget(empty)
            empty.deleteLater()
        if self._snapshot is not None:
            _render(widget, self._snapshot)
        for call in self._when_built.pop(name, ()):
            call(widget)

    def _restore_place(self) -> None:
        place = self._memory.value("geometry")
        if not (isinstance(place, QByteArray) and self.restoreGeometry(place)):
            self.resize(DEFAULT_SIZE.boundedTo(self.screen().availableSize() - FRAME))

    def _remember_place(self) -> None:
        self._memory.setValue("geometry", self.saveGeometry())
        self._memory.setValue("page", self.current_page)


def _render(widget: QWidget | None, snapshot: AgentSnapshot) -> None:
    if widget is not None and type(widget).render is not QWidget.render:
        cast(Page, widget).render(snapshot)
