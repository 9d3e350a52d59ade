"""Whether macOS calls the network expensive or constrained: Network.framework's path monitor, through ctypes.

Not Qt's QNetworkInformation: its backend on Apple's systems tells reachability and medium, never "metered" (qtbase's
qapplenetworkinformationbackend.mm), and answers False. An agent without a window knows it too this way. Not run on a
real Mac by the tests: they run it against functions of their own.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Any

from core.signals import Unknown

FIRST_ANSWER_S = 0.5  # the monitor answers as soon as it is started, on a thread of its own
_FRAMEWORK = "/System/Library/Frameworks/Network.framework/Network"
_SATISFIED = 1  # nw_path_status_satisfied (path.h)
_IS_GLOBAL = 1 << 28  # a block that nobody copies or frees
_NOT_YET = Unknown("macOS hasn't told whether this network is metered.")
_NO_NETWORK = Unknown("No network is connected.", is_no_loss=True)
_Invoke = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
# The system may be about to call a block whose monitor was cancelled: none is ever freed, one a start of the agent.
_kept: list[object] = []


class _Descriptor(ctypes.Structure):
    _fields_ = [("reserved", ctypes.c_ulong), ("size", ctypes.c_ulong)]


class _Block(ctypes.Structure):
    """A function as Apple's systems pass it (clang's "Block Implementation Specification")."""

    _fields_ = [
        ("isa", ctypes.c_void_p),
        ("flags", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
        ("invoke", _Invoke),
        ("descriptor", ctypes.POINTER(_Descriptor)),
    ]


class MacMetered:
    """One monitor, from the first reading to `close`; what it said last is the answer."""

    name = "is_metered"

    def __init__(self, framework: Any = None, *, block_class: int = 0, first_answer_s: float = FIRST_ANSWER_S) -> None:
        """`framework` has Network's functions and libSystem's, `block_class` is the address of what makes a block
        global; both are replaced in tests.
        """
        self._framework = framework
        self._block_class = block_class
        self._first_answer_s = first_answer_s
        self._monitor: int | None = None
        self._heard = threading.Event()
        self._answer: bool | Unknown = _NOT_YET

    def read(self) -> bool | Unknown:
        if self._monitor is None:
            self._begin()
        self._heard.wait(self._first_answer_s)
        return self._answer

    def close(self) -> None:
        if self._monitor is not None:
            self._framework.nw_path_monitor_cancel(self._monitor)
            self._monitor = None

    def _begin(self) -> None:
        network = self._framework
        if network is None:
            network = self._framework = ctypes.CDLL(_FRAMEWORK)  # which brings libSystem's names with it
            self._block_class = ctypes.addressof(ctypes.c_void_p.in_dll(network, "_NSConcreteGlobalBlock"))
        _declare(network)
        handler = _block(self._block_class, self._on_path)
        _kept.append(handler)
        monitor = network.nw_path_monitor_create()
        network.nw_path_monitor_set_queue(monitor, network.dispatch_queue_create(b"titan-network", None))
        network.nw_path_monitor_set_update_handler(monitor, ctypes.addressof(handler))
        network.nw_path_monitor_start(monitor)
        self._monitor = monitor

    def _on_path(self, block: int, path: int) -> None:
        """On a thread of the system's, at the start and at each change. Constrained is the owner's Low Data Mode."""
        network = self._framework
        if network.nw_path_get_status(path) == _SATISFIED:
            self._answer = bool(network.nw_path_is_expensive(path) or network.nw_path_is_constrained(path))
        else:
            self._answer = _NO_NETWORK
        self._heard.set()


def _block(block_class: int, call: Any) -> _Block:
    """It keeps alive what it points to, as long as it lives itself."""
    descriptor = _Descriptor(0, ctypes.sizeof(_Block))
    return _Block(block_class, _IS_GLOBAL, 0, _Invoke(call), ctypes.pointer(descriptor))


def _declare(network: Any) -> None:
    """Pointers have 64 bits, and ctypes takes everything for an int that isn't declared."""
    pointer = ctypes.c_void_p
    for name, result, arguments in (
        ("dispatch_queue_create", pointer, (ctypes.c_char_p, pointer)),
        ("nw_path_monitor_create", pointer, ()),
        ("nw_path_monitor_set_queue", None, (pointer, pointer)),
        ("nw_path_monitor_set_update_handler", None, (pointer, pointer)),
        ("nw_path_monitor_start", None, (pointer,)),
        ("nw_path_monitor_cancel", None, (pointer,)),
        ("nw_path_get_status", ctypes.c_int, (pointer,)),
        ("nw_path_is_expensive", ctypes.c_bool, (pointer,)),
        ("nw_path_is_constrained", ctypes.c_bool, (pointer,)),
    ):
        function = getattr(network, name)
        function.restype, function.argtypes = result, arguments
