"""After a pause, after a sleep, and at the start if it is wanted: serve only once the model has given a real token."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing, suppress

from core.engines import Prompt
from core.errors import (
    AgentError,
    AtCapacity,
    EngineFailed,
    EngineTimeout,
    EngineUnreachable,
    ModelError,
    ModelNotOffered,
)
from core.logs import get_logger
from core.model_manager import ModelManager
from core.reasons import ReasonBook
from core.reasons.of_engine import model_loading

log = get_logger(__name__)

ENGINES = ("embedded", "ollama")  # any other server may be paid by the token
PROMPT = "Hi"
SETTLE_S = 5.0  # until a sample of the machine has counted what was just loaded
RETRY_S = 5.0  # an engine that is away is the keeper's to tell of; the model isn't to blame


class ModelStarter:
    """Holds the reason `model_loading` while it loads and tries the model. All on the loop thread."""

    def __init__(
        self,
        *,
        models: ModelManager,
        reasons: ReasonBook,
        last_used: Callable[[], tuple[str, ...]],
        most_used: Callable[[], tuple[str, ...]] = tuple,
        how_many: Callable[[], int] = lambda: 1,
        is_enabled: Callable[[], bool],
        limit_s: Callable[[], float],
        on_failed: Callable[[], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`last_used` gives the models that were in memory before the pause, as the engine names them, `most_used`
        those that were asked for most in the last days, as the coordinator names them; `limit_s` how long loading and
        the first token may take; `on_failed` is called before the reason goes, so that it can put a better one.
        """
        self._models = models
        self._reasons = reasons
        self._last_used = last_used
        self._most_used = most_used
        self._how_many = how_many
        self._is_enabled = is_enabled
        self._limit_s = limit_s
        self._on_failed = on_failed
        self._sleep = sleep
        self._is_wanted = False
        self._is_check = False
        self._is_start = False
        self._task: asyncio.Task[None] | None = None
        self._name = ""
        self._more: asyncio.Task[None] | None = None  # loads further models; serving doesn't wait for it
        self._more_name = ""

    def want(self) -> None:
        """Memory was given back: when serving would begin again, the model comes first."""
        self._is_wanted, self._is_check, self._is_start = True, False, False

    def want_at_start(self) -> None:
        """The agent has just started: when serving would begin, a model that fits comes first, if there is one."""
        self._is_wanted, self._is_check, self._is_start = True, False, True

    def want_check(self) -> None:
        """The machine slept: when serving, or now, what is loaded must show that it still works."""
        if not self._is_wanted:
            self._is_wanted = self._is_check = True

    def begin(self) -> bool:
        """Serving would begin now. True when it has to wait for the model: then the reason says so already."""
        if self._task is not None:
            return True
        if not self._is_wanted:
            return False
        is_enabled = self._is_check or self._is_start or self._is_enabled()
        if self._models.engine.name not in ENGINES or not is_enabled:
            self._is_wanted = False
            return False
        name = self._choose()
        if name is None:
            return False
        if self._models.is_serving(name) and not self._is_check:  # a session from before the pause still uses it
            self._is_wanted = False
            return False
        self._name = name
        self._task = asyncio.get_running_loop().create_task(self._run(name), name="model-start")
        self._task.add_done_callback(self._on_done)
        self._reasons.put(model_loading(name, is_check=self._is_check))
        return True

    def stop(self) -> tuple[str, ...]:
        """Not needed any more; returns the models that may still be loading."""
        loading = []
        if self._more is not None and not self._more.done():
            self._more.cancel()
            loading.append(self._more_name)
        task, self._task = self._task, None
        if task is not None:
            loading += [self._name, *self._models.loading]  # a step down may have gone on to another file
            task.cancel()
            self._reasons.drop("model_loading")
        return tuple(dict.fromkeys(filter(None, loading)))

    async def close(self) -> None:
        tasks = [task for task in (self._task, self._more) if task is not None]
        self.stop()
        if tasks:
            await asyncio.wait(tasks)

    def _choose(self) -> str | None:
        """The engine's name of the model that was used before, else of the one that is used most, else of the first
        that is offered; of the latter two, one that fits now. At the start one that doesn't fit is left alone.
        """
        before = self._resolved(self._last_used())
        others = self._resolved((*self._most_used(), *self._models.offered))
        fitting = [name for name in others if self._models.fits(name)]
        return next(iter((*before, *fitting, *(() if self._is_start else others))), None)

    def _resolved(self, names: Iterable[str]) -> list[str]:
        found = []
        for name in names:
            with suppress(ModelNotOffered):
                found.append(self._models.resolve(self._models.offered_as(name)))
        return found

    async def _run(self, name: str) -> None:
        while not await self._is_over(name):
            await self._sleep(RETRY_S)

    async def _is_over(self, name: str) -> bool:
        """One attempt. False when the engine is away; after a failure `_is_wanted` stays."""
        try:
            async with asyncio.timeout(self._limit_s()):
                # By the name that it is offered under; a step down on the way ends with another file.
                name = self._name = (await self._models.load(self._models.offered_as(name))).name
                await self._try(name)
        except EngineUnreachable:
            return False
        except AtCapacity:  # the owner's own test uses the engine with another model: it works
            log.info("model not loaded: another one is in use", model=name)
        except TimeoutError:
            self._fail(name, EngineTimeout(f"no first token within {self._limit_s():g} s"))
            return True
        except AgentError as error:
            self._fail(name, error)
            return True
        else:
            log.info("model gave a token", model=name)
        self._is_wanted = False
        return True

    async def _try(self, name: str) -> None:
        """One token. Raises EngineFailed when the answer is over without any."""
        tokens = 0
        prompt = Prompt(model=name, text=PROMPT, max_tokens=1)
        async with self._models.serving(name) as engine, aclosing(engine.stream(prompt)) as pieces:
            async for piece in pieces:
                tokens += piece.tokens
                if piece.done:
                    tokens = max(tokens, piece.completion_tokens or 0)
        if not tokens:
            raise EngineFailed("it gave no token")
        self._models.note_answered(name)

    def _fail(self, name: str, error: AgentError) -> None:
        """It isn't offered for a while; the next one that is offered gets its turn, else the owner is told."""
        log.warning("model does not serve", model=name, error=error.detail, hint=error.hint)
        if not isinstance(error, ModelError):  # one that is says more: too little memory is soon tried again
            error = ModelError(error.detail, hint=error.hint)
        self._models.note_unloadable(name, error)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        if task is not self._task:  # stopped
            return
        self._task = None
        if not task.cancelled() and (bug := task.exception()) is not None:
            log.error("starting the model failed", exc_info=bug)
            self._is_wanted = False  # a session will show what is wrong
        if self._is_wanted:
            self._on_failed()
        elif not self._is_check and self._how_many() > 1:
            self._more_name = ""
            self._more = asyncio.get_running_loop().create_task(self._load_more(), name="more-models")
        self._reasons.drop("model_loading")

    async def _load_more(self) -> None:
        """The other most used models, as far as they fit beside what is there."""
        for name in dict.fromkeys(self._resolved(self._most_used())):
            await self._sleep(SETTLE_S)
            if len(self._models.loaded) >= self._how_many():
                return
            if self._models.is_loaded(name) or not self._models.fits_beside(name):
                continue
            self._more_name = name
            try:
                await self._models.load(self._models.offered_as(name))
            except AgentError as error:
                log.warning("further model not loaded", model=name, error=error.detail, hint=error.hint)
                return
            self._more_name = ""
            log.info("further model loaded", model=name)
