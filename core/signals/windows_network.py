"""Whether Windows calls the network metered: INetworkCostManager::GetCost (netlistmgr.h), by COM through ctypes.

Asked directly and not through Qt, so that an agent without a window knows it too. Not run on a real Windows by the
tests: they run it against COM functions of their own.
"""

from __future__ import annotations

import ctypes
import uuid
from collections.abc import Callable
from typing import Any

from core.signals import Unknown

_CLASS = uuid.UUID("DCB00C01-570F-4A9B-8D69-199FDBA5723B").bytes_le  # CLSID_NetworkListManager
_INTERFACE = uuid.UUID("DCB00008-570F-4A9B-8D69-199FDBA5723B").bytes_le  # IID_INetworkCostManager
_RELEASE, _GET_COST = 2, 3  # places in the interface's table; the first three are IUnknown's
_MULTITHREADED, _ALL_CONTEXTS = 0, 0x17  # COINIT_MULTITHREADED, CLSCTX_ALL
# NLM_CONNECTION_COST: fixed and variable price; over the limit; roaming. 1 is unrestricted, 0 unknown.
_COSTS = 0x2 | 0x4 | 0x10000 | 0x40000
_NOT_TOLD = Unknown("Windows doesn't tell whether this network is metered.")


class WindowsMetered:
    """One question each time: nothing is held between two readings, which may come on different threads."""

    name = "is_metered"

    def __init__(self, load: Callable[[str], Any] | None = None) -> None:
        """`load` gives a system library by name; replaced in tests."""
        self._load = load or (lambda name: getattr(ctypes, "WinDLL")(name))  # noqa: B009 (exists only on Windows)

    def read(self) -> bool | Unknown:
        ole32 = self._load("ole32")
        if ole32.CoInitializeEx(None, _MULTITHREADED) < 0:
            return _NOT_TOLD
        try:
            return self._ask(ole32)
        finally:
            ole32.CoUninitialize()

    def close(self) -> None:
        """Nothing is held."""

    def _ask(self, ole32: Any) -> bool | Unknown:
        manager = ctypes.c_void_p()
        if ole32.CoCreateInstance(_CLASS, None, _ALL_CONTEXTS, _INTERFACE, ctypes.byref(manager)) or not manager:
            return _NOT_TOLD
        try:
            cost = ctypes.c_uint32()
            get_cost = _method(manager, _GET_COST, ctypes.POINTER(ctypes.c_uint32), ctypes.c_void_p)
            # Without an address: of the connection over which this machine reaches the internet.
            if get_cost(manager, ctypes.byref(cost), None) or cost.value == 0:
                return _NOT_TOLD
            return bool(cost.value & _COSTS)
        finally:
            _method(manager, _RELEASE)(manager)


def _method(instance: ctypes.c_void_p, place: int, *types: Any) -> Any:
    """A method of a COM object. On 64-bit Windows there is one calling convention, so CFUNCTYPE's is right."""
    table = ctypes.cast(instance, ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p))).contents
    return ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, *types)(table[place] or 0)
