"""Builds widgets in steps of some milliseconds, one per turn of Qt's loop; a worker thread imports what they need."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from functools import partial

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QWidget

from core.errors import AgentError
from titan_gui.background import Background
from titan_gui.qt_imports import import_modules
from titan_gui.turns import next_turn

STEP_S = 0.005

Modules = tuple[str, ...]
# Yields between two steps, the modules that the next step imports where there are such; returns the widget.
Steps = Generator[Modules | None, None, QWidget]
Make = Callable[[], Steps]


def measured(page: QWidget) -> Iterator[None]:
    """Work out the sizes of all that stands in it, some milliseconds a step. Labels and layouts remember them; where
    nobody has asked before, placing the page asks for all at once."""
    began = time.perf_counter()
    for part in reversed(page.findChildren(QWidget)):  # what stands in another comes before it
        part.ensurePolished()
        part.sizeHint()
        part.minimumSizeHint()
        if time.perf_counter() - began > STEP_S:
            yield None
            began = time.perf_counter()


class StepBuilder(QObject):
    """`built` is emitted with each widget, `all_built` with the last. Everything belongs to the Qt thread."""

    built = Signal(str, QWidget)
    all_built = Signal()

    def __init__(self, parent: QObject | None = None, *, wanted: Callable[[], str] = str) -> None:
        """`wanted` names the widget that is to be built before all others; others come in the order of `add`."""
        super().__init__(parent)
        self._wanted = wanted
        self._makers: dict[str, Make] = {}  # what is still to be built
        self._begun: dict[str, Steps] = {}  # of these, what is being built
        self._importing: set[str] = set()  # of these, what waits for a worker
        self._is_started = False
        self._is_waiting = False  # for its turn
        self._background = Background(self)

    def __contains__(self, name: str) -> bool:
        """Whether it is still to be built."""
        return name in self._makers

    @property
    def is_started(self) -> bool:
        return self._is_started

    def add(self, name: str, make: Make) -> None:
        """To be built once the builder is started; right away where it is."""
        self._makers[name] = make
        self._go_on()

    def start(self) -> None:
        self._is_started = True
        self._go_on()

    def finish(self, name: str) -> None:
        """Build it now, in one go: where nobody is kept waiting by that. Nothing happens to what is built."""
        while name in self._makers:
            self._step(name)

    def _go_on(self) -> None:
        if self._is_started and not self._is_waiting and self._makers.keys() - self._importing:
            self._is_waiting = True
            next_turn(self, self._on_turn)

    def _on_turn(self) -> None:
        self._is_waiting = False
        ready = [name for name in self._makers if name not in self._importing]
        if not ready:
            return
        wanted = self._wanted()
        try:
            self._step(wanted if wanted in ready else ready[0])
        finally:
            self._go_on()

    def _step(self, name: str) -> None:
        if name not in self._begun:
            self._begun[name] = self._makers[name]()
        try:
            modules = next(self._begun[name])
        except StopIteration as end:
            self._drop(name)
            self.built.emit(name, end.value)
            if not self._makers:
                self.all_built.emit()
        except BaseException:  # a bug: that one is never built, the others are
            self._drop(name)
            raise
        else:
            if modules:
                self._import(name, modules)

    def _import(self, name: str, modules: Modules) -> None:
        self._importing.add(name)
        came = partial(self._on_imported, name)
        self._background.run(lambda: import_modules(modules), came, came)

    def _on_imported(self, name: str, _: AgentError | None) -> None:
        """Whether it went well or not: the next step's own import says what is wrong."""
        self._importing.discard(name)
        self._go_on()

    def _drop(self, name: str) -> None:
        del self._makers[name], self._begun[name]
        self._importing.discard(name)
