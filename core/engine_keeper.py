"""Keep one engine chosen, started and listed, and turn its troubles into reasons that the owner can act on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from core.engines import Engine, EngineFactory
from core.errors import AgentError, EngineError, EngineNeedsAttention
from core.logs import get_logger
from core.model_manager import ModelManager
from core.owner_engine_use import OwnerEngineUse
from core.reasons import ReasonBook
from core.reasons.of_engine import engine_attention, engine_resting, engine_unreachable, model_not_ready
from core.sessions import Admission
from core.shared_beat import sleep_to_beat

log = get_logger(__name__)

READY_INTERVAL_S = 30.0  # what the engine has changes rarely, and an idle agent should cost nothing
TROUBLE_INTERVAL_S = 5.0
PROBE_LIMIT_S = 3.0
OUTGROWN_INTERVAL_S = 600.0  # a load takes seconds, in which nobody is served
WATCH_INTERVAL_S = 5.0  # one small answer of a local Ollama each time; 0.01 % of a core


class EngineKeeper:
    """Choose the engine, keep it usable, keep the list of its models fresh.

    `auto` takes Ollama where it answers, else embedded. It decides at start, and again only while no session runs: an
    Ollama that appears later is taken then. One that dies is an engine fault, no reason to serve another model.
    """

    def __init__(
        self,
        *,
        requested: str,
        factories: Mapping[str, EngineFactory],
        models: ModelManager,
        admission: Admission,
        reasons: ReasonBook,
        on_offer_changed: Callable[[], None] = lambda: None,
        on_unload: Callable[[], None] = lambda: None,
        unload_after_idle_s: float = 300.0,
        engine_gpu_percent: Callable[[], float | None] = lambda: None,
        sleep: Callable[[float], Awaitable[None]] = sleep_to_beat,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_unload` is told that a model should leave memory once no session runs, again and again until it has: the
        embedded engine's, when it has served nobody for `unload_after_idle_s`, and one that isn't on the card as
        planned. `engine_gpu_percent` is the cards' use by the engine's processes.
        """
        self.requested = requested
        self.chosen_because = ""
        self._factories = factories
        self._models = models
        self._admission = admission
        self._reasons = reasons
        self._on_offer_changed = on_offer_changed
        self._on_unload = on_unload
        # Told that a better quantisation of the model in memory fits now, and nobody is served; at most each
        # OUTGROWN_INTERVAL_S. Set by who loads models (core/parts/model_memory.py), which is made after this.
        self.on_outgrown: Callable[[], None] = lambda: None
        self._outgrown_at = float("-inf")  # monotonic; when that was told last
        self.unload_after_idle_s = unload_after_idle_s
        self._engine_gpu_percent = engine_gpu_percent
        self._sleep = sleep
        self._clock = clock
        self._monotonic = monotonic
        self._owner_use = OwnerEngineUse()
        self.owner_use = ""  # a model that the owner's own work keeps in a shared engine, "" when none
        self._is_started = False
        self._is_in_fault = False  # at the last look
        self._wake = asyncio.Event()

    async def start(self) -> None:
        """Choose and start the engine, and list its models once. Trouble becomes a reason, never an exception."""
        if self.requested != "auto":
            self._choose(self._factories[self.requested](), "you chose it")
        else:
            await self._choose_automatically()
        await self.refresh()

    async def run(self) -> None:
        """Look again for ever: rarely while all is well, often in trouble, at once after `look_now`."""
        while True:
            in_trouble = self._is_in_trouble()
            await self._wait(TROUBLE_INTERVAL_S if in_trouble else READY_INTERVAL_S)
            if self.requested == "auto" and self._models.engine.name != "ollama" and not self._admission.running_jobs:
                await self._take_ollama_if_it_came()
            await self.refresh()

    async def watch(self) -> None:
        """Notice, for ever, the owner's own use of a shared engine, and a model that has served nobody for long."""
        while True:
            await self._sleep(WATCH_INTERVAL_S)
            await self._look_at_use()
            await self._look_at_idleness()

    def unload_after_idle(self, seconds: float) -> None:
        """Change the limit now."""
        self.unload_after_idle_s = seconds
        self._tell_limit()

    def look_now(self) -> None:
        """Refresh without waiting for the interval: a model was pulled, the owner acted, a session failed."""
        self._wake.set()

    async def refresh(self) -> None:
        """Start the engine if it isn't, else see whether it still answers; list its models; put or drop reasons.

        An engine that failed meanwhile is only asked again, not started: starting is an owner's act, which clears what
        it has failed before.
        """
        try:
            if self._is_started:
                await self._models.engine.check()  # the list may come from the disk: only this asks the engine itself
            else:
                await self._models.engine.start()
                self._is_started = True
            changed = await self._models.refresh()
        except AgentError as error:
            self._is_in_fault = True
            self._put_engine_reason(error)
            return
        self._is_in_fault = False
        if self._models.has_misplaced:
            self._on_unload()
        self._look_for_better()
        self.show()
        if changed:
            log.info("offer changed", offered=list(self._models.offered), engine=self._models.engine.name)
            self._on_offer_changed()

    async def restart_engine(self) -> None:
        """The owner acted ("try again"): start it anew even when it waits for attention."""
        self._is_started = False
        self._models.breaker.reset()
        self._models.forget_failures()
        await self.refresh()
        self.look_now()  # what ran before may be stuck

    def show(self) -> None:
        """Put or drop the reasons that follow from what is known now, without asking the engine."""
        status = self._models.engine.status
        if status.state == "attention":
            self._put_engine_reason(EngineNeedsAttention(status.detail, hint=status.hint))
        elif self._is_usable:
            self._reasons.drop("engine_attention")
            self._reasons.drop("engine_unreachable")
        problem = self._models.problem if self._is_usable else ""
        self._reasons.put_or_drop(
            "model_not_ready",
            model_not_ready(self._models.supported, problem, self._models.problem_hint) if problem else None,
        )
        breaker = self._models.breaker
        self._reasons.put_or_drop(
            "engine_resting", None if breaker.state == "closed" else engine_resting(breaker.retry_at)
        )

    async def _look_at_use(self) -> None:
        look_at_use = getattr(self._models.engine, "look_at_use", None)
        if look_at_use is None or not self._is_usable:
            self.owner_use = ""
            return
        engine = self._models.engine
        try:
            look = await look_at_use()
        except AgentError:
            self.look_now()
            return
        if engine is not self._models.engine:
            return
        use = self._owner_use.take(look, at=self._monotonic(), engine_gpu_percent=self._engine_gpu_percent())
        for model in use.taken:
            engine.leave_to_owner(model)  # type: ignore[attr-defined]
        if use.model != self.owner_use:
            log.info("owner's own use of the engine", model=use.model or None)
        self.owner_use = use.model

    def _look_for_better(self) -> None:
        now = self._monotonic()
        if now - self._outgrown_at < OUTGROWN_INTERVAL_S or self._admission.running_jobs:
            return
        if self._models.has_better:
            self._outgrown_at = now
            self.on_outgrown()

    async def _look_at_idleness(self) -> None:
        """Ollama looks after this itself: what we load has a keep_alive."""
        if self._models.engine.name != "embedded" or self._models.idle_s < self.unload_after_idle_s:
            return
        if await self._models.engine.loaded_models():
            self._on_unload()

    def _tell_limit(self) -> None:
        keep_for = getattr(self._models.engine, "keep_for", None)
        if keep_for is not None:
            keep_for(self.unload_after_idle_s)

    @property
    def _is_usable(self) -> bool:
        return self._is_started and not self._is_in_fault

    def _is_in_trouble(self) -> bool:
        troubles = ("engine_attention", "engine_unreachable", "model_not_ready", "engine_resting")
        return any(code in self._reasons for code in troubles)

    async def _wait(self, seconds: float) -> None:
        sleeping = asyncio.ensure_future(self._sleep(seconds))
        waking = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait((sleeping, waking), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            waking.cancel()
        self._wake.clear()

    def _choose(self, engine: Engine, because: str) -> None:
        self._models.use_engine(engine)
        self._models.breaker.reset()
        self._owner_use, self.owner_use = OwnerEngineUse(), ""
        self._tell_limit()
        self.chosen_because = because
        self._is_started = self._is_in_fault = False
        log.info("engine chosen", engine=engine.name, requested=self.requested, because=because)

    async def _choose_automatically(self) -> None:
        ollama = self._factories["ollama"]()
        if await _answers(ollama):
            self._choose(ollama, "Ollama answers")
            self._is_started = True
            return
        await ollama.close()
        self._choose(self._factories["embedded"](), "Ollama does not answer")

    async def _take_ollama_if_it_came(self) -> None:
        ollama = self._factories["ollama"]()
        if not await _answers(ollama) or self._admission.running_jobs:
            await ollama.close()
            return
        before = self._models.engine
        self._choose(ollama, "Ollama answers now")  # no await since the look above: no session can have begun
        self._is_started = True
        try:
            await before.close()
        except AgentError as error:
            log.warning("engine not closed cleanly", engine=before.name, error=error.detail)

    def _put_engine_reason(self, error: AgentError) -> None:
        if isinstance(error, EngineNeedsAttention):
            self._reasons.put(engine_attention(error.detail, error.hint))
            self._reasons.drop("engine_unreachable")
        else:
            self._reasons.put(engine_unreachable(error.detail, error.hint))
        self._reasons.drop("model_not_ready")  # which models there are is not known now


async def _answers(engine: Engine) -> bool:
    try:
        async with asyncio.timeout(PROBE_LIMIT_S):
            await engine.start()
    except (EngineError, TimeoutError):
        return False
    return True
