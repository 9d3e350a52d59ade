"""Other programs' use of the graphics cards on Windows: the "GPU Engine" counters that the Task Manager shows.

By pdh.dll, through ctypes. NVML tells no program's share on Windows' display driver model; these counters tell it for
every vendor. Not run on a real Windows by the tests: they run it against a library of their own.
"""

from __future__ import annotations

import ctypes
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from core.signals import GpuUse, Unknown
from core.signals.full_screen import name_of_program
from core.signals.gpu_use import most_used

COUNTER = r"\GPU Engine(*)\Utilization Percentage"
_FORMAT_DOUBLE = 0x00000200  # PDH_FMT_DOUBLE (pdh.h)
_MORE_DATA, _NO_DATA = 0x800007D2, 0x800007D5  # PDH_MORE_DATA, PDH_NO_DATA (pdhmsg.h)
_VALID = (0, 1)  # PDH_CSTATUS_VALID_DATA, PDH_CSTATUS_NEW_DATA
# "pid_1234_luid_0x00000000_0x0000D1A5_phys_0_eng_3_engtype_3D"
_INSTANCE = re.compile(r"pid_(\d+)_(luid_.+)\Z")
_NOT_TOLD = Unknown("Windows doesn't tell which programs use the graphics card.")


class _Value(ctypes.Structure):
    """PDH_FMT_COUNTERVALUE; its union as the double that is asked for."""

    _fields_ = [("status", ctypes.c_uint32), ("double", ctypes.c_double)]


class Item(ctypes.Structure):
    """PDH_FMT_COUNTERVALUE_ITEM_W."""

    _fields_ = [("name", ctypes.c_wchar_p), ("value", _Value)]


class WindowsGpuUse:
    """The busiest engine of any card (3D, Compute, Video Encode ...), without our own processes' part."""

    name = "gpu_use_by_others"

    def __init__(
        self, own_pids: Callable[[], Iterable[int]], pdh: Any = None, name_of: Callable[[int], str] = name_of_program
    ) -> None:
        """`pdh` is the system's library; replaced in tests."""
        self._own_pids = own_pids
        self._pdh = pdh
        self._name_of = name_of
        self._query: Any = None
        self._counter = ctypes.c_void_p()

    def read(self) -> GpuUse | Unknown:
        """The first reading, and one before any program uses a card, are unknown: a counter needs two looks."""
        if self._query is None and not self._open():
            return _NOT_TOLD
        if self._pdh.PdhCollectQueryData(self._query):
            return _NOT_TOLD
        items = self._items()
        if items is None:
            return _NOT_TOLD
        own = set(self._own_pids())
        engines: defaultdict[str, defaultdict[int, float]] = defaultdict(lambda: defaultdict(float))
        for instance, percent in items:
            match = _INSTANCE.match(instance)
            if match and int(match[1]) not in own:
                engines[match[2]][int(match[1])] += percent
        by_name: defaultdict[str, float] = defaultdict(float)
        busiest = max(engines, key=lambda engine: sum(engines[engine].values()), default="")
        for pid, percent in engines[busiest].items():
            by_name[self._name_of(pid) if percent else ""] += percent
        return most_used(by_name)

    def close(self) -> None:
        if self._query is not None:
            self._pdh.PdhCloseQuery(self._query)
            self._query = None

    def _open(self) -> bool:
        if self._pdh is None:
            self._pdh = getattr(ctypes, "WinDLL")("pdh")  # noqa: B009 (exists only on Windows)
        query = ctypes.c_void_p()
        if self._pdh.PdhOpenQueryW(None, None, ctypes.byref(query)):
            return False
        self._query = query
        if self._pdh.PdhAddEnglishCounterW(query, COUNTER, None, ctypes.byref(self._counter)):
            self.close()
            return False
        return not self._pdh.PdhCollectQueryData(query)

    def _items(self) -> list[tuple[str, float]] | None:
        """Every program and engine with its percent; None where there is no answer."""
        size, count = ctypes.c_uint32(), ctypes.c_uint32()
        arguments = (self._counter, _FORMAT_DOUBLE, ctypes.byref(size), ctypes.byref(count))
        status = self._pdh.PdhGetFormattedCounterArrayW(*arguments, None) & 0xFFFFFFFF
        buffer: Any = None
        for _ in range(3):  # the list may grow between two calls
            if status != _MORE_DATA:
                break
            buffer = ctypes.create_string_buffer(size.value)
            status = self._pdh.PdhGetFormattedCounterArrayW(*arguments, buffer) & 0xFFFFFFFF
        if status == _NO_DATA:
            return []
        if status or buffer is None:
            return None
        items = (Item * count.value).from_buffer(buffer)
        return [(item.name, item.value.double) for item in items if item.value.status in _VALID]
