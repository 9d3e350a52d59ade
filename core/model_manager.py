"""Which model serves a request: what the engine has, what the owner offers, what is loaded, what can't be."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from core.better_load import has_better_quant, has_more_context
from core.circuit_breaker import CircuitBreaker
from core.engines import ChosenQuant, Engine, EngineModel, LoadedModel, MissingModel
from core.engines.names import find_model, same_model
from core.errors import AtCapacity, ModelError, ModelNotOffered, NotEnoughMemory
from core.fit import Room, can_load_now, judge, less_that_fits, refuse_what_breaks_the_reserve
from core.logs import get_logger
from core.missing_models import missing_models
from core.model_names import local_name
from core.no_offer import why_none_is_here, why_unloadable
from core.quant_choice import choose_quant, quants_of
from core.unloadable import Unloadable
from core.vram_plan import VramPlan

log = get_logger(__name__)

DEFAULT_OLLAMA_HOST = "http://localhost:11434"
_BY_TABLE = "By your table of names."


class ModelManager:
    """The models of one engine. `ModelManager("http://localhost:11434")`, as the seed's README has it, works alone too.

    `supported` are the owner's names, as the coordinator knows them; the engine's own names may differ (`:latest`).
    All methods run on the loop thread.
    """

    def __init__(
        self,
        ollama_host: str = DEFAULT_OLLAMA_HOST,
        *,
        engine: Engine | None = None,
        supported: Iterable[str] = (),
        allow_selftest: bool = False,
        breaker: CircuitBreaker | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        card_mb: Callable[[], int | None] = lambda: None,
        room: Callable[[], Room | None] = lambda: None,
        names: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`card_mb` gives the memory of all graphics cards together, None without one; `room` that for models now.

        `names` is the owner's table of other names (core/model_names.py).
        """
        self._engine = engine or _ollama(ollama_host)
        self.supported = tuple(supported)
        self.names = dict(names)
        self.allow_selftest = allow_selftest
        self.trials: tuple[str, ...] = ()  # served though not offered: what the owner tries out before sharing
        self.breaker = breaker or CircuitBreaker()
        self._monotonic = monotonic
        self.models: tuple[EngineModel, ...] = ()
        self.loaded: tuple[LoadedModel, ...] = ()
        self.problem = ""  # why nothing is offered, one sentence; "" when something is
        self.problem_hint = ""
        self._unloadable = Unloadable(monotonic)
        self._card_mb, self._room = card_mb, room
        self._chosen: dict[str, ChosenQuant] = {}  # by the owner's name, where that names no one file
        self._vram_plan = VramPlan()
        self.has_misplaced = False  # a model of ours is not on the card as planned: it should leave memory
        self._offered_at_refresh: tuple[str, ...] = ()
        self._has_listed = False  # the engine has said what it has: before that nothing is known to be missing
        self._answered: set[str] = set()  # models that gave a token since the engine was asked what is loaded
        self._serving: Counter[str] = Counter()
        self._loading: Counter[str] = Counter()  # by `load`; a session that loads its model is being served
        self._used_at = monotonic()

    @property
    def engine(self) -> Engine:
        return self._engine

    def use_engine(self, engine: Engine) -> None:
        """Serve from another engine from now on. Only while no session runs."""
        if self._serving.total():
            raise RuntimeError("the engine changes only while no session runs")
        self._engine = engine
        self.models, self.loaded = (), ()
        self._has_listed = False
        self._unloadable.clear()
        self._vram_plan, self.has_misplaced = VramPlan(), False

    @property
    def idle_s(self) -> float:
        """Seconds since a model was last loaded by hand, or a session ended; 0 while one runs."""
        return 0.0 if self._serving.total() else self._monotonic() - self._used_at

    @property
    def offered(self) -> tuple[str, ...]:
        """The owner's names of the models that the engine really has and can load."""
        return tuple(name for name in self.supported if self._servable(name) is not None)

    @property
    def missing(self) -> tuple[MissingModel, ...]:
        """What the owner offers and the engine has not, as far as it has said what it has."""
        if not self._has_listed:
            return ()
        names = [name for name in self.supported if self._find(name) is None and not self._is_unloadable_quant(name)]
        return missing_models(names, self.names, self._engine.name)

    async def refresh(self) -> bool:
        """Ask the engine what it has and what is loaded. Raises EngineError.

        True when what is offered has changed since the last refresh: a model may also have failed to load meanwhile.
        """
        models = await self._engine.list_models()
        self._has_listed = True
        if models != self.models:
            self.models = models
            self._unloadable.clear()  # a new or replaced file deserves a new try
        self._unloadable.try_again(self.fits)
        self._take_loaded(await self._engine.loaded_models())
        self._explain()
        before, self._offered_at_refresh = self._offered_at_refresh, self.offered
        return self.offered != before

    def resolve(self, wanted: str) -> str:
        """The engine's name for a model that a client asks for. Raises ModelNotOffered."""
        for name in (*self.supported, *self.trials):
            if same_model(name, wanted):
                found = self._servable(name)
                if found is not None:
                    return found
        raise ModelNotOffered(f"the model {wanted!r} is not offered here")

    def check_free_for(self, name: str) -> None:
        """An engine that holds one model at a time must not be switched under running sessions: AtCapacity."""
        if getattr(self._engine, "serves_one_model", False) and any(other != name for other in self._serving):
            raise AtCapacity("this agent serves another model at the moment", hint="Ask again in a moment.")

    async def load(self, wanted: str) -> LoadedModel:
        """Bring an offered model into memory. One that can't be loaded isn't offered for a while (core/unloadable.py).

        The file that is served for a model in any quantisation stands for that model. Raises ModelNotOffered,
        ModelError, EngineError; AtCapacity when sessions of another model run.
        """
        wanted = next((choice.offered for choice in self.chosen_quants if choice.model == wanted), wanted)
        while True:
            name = self.resolve(wanted)
            self.check_free_for(name)
            try:
                loaded = await self._load(name)
                break
            except ModelError as error:
                self.note_unloadable(name, error)
                if not isinstance(error, NotEnoughMemory) or not self._has_smaller(wanted):
                    raise
        self._unloadable.note_loaded(name)
        self._used_at = self._monotonic()
        self._take_loaded(await self._engine.loaded_models())
        if (failure := self._unloadable.get(name)) is not None:
            self._explain()
            raise ModelError(failure.why, hint=failure.hint)
        return loaded

    async def _load(self, name: str) -> LoadedModel:
        """Raises ModelError, EngineError."""
        await self._check_room(name)
        self._loading[name] += 1
        try:
            return await self._engine.load(name)
        finally:
            self._loading[name] -= 1

    async def unload_all(self) -> None:
        """Give the memory of every loaded model back, but for those that the owner's own work loaded.

        Raises EngineError.
        """
        for model in await self._engine.loaded_models():
            if not model.is_owners:
                await self._engine.unload(model.name)
        self._take_loaded(await self._engine.loaded_models())

    def forget_failures(self) -> None:
        """The owner acted: try every model again."""
        self._unloadable.clear()
        self._explain()

    def serving(self, name: str) -> InUse:
        """While in `async with`, a session of `name` (the engine's name) runs.

        Entering raises AtCapacity when the engine serves another, NotEnoughMemory when loading it would break the
        reserve.
        """
        return InUse(self, name)

    async def _begin_session(self, name: str) -> Engine:
        self.check_free_for(name)
        await self._check_room(name)
        self._serving[name] += 1
        return self._engine

    def _end_session(self, name: str) -> None:
        self._used_at = self._monotonic()
        self._serving[name] -= 1
        if not self._serving[name]:
            del self._serving[name]

    async def can_answer(self, name: str) -> bool:
        """Whether a model (the engine's name) writes text; one that only makes embeddings can't be offered.

        True where the engine doesn't say. Raises ModelError, EngineError.
        """
        capabilities = getattr(self._engine, "capabilities", None)
        said = await capabilities(name) if capabilities is not None else ()
        return not said or "completion" in said

    def fits(self, name: str) -> bool:
        """Whether a model (the engine's name) could be loaded now, as far as that is known."""
        room = self._room()
        model = next((model for model in self.models if model.name == name), None)
        if room is None or model is None or self._is_in_memory(name):
            return True
        return can_load_now(model, room)

    def fits_beside(self, name: str) -> bool:
        """Whether a model (the engine's name) fits beside those that are in memory already; False where that isn't
        known, or the engine holds one at a time.
        """
        room = self._room()
        model = next((model for model in self.models if model.name == name), None)
        if room is None or model is None or getattr(self._engine, "serves_one_model", False):
            return False
        need_mb = judge(model.size_bytes, room, model.shape).needed_mb
        if need_mb is None or room.free_mb is None or room.budget_mb is None:
            return False
        held = [(one.vram_mb if room.kind == "vram" else one.total_mb) or 0 for one in self.loaded if not one.is_owners]
        return need_mb <= min(room.free_mb, room.budget_mb) - sum(held)  # what is ours counts as free there

    def is_loaded(self, name: str) -> bool:
        """Whether the engine has said that it is in memory (the engine's name)."""
        return find_model(name, tuple(model.name for model in self.loaded)) is not None

    def is_warm(self, name: str) -> bool:
        """Whether a model (the engine's name) is in memory, as far as that is known without asking the engine."""
        holds = getattr(self._engine, "holds", None)
        if holds is not None:
            return bool(holds(name))
        return name in self._answered or self.is_loaded(name)

    def note_answered(self, name: str) -> None:
        """It gave a token: it is in memory, although the engine hasn't been asked since."""
        self._answered.add(name)
        self._unloadable.note_answered(name)

    def is_serving(self, name: str) -> bool:
        """Whether a session of `name` (the engine's name) runs."""
        return name in self._serving

    def note_unloadable(self, name: str, error: ModelError) -> None:
        """Remember that serving `name` failed for the model's own sake (too little memory, gone)."""
        self._unloadable.note(name, error)
        self._explain()

    def _take_loaded(self, loaded: tuple[LoadedModel, ...]) -> None:
        self.loaded = loaded
        self._answered.clear()
        misplaced = self._vram_plan.problem(loaded, self._card_mb())
        self.has_misplaced = bool(misplaced)
        for name, why in misplaced.items():
            hint = "Close what uses the graphics card, or restart the engine; then try again: titan retry"
            self._unloadable.note(name, ModelError(why, hint=hint))

    @property
    def chosen_quants(self) -> tuple[ChosenQuant, ...]:
        """What is served under offered names that several files would do for."""
        offered = self.offered  # brings the choices up to date
        return tuple(choice for name, choice in self._chosen.items() if name in offered)

    async def _check_room(self, name: str) -> None:
        """Refuse a load that would take what is the owner's, before it starts; the embedded engine does it by itself,
        with fewer sessions first. Raises NotEnoughMemory, EngineError."""
        if self._engine.name == "embedded" or self.is_serving(name) or self.is_warm(name):
            return
        room = self._room()
        model = next((model for model in self.models if model.name == name), None)
        if room is None or model is None:
            return
        try:
            refuse_what_breaks_the_reserve(model, room)
        except NotEnoughMemory:
            self._take_loaded(await self._engine.loaded_models())  # what it holds may be counted as others'
            if not self._is_in_memory(name):
                raise
            return
        use_context = getattr(self._engine, "use_context", None)
        if use_context is not None and not self._loading[name]:
            less = less_that_fits(model, room)
            if less is not None:
                log.info("model is loaded with less context", model=name, context_tokens=less.context_tokens)
            use_context(name, less and less.context_tokens)

    def _is_in_memory(self, name: str) -> bool:
        return self.is_serving(name) or self.is_loaded(name)

    def _has_smaller(self, wanted: str) -> bool:
        """Whether another quantisation can be tried now that one has failed."""
        supported = next((name for name in (*self.supported, *self.trials) if same_model(name, wanted)), "")
        return bool(supported) and self._servable(supported) is not None

    def _choose(self, supported_name: str, local: str) -> str | None:
        """The quantisation that is served under a name for which the engine has no file."""
        before = self._chosen.pop(supported_name, None)
        if before is not None and self._is_on_its_way(before.model):
            self._chosen[supported_name] = before
            return before.model
        choice = choose_quant(local, self.models, loaded=self.loaded, unloadable=self._unloadable, room=self._room())
        if choice is None:
            return None
        self._chosen[supported_name] = choice = replace(choice, offered=supported_name)
        if before is None or before.model != choice.model:
            log.info("quantisation chosen", offered=choice.offered, model=choice.model, because=choice.reason)
        return choice.model

    def _is_on_its_way(self, name: str) -> bool:
        """Whether a model is being loaded or was, and isn't listed yet: what it takes must not seem another's."""
        is_here = any(model.name == name for model in self.models) and name not in self._unloadable
        return is_here and (self.is_serving(name) or self._loading[name] > 0 or self.is_warm(name))

    @property
    def has_better(self) -> bool:
        """Whether a model is in memory in a smaller quantisation, or with less context, than could be now, and nobody
        is served. The embedded engine looks after its context itself.
        """
        if self._serving.total():
            return False
        room = self._room()
        return has_better_quant(
            self.chosen_quants,
            self.loaded,
            self.models,
            local=lambda offered: local_name(offered, self.names),
            unloadable=self._unloadable.lately,
            room=room,
        ) or (hasattr(self._engine, "use_context") and has_more_context(self.loaded, self.models, room))

    @property
    def loading(self) -> tuple[str, ...]:
        """The engine's names of what is being loaded now; a session that loads its model isn't counted."""
        return tuple(name for name, count in self._loading.items() if count)

    def offered_as(self, name: str) -> str:
        """The owner's name under which a model (the engine's name) is served; itself where it is under none."""
        for supported in self.supported:
            local = local_name(supported, self.names)
            if same_model(local, name) or any(model.name == name for model in quants_of(local, self.models)):
                return supported
        return name

    def model_for(self, wanted: str) -> EngineModel | None:
        """The engine's model that would be served under a name, None where it has none."""
        found = self._find(wanted)
        return next((model for model in self.models if model.name == found), None)

    def _find(self, supported_name: str) -> str | None:
        """The engine's model of this name: by the owner's table, by its own name, or a quantisation of it."""
        local = local_name(supported_name, self.names)
        found = find_model(local, tuple(model.name for model in self.models))
        if found is None:
            return self._choose(supported_name, local)
        if local != supported_name:
            self._chosen[supported_name] = ChosenQuant(offered=supported_name, model=found, reason=_BY_TABLE)
        else:
            self._chosen.pop(supported_name, None)
        return found

    def _servable(self, supported_name: str) -> str | None:
        found = self._find(supported_name)
        if found is None or found in self._unloadable:
            return None
        model = next(model for model in self.models if model.name == found)
        return None if model.is_selftest and not self.allow_selftest else found

    def _is_unloadable_quant(self, supported_name: str) -> bool:
        """Whether files of it are here, of which none can be loaded now."""
        return bool(quants_of(local_name(supported_name, self.names), self.models))

    def _is_for_tests(self, supported_name: str) -> bool:
        local = local_name(supported_name, self.names)
        found = find_model(local, tuple(model.name for model in self.models))
        return any(model.name == found and model.is_selftest for model in self.models)

    def _explain(self) -> None:
        self.problem, self.problem_hint = "", ""
        if self.offered:
            return
        if (first := self._unloadable.first) is not None:
            self.problem, self.problem_hint = why_unloadable(*first)
        else:
            for_tests = [name for name in self.supported if self._is_for_tests(name)]
            self.problem, self.problem_hint = why_none_is_here(
                self._engine.name, self.supported, for_tests, self.models
            )


class InUse:
    """A session's use of a model, within `async with`, which gives the engine. A class for its cost, like `Slot`."""

    __slots__ = ("_models", "_name")

    def __init__(self, models: ModelManager, name: str) -> None:
        self._models = models
        self._name = name

    async def __aenter__(self) -> Engine:
        return await self._models._begin_session(self._name)

    async def __aexit__(self, *_: object) -> None:
        self._models._end_session(self._name)


def _ollama(host: str) -> Engine:
    from core.engines.ollama import OllamaEngine

    return OllamaEngine(host)
