"""Windows: a child that ends with us, however we end. Imported only there; tried on no Windows yet."""

from __future__ import annotations

import ctypes
from ctypes import wintypes

EXTENDED_LIMIT_INFORMATION, KILL_ON_JOB_CLOSE = 9, 0x2000
PROCESS_SET_QUOTA_AND_TERMINATE = 0x0100 | 0x0001


class BasicLimits(ctypes.Structure):
    """JOBOBJECT_BASIC_LIMIT_INFORMATION."""

    _fields_ = (
        ("per_process_user_time_limit", ctypes.c_int64),
        ("per_job_user_time_limit", ctypes.c_int64),
        ("limit_flags", wintypes.DWORD),
        ("minimum_working_set_size", ctypes.c_size_t),
        ("maximum_working_set_size", ctypes.c_size_t),
        ("active_process_limit", wintypes.DWORD),
        ("affinity", ctypes.c_size_t),
        ("priority_class", wintypes.DWORD),
        ("scheduling_class", wintypes.DWORD),
    )


class ExtendedLimits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION: the basic limits, six I/O counters, four memory figures."""

    _fields_ = (
        ("basic", BasicLimits),
        ("io_counters", ctypes.c_uint64 * 6),
        ("memory", ctypes.c_size_t * 4),
    )


def tie_to_this_process(pid: int) -> None:
    """Put the child into a job object that the system closes, child and all, when we are gone.

    The job's handle is never closed by us on purpose: the system closes it at our end, and that ends the child.
    """
    kernel32 = getattr(ctypes, "WinDLL")("kernel32", use_last_error=True)  # noqa: B009 (only on Windows)
    kernel32.CreateJobObjectW.restype = kernel32.OpenProcess.restype = wintypes.HANDLE
    kernel32.SetInformationJobObject.argtypes = (wintypes.HANDLE, ctypes.c_int, ctypes.c_void_p, wintypes.DWORD)
    kernel32.AssignProcessToJobObject.argtypes = (wintypes.HANDLE, wintypes.HANDLE)
    kernel32.CloseHandle.argtypes = (wintypes.HANDLE,)
    job = kernel32.CreateJobObjectW(None, None)
    limits = ExtendedLimits()
    limits.basic.limit_flags = KILL_ON_JOB_CLOSE
    child = kernel32.OpenProcess(PROCESS_SET_QUOTA_AND_TERMINATE, False, pid)
    if job and child:
        size = ctypes.sizeof(limits)
        if kernel32.SetInformationJobObject(job, EXTENDED_LIMIT_INFORMATION, ctypes.byref(limits), size):
            kernel32.AssignProcessToJobObject(job, child)
    if child:
        kernel32.CloseHandle(child)
