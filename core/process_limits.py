"""What the system allows this process, set at its start: no dump of its memory, enough open files, the back seat."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

FILES_WANTED = 16_384  # connections of strangers, the engine's, ours; no more: some programs walk over all of them
FILES_KEPT = 256  # for the disk, the engine, the control door and the libraries, whatever strangers open
_FILES_WHERE_UNTOLD = 1024


def set_process_limits() -> None:
    """For this process and the engine's child. Never raises: a system that refuses leaves them as they were.

    A crash must not write prompts and answers to the disk. 1 and not 0: what the kernel would pipe to a collector of
    dumps it leaves out for 1 alone (core(5)), and no dump fits into a byte.
    """
    if sys.platform == "win32":
        return
    import resource

    _set_soft(resource.RLIMIT_CORE, 1, at_most=True)
    _set_soft(resource.RLIMIT_NOFILE, FILES_WANTED, at_most=False)


def take_the_back_seat() -> None:
    """The calling thread, and every thread and process that it starts from now on, works in the background: on Linux
    SCHED_BATCH (sched(7)). Never raises: a system that refuses, or has no such thing, leaves it as it was.

    The share of the processor stays the same, but when one of our threads wakes up it doesn't push a running program
    off, the owner's or our own. That is also cheaper: fewer switches (docs/performance.md).
    """
    if sys.platform == "linux":
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def files_for_strangers() -> int:
    """How many connections may come from outside, so that the owner's pause can always be written; 64 at least."""
    allowed = _FILES_WHERE_UNTOLD
    if sys.platform != "win32":
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        allowed = FILES_WANTED if soft == resource.RLIM_INFINITY else soft
    return max(64, allowed - FILES_KEPT)


def _set_soft(kind: int, wanted: int, *, at_most: bool) -> None:
    """The soft limit alone, down to `wanted` or up to it; the hard one bounds it."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(kind)
    is_enough = soft != resource.RLIM_INFINITY and soft <= wanted if at_most else soft >= wanted
    if is_enough or (not at_most and soft == resource.RLIM_INFINITY):
        return
    bounded = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with suppress(OSError, ValueError):
        resource.setrlimit(kind, (bounded, hard))
