"""Python's collector of cycles, kept from holding Qt's thread up.

A full collection walks every object that there is, and all threads stand still meanwhile: 25 to 55 ms while the window
is built, when new objects by the ten thousands call for several.
"""

from __future__ import annotations

import gc

_THRESHOLDS = gc.get_threshold()
_RARELY = 100  # collections of the middle generation for a full one; building the window makes for about 20


def put_off_full_collections() -> None:
    """Until `keep_what_is_there`: while much is made that will stay."""
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS[:2], _RARELY)


def keep_what_is_there() -> None:
    """What has been made until now stays for good: no collection need walk it."""
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
