"""Which event loop the agent runs on: uvloop's where it is installed (Linux and macOS), asyncio's own elsewhere.

uvloop for its cost: figures in docs/performance.md. What the agent asks of a loop is what both do alike: sockets,
signals, subprocesses, a unix socket, threads, and grpc.aio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """For `asyncio.Runner`; None is asyncio's own choice."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
