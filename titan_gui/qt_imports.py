"""Imports in a process that runs Qt: cheaper, and away from Qt's thread.

PySide6 wraps `import`: of every module that is imported after it, it reads the source, to find out whether the module
could want Qt's names in snake_case (`from __feature__ import snake_case`). We don't; and Python's `linecache` keeps all
that text: 6.5 million characters with the charts, 17 MB, and a sixth of the time of their import.
"""

from __future__ import annotations

import importlib
import linecache
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

# A thread that wants the interpreter's lock waits for so long before the one that imports gives it away. Each call into
# Qt can be such a wait: at 1 ms (launch.py) a page's layout took 80 ms beside the charts' import, at 0.1 ms 20.
SWITCH_INTERVAL_S = 0.0001

STEP_S = 0.005
WINDOW_QT = ("PySide6.QtCore", "PySide6.QtGui", "PySide6.QtWidgets")

_one_at_a_time = threading.Lock()


def skip_source_reading() -> None:
    """Keep PySide6 from reading the sources of what is imported from now on. Call it once Qt is there."""
    feature = sys.modules.get("shibokensupport.feature")  # PySide6's own: another release may do without
    if hasattr(feature, "_mod_uses_pyside"):
        feature._mod_uses_pyside = lambda module: False  # type: ignore[union-attr]
    linecache.clearcache()  # what was read until now


def make_types(names: Sequence[str]) -> Iterator[None]:
    """On Qt's thread: import these modules of PySide6 and make all of their classes, some milliseconds a step. Together
    100 ms and 8 MB, which the window takes anyway."""
    began = time.perf_counter()
    for name in names:
        with suppress(ImportError):  # a package may do without; who needs it will say so
            module = importlib.import_module(name)
            for attribute in dir(module):
                getattr(module, attribute, None)
                if time.perf_counter() - began > STEP_S:
                    yield None
                    began = time.perf_counter()


def import_modules(names: Sequence[str]) -> None:
    """For a worker thread, after `make_types`: import these, and let Qt's thread in between whenever it wants to."""
    if all(name in sys.modules for name in names):
        return
    with _one_at_a_time:
        before = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        try:
            for name in names:
                importlib.import_module(name)
        finally:
            sys.setswitchinterval(before)
