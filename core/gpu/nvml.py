"""NVIDIA cards, read through NVML (the driver's own library) by way of pynvml.

Each figure is asked for on its own, so a card that has no power meter still shows its memory. A card that falls off the
bus stays in the sample with its uuid and name and `is_lost`. A missing driver is looked for again at a slow pace.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from core.gpu import GpuProcess, GpuSample

FIRST_LOOK_BACK_S = 2.0  # over which the first sample looks for programs that use a card
RETRY_S = 60.0  # how often a missing driver or a lost card is looked for again
SLEPT_S = 5.0  # the wall clock ahead of the monotonic one: the machine slept (core/wake_watch.py)
DISPLAY_S = 10.0  # how often it is asked which card drives the display
_MIB = 1024 * 1024

# nvmlReturn_t, from the NVML API reference
_SUCCESS = 0
_UNINITIALIZED = 1
_NO_PERMISSION = 4
_NOT_FOUND = 6
_DRIVER_NOT_LOADED = 9
_LIBRARY_NOT_FOUND = 12
_GPU_IS_LOST = 15
_RESET_REQUIRED = 16
_VERSION_MISMATCH = 18
_GPU_NOT_FOUND = 28
_GONE = frozenset({_GPU_IS_LOST, _RESET_REQUIRED, _GPU_NOT_FOUND})

_REMEDIES = {
    _LIBRARY_NOT_FOUND: (
        "The NVIDIA driver's library (NVML) is not installed. If this machine has an NVIDIA card, install its driver; "
        "in a container, start it with access to the GPU (docker run --gpus all)."
    ),
    _DRIVER_NOT_LOADED: (
        "The NVIDIA driver is installed but not loaded. Load it (Linux: sudo modprobe nvidia) or restart the machine."
    ),
    _VERSION_MISMATCH: "The NVIDIA driver was updated while it was in use. Restart the machine.",
    _NO_PERMISSION: (
        "The NVIDIA driver refuses access to this user. Allow it to use /dev/nvidia* (often the group 'video')."
    ),
}


class _CardGone(Exception):
    """The driver says that the card is no longer there."""


class NvmlProbe:
    """Read every NVIDIA card. Blocking, and not thread-safe: one thread at a time calls it.

    `has_hardware` answers whether the machine holds an NVIDIA card at all: False makes a missing driver no problem,
    None means "cannot be told". `load` gives the pynvml module or raises OSError when the library isn't there.
    """

    name = "nvidia"

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        retry_s: float = RETRY_S,
        has_hardware: Callable[[], bool | None] = lambda: None,
        load: Callable[[], Any] | None = None,
        process_name: Callable[[int], str] | None = None,
    ) -> None:
        self._clock = clock
        self._now = now  # since the epoch, as the driver counts
        self._retry_s = retry_s
        self._has_hardware = has_hardware
        self._load = load or _load_pynvml
        self._names = _ProcessNames(process_name or _process_name)
        self._nvml: Any = None  # the pynvml module while NVML is initialised
        self._retry_at = float("-inf")
        self._clocks_apart_s = now() - clock()
        self._known: dict[str, str] = {}  # uuid → name, of every card seen so far
        self._uuid_at: dict[int, str] = {}  # index → uuid, as last enumerated
        self._used_until: dict[str, int] = {}  # uuid → the driver's time of the last use by a program, microseconds
        self._displays: dict[str, tuple[float, bool | None, bool | None]] = {}  # uuid → asked at, monitor, active
        self._problem = ""

    @property
    def problem(self) -> str:
        """Why no card, or not every card, can be read, with the remedy; "" when fine."""
        return self._problem

    def sample(self) -> tuple[GpuSample, ...]:
        """Every card that was ever seen. Never raises for a driver's trouble: see `problem`."""
        if not self._ensure_open():
            return self._with_lost(())
        try:
            cards = [self._read_card(index) for index in range(self._nvml.nvmlDeviceGetCount())]
        except self._nvml.NVMLError as error:
            self._fail(error.value)
            return self._with_lost(())
        self._names.forget_all_but({process.pid for card in cards for process in card.processes})
        samples = self._with_lost(cards)
        self._problem = _describe(samples)
        return samples

    def close(self) -> None:
        if self._nvml is None:
            return
        nvml, self._nvml = self._nvml, None
        try:
            nvml.nvmlShutdown()
        except nvml.NVMLError:
            return  # the driver went away before us: there is nothing left to release

    def _ensure_open(self) -> bool:
        self._look_for_sleep()
        if self._nvml is not None and not self._problem:
            return True
        if self._clock() < self._retry_at:
            return self._nvml is not None
        self._retry_at = self._clock() + self._retry_s
        self.close()  # a lost card comes back only to a fresh initialisation
        return self._open()

    def _look_for_sleep(self) -> None:
        """A driver that a sleep has shaken is looked at anew at once, not at the slow pace."""
        before_s, self._clocks_apart_s = self._clocks_apart_s, self._now() - self._clock()
        if self._clocks_apart_s - before_s >= SLEPT_S:
            self._retry_at = float("-inf")

    def _open(self) -> bool:
        try:
            nvml = self._load()
        except OSError:
            self._fail(_LIBRARY_NOT_FOUND)
            return False
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            self._fail(error.value)
            return False
        self._nvml, self._problem = nvml, ""
        return True

    def _fail(self, code: int) -> None:
        self.close()
        self._retry_at = self._clock() + self._retry_s
        if self._has_hardware() is False and not self._known:
            self._problem = ""  # no NVIDIA card, so no driver is missed
        else:
            self._problem = _REMEDIES.get(code, f"The NVIDIA driver answered with error {code}. Restart the machine.")

    def _read_card(self, index: int) -> GpuSample:
        try:
            handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
            uuid = self._ask("nvmlDeviceGetUUID", handle) or f"nvidia-index-{index}"
            name = self._ask("nvmlDeviceGetName", handle) or "NVIDIA card"
            self._known[uuid], self._uuid_at[index] = name, uuid
            return self._read_figures(handle, uuid, name)
        except _CardGone:
            is_lost = True
        except self._nvml.NVMLError as error:
            is_lost = error.value in _GONE
            if error.value in {_UNINITIALIZED, _DRIVER_NOT_LOADED}:
                raise
        uuid = self._uuid_at.get(index, f"nvidia-index-{index}")
        return GpuSample(uuid=uuid, name=self._known.get(uuid, "NVIDIA card"), is_lost=is_lost)

    def _read_figures(self, handle: Any, uuid: str, name: str) -> GpuSample:
        # Version 2 tells the driver's own reserved memory from what programs use; older drivers only have version 1.
        memory = self._ask("nvmlDeviceGetMemoryInfo", handle, self._nvml.nvmlMemory_v2)
        memory = memory or self._ask("nvmlDeviceGetMemoryInfo", handle)
        utilisation = self._ask("nvmlDeviceGetUtilizationRates", handle)
        temperature = self._ask("nvmlDeviceGetTemperature", handle, self._nvml.NVML_TEMPERATURE_GPU)
        power_mw = self._ask("nvmlDeviceGetPowerUsage", handle)
        return GpuSample(
            uuid=uuid,
            name=name,
            total_mb=memory and int(memory.total) // _MIB,
            used_mb=memory and int(memory.used) // _MIB,
            free_mb=memory and int(memory.free) // _MIB,
            utilisation_percent=utilisation and float(utilisation.gpu),
            temperature_c=None if temperature is None else float(temperature),
            power_w=None if power_mw is None else power_mw / 1000,
            has_monitor=self._display(handle, uuid)[0],
            is_display_active=self._display(handle, uuid)[1],
            processes=self._processes(handle, uuid),
        )

    def _display(self, handle: Any, uuid: str) -> tuple[bool | None, bool | None]:
        """(whether a monitor is plugged in, whether a desktop is drawn); None where the driver doesn't tell."""
        asked_at, *known = self._displays.get(uuid, (float("-inf"), None, None))
        if self._clock() - asked_at >= DISPLAY_S:
            modes = [self._ask(f"nvmlDeviceGetDisplay{what}", handle) for what in ("Mode", "Active")]
            known = [None if mode is None else bool(mode) for mode in modes]
            self._displays[uuid] = (self._clock(), known[0], known[1])
        return known[0], known[1]

    def _processes(self, handle: Any, uuid: str) -> tuple[GpuProcess, ...]:
        """Programs with a compute or a graphics context, one entry per pid.

        A program with both contexts is in both lists with the same figure, so the figures aren't added.
        """
        used_mb: dict[int, int | None] = {}
        for kind in ("Compute", "Graphics"):
            for process in self._list_processes(kind, handle):
                used = process.usedGpuMemory  # bytes; None where the driver doesn't say (Windows' display driver model)
                before = used_mb.get(process.pid)
                used_mb[process.pid] = before if used is None else max(used // _MIB, before or 0)
        percent = self._percent_by_pid(handle, uuid)
        idle_percent = None if percent is None else 0.0
        return tuple(
            GpuProcess(
                pid=pid,
                used_mb=used_mb.get(pid),
                name=self._names.of(pid),
                utilisation_percent=(percent or {}).get(pid, idle_percent),
            )
            for pid in sorted({*used_mb, *(percent or ())})
        )

    def _percent_by_pid(self, handle: Any, uuid: str) -> dict[int, float] | None:
        """Use of the card's processors by program, since the last sample; None where the driver doesn't tell it."""
        since_us = self._used_until.get(uuid, int((self._now() - FIRST_LOOK_BACK_S) * 1e6))
        try:
            samples = self._nvml.nvmlDeviceGetProcessUtilization(handle, since_us)
        except self._nvml.NVMLError as error:
            if error.value in _GONE:
                raise _CardGone from error
            return {} if error.value in (_SUCCESS, _NOT_FOUND) else None  # both say: nobody, since then
        newest = sorted(samples, key=lambda sample: int(sample.timeStamp))
        self._used_until[uuid] = max(since_us, *(int(sample.timeStamp) for sample in newest)) if newest else since_us
        # More than 100 is what a driver says of a program that has just begun, or ended.
        return {int(sample.pid): float(sample.smUtil) for sample in newest if sample.smUtil <= 100}

    def _list_processes(self, kind: str, handle: Any) -> Iterable[Any]:
        # The versioned calls: pynvml's unversioned one raises an error outside of its own tree on older drivers.
        for version in ("v3", "v2"):
            listed = self._ask(f"nvmlDeviceGet{kind}RunningProcesses_{version}", handle)
            if listed is not None:
                return list(listed)
        return ()

    def _ask(self, function: str, *arguments: Any) -> Any:
        """One figure, or None when this card or driver doesn't have it. Raises _CardGone."""
        try:
            return getattr(self._nvml, function)(*arguments)
        except self._nvml.NVMLError as error:
            if error.value in _GONE:
                raise _CardGone from error
            if error.value in {_UNINITIALIZED, _DRIVER_NOT_LOADED}:
                raise
            return None
        except UnicodeDecodeError:  # a name that is not UTF-8
            return None

    def _with_lost(self, cards: Iterable[GpuSample]) -> tuple[GpuSample, ...]:
        """The cards of this sample and those that were there before and aren't now, in the order of first sight."""
        by_uuid = {uuid: GpuSample(uuid=uuid, name=name, is_lost=True) for uuid, name in self._known.items()}
        for card in cards:
            if card.uuid not in by_uuid or not card.is_lost:
                by_uuid[card.uuid] = card
        return tuple(by_uuid.values())


class _ProcessNames:
    """Names by pid, asked for once while the pid stays on a card."""

    def __init__(self, look_up: Callable[[int], str]) -> None:
        self._look_up = look_up
        self._names: dict[int, str] = {}

    def of(self, pid: int) -> str:
        if pid not in self._names:
            self._names[pid] = self._look_up(pid)
        return self._names[pid]

    def forget_all_but(self, pids: set[int]) -> None:
        for pid in self._names.keys() - pids:
            del self._names[pid]


def _describe(cards: tuple[GpuSample, ...]) -> str:
    lost = [f"{card.name} ({card.uuid})" for card in cards if card.is_lost]
    if lost:
        return (
            f"The driver has lost {', '.join(lost)}: it needs a restart of the machine, and if it happens again a look "
            "at its power supply and its slot."
        )
    if not cards:
        return "The NVIDIA driver is loaded but shows no card. Check that this user, or container, may use it."
    return ""


def _load_pynvml() -> Any:
    """Import pynvml (4 MB, 20 ms) only where its library can be loaded. Raises OSError where it can't."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL("libnvidia-ml.so.1")
    import pynvml

    return pynvml


def _process_name(pid: int) -> str:
    import psutil

    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return ""  # gone already, or another user's
