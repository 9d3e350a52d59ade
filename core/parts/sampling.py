"""The machine, sampled: once before anybody hears of it, then again and again, and what follows from a sample."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from core.parts.owner_side import OwnerSide
from core.parts.serving import Serving
from core.reporting import Reporter
from core.stats_collector import StatsCollector, SystemStats

SAMPLE_INTERVAL_S = 2.0
# Nothing of ours could be in anybody's way, and nobody looks: a sample with all that follows is most of an idle agent.
CALM_INTERVAL_S = 4.0


class Sampling:
    """Hands each sample to whoever works by it, in an order that matters."""

    def __init__(
        self,
        stats: StatsCollector,
        report: Reporter,
        serving: Serving,
        owner_side: OwnerSide,
        *,
        is_watched: Callable[[], bool],
        on_sampled: Callable[[], None],
    ) -> None:
        """`is_watched`: somebody sees the figures as they come. `on_sampled` is called after each sample but the
        first.
        """
        self._stats = stats
        self._report = report
        self._serving = serving
        self._owner_side = owner_side
        self._is_watched = is_watched
        self._on_sampled = on_sampled

    async def start(self) -> None:
        """Choose the engine, and look at the machine meanwhile."""
        rules = self._owner_side.rules
        sampling = asyncio.create_task(asyncio.to_thread(self._stats.collect), name="first-sample")
        looking = asyncio.create_task(rules.look(), name="first-look")
        try:
            await self._serving.keeper.start()
            self._report.take_sample(stats := await sampling)
            rules.take_sample(stats, self._report.cpu_percent_others)
            await looking  # a game that runs already keeps us closed: nobody hears of this machine, nothing is loaded
        finally:
            sampling.cancel()  # when it didn't come to that
            looking.cancel()

    async def run(self) -> None:
        """Sample for ever."""
        await self._stats.run(self.interval_s, self.take)

    def interval_s(self) -> float:
        """Until the next sample, by what goes on now. A rule that is about to begin or to end isn't kept waiting."""
        models, admission = self._serving.models, self._serving.admission
        is_needed = (
            self._is_watched()
            or models.loaded
            or models.loading
            or admission.running_jobs
            or admission.queued_jobs
            or self._owner_side.rules.keeper.is_turning
        )
        return SAMPLE_INTERVAL_S if is_needed else CALM_INTERVAL_S

    async def now(self) -> None:
        """One sample more, beside those that come by themselves."""
        self.take(await asyncio.to_thread(self._stats.collect))

    def take(self, stats: SystemStats) -> None:
        """One sample, on the loop."""
        self._report.take_sample(stats)
        self._owner_side.fit_sessions()
        self._owner_side.rules.take_sample(stats, self._report.cpu_percent_others)
        self._serving.keeper.show()  # a child may have given up between two looks
        self._owner_side.keep_awake_if_serving()
        self._serving.look_for_unseen()
        self._on_sampled()
