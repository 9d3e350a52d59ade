"""Which models are offered, under which names, and what keeps one from being offered."""

from __future__ import annotations

import pytest

from core.engines import EngineModel
from core.engines.embedded import EmbeddedEngine
from core.errors import AtCapacity, EngineUnreachable, ModelError, ModelNotOffered, NotEnoughMemory
from core.fit import Room
from core.model_manager import ModelManager
from core.unloadable import RETRY_UNLOADABLE_S, RETRY_WITH_ROOM_S
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.manual_clock import ManualClock


async def manager(*have: str, supported: tuple[str, ...] = ("tiny",), **more: object) -> ModelManager:
    made = ModelManager(engine=FakeEngine(models=have), supported=supported, **more)  # type: ignore[arg-type]
    await made.refresh()
    return made


def fake(models: ModelManager) -> FakeEngine:
    assert isinstance(models.engine, FakeEngine)
    return models.engine


def test_the_seeds_call_makes_one() -> None:
    models = ModelManager("http://localhost:11434")
    assert (models.engine.name, models.offered) == ("ollama", ())


@pytest.mark.parametrize(
    ("supported", "have", "is_offered"),
    [
        ("tiny", "tiny:latest", True),
        ("tiny:latest", "tiny", True),
        ("tiny:latest", "tiny:latest", True),
        ("tiny", "tiny:q4", False),
        ("tiny:q4", "tiny:latest", False),
        ("Tiny", "tiny:latest", True),
    ],
)
async def test_latest_is_the_default_tag(supported: str, have: str, is_offered: bool) -> None:
    models = await manager(have, supported=(supported,))
    assert models.offered == ((supported,) if is_offered else ())
    if is_offered:
        assert models.resolve("tiny") == have


async def test_model_that_the_engine_has_and_the_owner_does_not_offer_is_refused() -> None:
    models = await manager("tiny", "private")
    with pytest.raises(ModelNotOffered):
        models.resolve("private")
    with pytest.raises(ModelNotOffered):
        models.resolve("")


async def test_selftest_model_that_may_not_be_offered_says_so_and_what_to_do() -> None:
    """Not that it isn't there: `titan models` shows it."""
    models = await manager(supported=("selftest",))
    fake(models).name = "embedded"
    fake(models).models = [EngineModel(name="selftest", is_selftest=True)]
    await models.refresh()
    assert models.problem == ("selftest is only for tests on this machine, never offered to a coordinator elsewhere")
    assert models.problem_hint.startswith("Put a GGUF file into the models folder")
    models.supported = ("other", "selftest")
    await models.refresh()
    assert models.problem.startswith("the engine embedded has none of: other; selftest is only for tests")


@pytest.mark.parametrize("allow", [False, True])
async def test_selftest_model_is_offered_only_where_allowed(allow: bool) -> None:
    models = await manager(supported=("selftest",), allow_selftest=allow)
    fake(models).models = [EngineModel(name="selftest", is_selftest=True)]
    await models.refresh()
    assert models.offered == (("selftest",) if allow else ())


async def test_model_that_failed_to_load_is_offered_again_after_a_while() -> None:
    clock = ManualClock()
    models = await manager("tiny", monotonic=clock.monotonic)
    fake(models).load_fault = NotEnoughMemory("needs 9 GB")
    with pytest.raises(NotEnoughMemory):
        await models.load("tiny")
    assert models.offered == ()
    assert "needs 9 GB" in models.problem
    assert await models.refresh()
    assert not await models.refresh()
    await clock.advance(RETRY_UNLOADABLE_S + 1)
    assert await models.refresh()
    assert "tiny" in models.offered
    assert not models.problem


