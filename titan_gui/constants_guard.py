"""Keep Python 3.11 alive under PySide6 6.12: its wheels count the references of None, True and False wrongly there.

They are built for a Python in which these three are immortal (3.12, PEP 683) and so give back references that they
never took: measured with 6.12.0 on 3.11, every call that returns nothing (`setText`, `setVisible`) costs one reference
of None, every `Signal.emit` one of True. After some thousand calls the interpreter aborts: "Fatal Python error:
none_dealloc". The remedy makes the three as good as immortal here too, as 3.12 does it: a count that is never used up.
"""

from __future__ import annotations

import ctypes
import sys

_COUNT = 1 << 60  # a thousand calls a second for 36 million years


def make_constants_immortal() -> None:
    """Call it before Qt is used. Harmless with any PySide6; does nothing where Python does it itself."""
    if sys.version_info >= (3, 12) or sys.implementation.name != "cpython" or sys.maxsize < 1 << 62:
        return
    for constant in (None, True, False):
        count = ctypes.c_ssize_t.from_address(id(constant))  # ob_refcnt is the first field of every object
        if count.value < _COUNT:
            count.value += _COUNT
