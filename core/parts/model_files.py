"""Models on the disk: which this program downloaded, those that the owner wants, and the limits of both."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from core.config import Settings
from core.hub.hub import HubLimits, ModelHub, open_hub
from core.model_manager import ModelManager
from core.model_shelf import ModelShelf
from core.paths import ProfilePaths
from core.pull_room import PullRoom
from core.pulled_models import PulledModels


class ModelFiles:
    """The shelf that a front end sees, with the hub behind it for an engine that has no downloads of its own."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        paths: ProfilePaths,
        *,
        models: ModelManager,
        refresh: Callable[[], Awaitable[None]],
        room_bytes: Callable[[], int | None],
        is_metered: Callable[[], Awaitable[bool]],
        on_change: Callable[[], None],
    ) -> None:
        """`settings` as they are now. `room_bytes` as in ModelHub, the others as in ModelShelf."""
        self._settings = settings
        self._pulled = PulledModels(paths.pulled_models_file)
        self._hub = ModelHub(
            settings().models_dir,
            open_source=lambda reference: open_hub(reference, settings().hub_endpoint),
            limits=self._limits,
            room_bytes=room_bytes,
        )
        self.shelf = ModelShelf(
            models=models,
            pulled=self._pulled,
            refresh=refresh,
            hub=self._hub,
            room=PullRoom(budget_bytes=self._budget_bytes),
            is_metered=is_metered,
            on_change=on_change,
        )

    async def load(self) -> None:
        """Read what was downloaded before."""
        await asyncio.to_thread(self._pulled.load)
        await asyncio.to_thread(self._hub.load)

    async def close(self) -> None:
        await self.shelf.close()

    def _limits(self) -> HubLimits:
        return HubLimits(
            bytes_per_second=self._settings().download_limit_mb_s * 1e6,
            disk_budget_bytes=self._budget_bytes(),
        )

    def _budget_bytes(self) -> int:
        return int(self._settings().models_disk_budget_gb * 1e9)
