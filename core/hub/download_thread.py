"""A download on a thread of its own, and how its steps and its end come back to the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from core.engines import PullProgress
from core.errors import AgentError
from core.hub.download import DownloadStopped
from core.logs import get_logger

log = get_logger(__name__)


def on_a_thread(work: Callable[[], None]) -> asyncio.Future[None]:
    """Run it on a thread that doesn't hold up the program's end: a hub that hangs is waited for 30 s."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if result.done():
            return
        if error is None:
            result.set_result(None)
        else:
            result.set_exception(error)

    def run() -> None:
        outcome: BaseException | None = RuntimeError("the download ended in a bug; the log has it")
        try:
            work()
            outcome = None
        except (AgentError, DownloadStopped) as error:
            outcome = error
        finally:
            with suppress(RuntimeError):  # the loop is closed: the program ends
                loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=run, name="model-download", daemon=True).start()
    return result


def post(loop: asyncio.AbstractEventLoop, steps: asyncio.Queue[PullProgress | None], step: PullProgress) -> None:
    """Tell the loop a step; from the thread."""
    with suppress(RuntimeError):  # the loop is closed: the program ends
        loop.call_soon_threadsafe(steps.put_nowait, step)


def note_end(work: asyncio.Future[None]) -> None:
    """For who asks no more: whatever it ends with is looked at, so that nobody misses it."""
    if not work.cancelled() and (error := work.exception()) is not None and not isinstance(error, DownloadStopped):
        words = error.detail if isinstance(error, AgentError) else type(error).__name__
        log.debug("download ended", problem=words)
