"""What is looked at now and then is looked at together: waking an idle machine up costs more than most looks do."""

from __future__ import annotations

import asyncio

BEAT_S = 0.25


async def sleep_to_beat(seconds: float) -> None:
    """Sleep for about `seconds`: until the loop's beat nearest to then, an eighth of a second early or late at most.

    Less than a beat is slept exactly.
    """
    if seconds < BEAT_S:
        await asyncio.sleep(seconds)
        return
    now = asyncio.get_running_loop().time()
    await asyncio.sleep(round((now + seconds) / BEAT_S) * BEAT_S - now)
