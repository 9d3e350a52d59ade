"""What is looked at now and then is looked at together: waking an idle machine up costs more than most looks do."""

from __future__ import annotations

import asyncio

BEAT_S = 1.0
SHORT_BEAT_S = 0.25


async def sleep_to_beat(seconds: float) -> None:
    """Sleep for about `seconds`: until the loop's beat nearest to then, so that periods of whole seconds are kept.

    From three quarters of a second on, half a second early or late at most; below, an eighth. Less than a quarter is
    slept exactly.
    """
    if seconds < SHORT_BEAT_S:
        await asyncio.sleep(seconds)
        return
    beat_s = SHORT_BEAT_S if seconds < 0.75 * BEAT_S else BEAT_S
    now = asyncio.get_running_loop().time()
    await asyncio.sleep(max(0.0, round((now + seconds) / beat_s) * beat_s - now))