class Short:
    """A model of 1 GB that the engine finds no memory for, and the memory as it is measured."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.room = Room(free_mb=500, budget_mb=8000)
        self.models = ModelManager(
            engine=FakeEngine(models=()),
            supported=("tiny",),
            monotonic=self.clock.monotonic,
            room=lambda: self.room,
        )
        fake(self.models).models = [EngineModel(name="tiny", size_bytes=1 << 30)]
        fake(self.models).load_fault = NotEnoughMemory("needs 1 GB.", hint="Close something.")

    async def fail(self) -> None:
        with pytest.raises(NotEnoughMemory):
            await self.models.load("tiny")
        await self.models.refresh()
        assert self.models.offered == ()

    async def is_offered_after(self, seconds: float) -> bool:
        await self.clock.advance(seconds)
        await self.models.refresh()
        return self.models.offered == ("tiny",)


async def test_model_that_found_too_little_memory_is_tried_again_as_soon_as_there_is_room() -> None:
    short = Short()
    await short.models.refresh()
    await short.fail()
    assert short.models.problem == "tiny cannot be served: needs 1 GB; it is tried again as soon as there is room"
    assert short.models.problem_hint == "Close something."
    assert not await short.is_offered_after(RETRY_WITH_ROOM_S + 60)  # no room yet
    short.room = Room(free_mb=4000, budget_mb=1000)
    assert not await short.is_offered_after(5)  # the owner lends too little
    short.room = Room(free_mb=4000, budget_mb=8000)
    assert await short.is_offered_after(5)
    assert not short.models.problem


async def test_model_that_goes_on_finding_too_little_memory_is_tried_less_and_less_often() -> None:
    short = Short()
    await short.models.refresh()
    short.room = Room(free_mb=4000, budget_mb=8000)  # so it seems
    for wait_s in (20, 40, 80, 160, 320, 600, 600):
        await short.fail()
        short.models.note_unloadable("tiny", NotEnoughMemory("needs 1 GB."))  # a session told of the same failure
        assert not await short.is_offered_after(wait_s - 1)
        assert await short.is_offered_after(2)
    fake(short.models).load_fault = None
    await short.models.load("tiny")
    short.models.note_answered("tiny")
    await short.models.unload_all()
    fake(short.models).load_fault = NotEnoughMemory("needs 1 GB.")
    await short.fail()
    assert await short.is_offered_after(RETRY_WITH_ROOM_S)


async def test_model_that_is_broken_waits_its_time_however_much_room_there_is() -> None:
    short = Short()
    await short.models.refresh()
    short.room = Room(free_mb=4000, budget_mb=8000)
    short.models.note_unloadable("tiny", ModelError("no GGUF file"))
    assert short.models.problem == "tiny cannot be served: no GGUF file"
    assert short.models.problem_hint.startswith("It is tried again in 10 minutes")
    assert not await short.is_offered_after(RETRY_UNLOADABLE_S - 1)
    assert await short.is_offered_after(2)


async def test_replaced_file_deserves_a_new_try() -> None:
    models = await manager("tiny")
    models.note_unloadable("tiny", NotEnoughMemory("too large"))
    fake(models).models = [EngineModel(name="tiny", size_bytes=5)]
    await models.refresh()
    assert models.offered == ("tiny",)


async def test_engine_trouble_says_nothing_about_the_model() -> None:
    models = await manager("tiny")
    fake(models).load_fault = EngineUnreachable("away")
    with pytest.raises(EngineUnreachable):
        await models.load("tiny")
    assert models.offered == ("tiny",)


async def test_load_and_unload_are_seen() -> None:
    models = await manager("tiny", "other", supported=("tiny", "other"))
    assert (await models.load("tiny:latest")).name == "tiny"
    await models.load("other")
    assert [model.name for model in models.loaded] == ["tiny", "other"]
    await models.unload_all()
    assert models.loaded == ()


async def test_one_model_engine_keeps_its_model_while_it_serves() -> None:
    models = await manager("tiny", "other", supported=("tiny", "other"))
    fake(models).serves_one_model = True
    async with models.serving("tiny"), models.serving("tiny"):
        with pytest.raises(AtCapacity):
            async with models.serving("other"):
                pass
        with pytest.raises(AtCapacity):
            await models.load("other")
    async with models.serving("other"):
        pass


def test_embedded_engine_says_that_it_holds_one_model() -> None:
    assert EmbeddedEngine(None).serves_one_model


async def test_engine_is_not_changed_under_a_session() -> None:
    models = await manager("tiny")
    async with models.serving("tiny"):
        with pytest.raises(RuntimeError):
            models.use_engine(FakeEngine())
    models.use_engine(FakeEngine(models=()))
    assert models.offered == ()
    assert await models.refresh()  # the coordinator was told of tiny


async def test_nothing_named_to_be_offered_says_so() -> None:
    models = await manager("tiny", supported=())
    assert "no model is named" in models.problem
    assert "supported_models" in models.problem_hint
