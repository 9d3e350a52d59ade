"""Serving opens and closes as the reasons say: who is told of it, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from core.coordinator_client import CoordinatorClient
from core.model_starter import ModelStarter
from core.parts.serving import Serving
from core.reasons.of_owner import stopping

LEAVE_LIMIT_S = 2.0  # telling the coordinator, on the way out


class ServingSwitch:
    """Off until the agent is up, and from the moment in which it begins to stop."""

    def __init__(
        self,
        serving: Serving,
        *,
        starter: ModelStarter,
        coordinator: CoordinatorClient,
        let_sleep: Callable[[], None],
        set_serving: Callable[[bool], Awaitable[None]],
        publish: Callable[[], None],
    ) -> None:
        """`set_serving` answers the network's question after our health, `publish` shows it to front ends."""
        self._models = serving.models
        self._reasons = serving.reasons
        self._admission = serving.admission
        self._starter = starter
        self._coordinator = coordinator
        self._let_sleep = let_sleep
        self._set_serving = set_serving
        self._publish = publish
        self._was_blocked = False
        self._had_capacity = True  # as the coordinator was last told
        self._blocked_changed = asyncio.Event()
        self._leaving: asyncio.Task[None] | None = None
        self.is_up = False

    def turn_on(self) -> None:
        """The agent is up: from now on each change of the reasons is followed."""
        self.is_up = True
        self._was_blocked = self._reasons.is_blocked
        self._had_capacity = not self._was_blocked

    def turn_off(self) -> None:
        """For good: the agent stops. Whoever waits in the queue is refused, and the coordinator hears of it."""
        self.is_up = False
        self._reasons.put(stopping())
        self._blocked_changed.set()
        self._admission.refuse_queue()
        self._leaving = asyncio.create_task(self._coordinator.leave(LEAVE_LIMIT_S), name="leave-coordinator")

    @property
    def is_leaving(self) -> bool:
        return self._leaving is not None

    async def wait_left(self) -> None:
        """Until the coordinator has heard of it, or LEAVE_LIMIT_S are over. After `turn_off`."""
        assert self._leaving is not None
        await asyncio.wait([self._leaving])

    def follow_reasons(self) -> None:
        """The reasons have changed."""
        if not self.is_up:
            return
        if "going_to_sleep" in self._reasons and self._models.loaded:
            self._starter.want_check()  # begun in the step in which the machine wakes: the clocks tell seconds later
        is_blocked = self._reasons.is_blocked
        if self._was_blocked and not is_blocked and self._starter.begin():
            return  # another reason has taken its place, and told everybody
        if is_blocked != self._was_blocked:
            self._was_blocked = is_blocked
            if is_blocked:
                self._admission.refuse_queue()
                self._let_sleep()
            self._blocked_changed.set()
        self._tell_capacity(has_capacity=not is_blocked and "engine_resting" not in self._reasons)
        if is_blocked and self._coordinator.view.link == "not-registered":
            self._coordinator.register_again()  # nothing is sent: it says anew why not, instead of what held before
        self._publish()

    def tell_coordinator(self) -> None:
        """Register again: what was said of this agent (sessions, memory, models) no longer holds."""
        if self.is_up:
            self._coordinator.register_again()

    def follow_offer(self) -> None:
        """The engine, or what it has of the models to offer, is another one."""
        if self.is_up:
            self._coordinator.register_again()
            self._publish()

    async def keep_health(self) -> None:
        """Answer grpc.health.v1 as the reasons say, for ever."""
        while True:
            self._blocked_changed.clear()
            await self._set_serving(not self._reasons.is_blocked)
            await self._blocked_changed.wait()

    def _tell_capacity(self, *, has_capacity: bool) -> None:
        if has_capacity == self._had_capacity:
            return
        self._had_capacity = has_capacity
        if has_capacity:
            self._coordinator.register_again()
        else:
            self._coordinator.beat_now()
