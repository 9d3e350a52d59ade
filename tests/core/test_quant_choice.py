"""Which quantisation is served under a model's name, and that a failure is a step down and not an end."""

from __future__ import annotations

import asyncio

import pytest

from core.engines import Engine, EngineModel, LoadedModel
from core.errors import ModelError, ModelNotOffered, NotEnoughMemory
from core.fit import Room
from core.memory_need import embedded_plan, ollama_plan
from core.model_manager import ModelManager
from core.quant_choice import better_quant, choose_quant, quants_of, split_quant
from core.quantization import size_at
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.llama_8b import LLAMA_8B, PARAMETERS_8B

BASE = "Llama-3.1-8B-Instruct"
PLAN = embedded_plan(sessions=4, context_tokens=4096, batch_tokens=32)


def quant(name: str, base: str = BASE) -> EngineModel:
    return EngineModel(
        name=f"{base}-{name}",
        quant=name,
        size_bytes=size_at(PARAMETERS_8B, name),
        shape=LLAMA_8B,
        context_tokens=131072,
    )


QUANTS = (quant("Q8_0"), quant("Q4_K_M"), quant("Q2_K"))


def room(budget_mb: int) -> Room:
    return Room(free_mb=budget_mb, budget_mb=budget_mb, plan=PLAN, can_step_down=True)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("Llama-3.1-8B-Instruct-Q4_K_M", ("llama-3.1-8b-instruct", "q4_k_m")),
        ("model.IQ2_XXS", ("model", "iq2_xxs")),
        ("model_f16", ("model", "f16")),
        ("llama3.1:8b-instruct-q4_K_M", ("llama3.1:8b-instruct", "q4_k_m")),
        ("hf.co/bartowski/Some-GGUF:Q4_K_M", ("hf.co/bartowski/some-gguf", "q4_k_m")),
        ("tiny:q4_0", ("", "")),  # in Ollama `tiny` is `tiny:latest`, another model
        ("llama3.1:8b", ("", "")),
        ("qwen2.5-coder", ("", "")),
        ("q4_0", ("", "")),
    ],
)
def test_names_are_split_into_model_and_quantisation(name: str, split: tuple[str, str]) -> None:
    assert split_quant(name) == split


def test_other_models_and_the_self_test_are_no_quantisations() -> None:
    noise = EngineModel(name=f"{BASE}-Q5_K_M", is_selftest=True)
    assert quants_of(BASE, (*QUANTS, quant("Q4_K_M", "Llama-3.1-70B"), noise)) == QUANTS
    assert quants_of("", (EngineModel(name="odd"),)) == ()


@pytest.mark.parametrize(
    ("budget_mb", "model", "reason"),
    [
        (12_000, "Q8_0", "It is the best that is here."),
        (8_000, "Q4_K_M", "Q8_0 needs 8,762 MB of 8,000 MB."),
        (2_000, "Q2_K", "None fits what you lend of the memory; this is the smallest."),
    ],
)
def test_best_that_fits_what_the_owner_lends_is_chosen(budget_mb: int, model: str, reason: str) -> None:
    choice = choose_quant(BASE, QUANTS, loaded=(), unloadable=(), room=room(budget_mb))
    assert choice is not None
    assert (choice.model, choice.reason) == (f"{BASE}-{model}", reason)


def now(free_mb: int, *, can_step_down: bool = True) -> Room:
    """12 GB are lent, and other programs hold some of it."""
    return Room(free_mb=free_mb, budget_mb=12_000, plan=PLAN, can_step_down=can_step_down)


@pytest.mark.parametrize(
    ("free_mb", "can_step_down", "model", "reason"),
    [
        (12_000, True, "Q8_0", "It is the best that is here."),
        (8_000, True, "Q4_K_M", "Q8_0 needs 9,277 MB of 8,000 MB. Other programs hold the rest now."),
        (4_800, True, "Q2_K", "Other programs hold the rest now."),
        (3_000, True, "Q8_0", "It is the best that is here."),  # nothing loads now: said by the verdict
        (4_000, False, "Q8_0", "It is the best that is here."),  # an engine that takes the whole plan or nothing
    ],
)
def test_what_other_programs_hold_now_means_a_smaller_quantisation_not_a_refusal(
    free_mb: int, can_step_down: bool, model: str, reason: str
) -> None:
    choice = choose_quant(BASE, QUANTS, loaded=(), unloadable=(), room=now(free_mb, can_step_down=can_step_down))
    assert choice is not None
    assert choice.model == f"{BASE}-{model}"
    assert choice.reason.endswith(reason)


def test_better_quantisation_is_told_only_with_a_tenth_to_spare() -> None:
    def better(in_memory: str, free_mb: int, *, failed: tuple[str, ...] = ()) -> str | None:
        name = better_quant(
            BASE,
            f"{BASE}-{in_memory}",
            QUANTS,
            unloadable={f"{BASE}-{quant}" for quant in failed},
            room=now(free_mb),
        )
        return name and name.removeprefix(f"{BASE}-")

    assert better("Q2_K", 12_000) == "Q8_0"
    assert better("Q2_K", 9_300) == "Q4_K_M"  # Q8_0 would just fit
    assert better("Q4_K_M", 9_300) is None
    assert better("Q8_0", 12_000) is None
    assert better("Q2_K", 12_000, failed=("Q8_0",)) == "Q4_K_M"
    assert better_quant(BASE, f"{BASE}-Q2_K", QUANTS, unloadable=(), room=Room()) is None


def test_what_is_in_memory_stays_and_what_failed_is_passed_over() -> None:
    in_memory = LoadedModel(name=f"{BASE}-Q2_K")
    choice = choose_quant(BASE, QUANTS, loaded=(in_memory,), unloadable=(), room=room(12_000))
    assert choice is not None
    assert choice.model == f"{BASE}-Q2_K"
    choice = choose_quant(BASE, QUANTS, loaded=(), unloadable={f"{BASE}-Q8_0"}, room=room(12_000))
    assert choice is not None
    assert choice.model == f"{BASE}-Q4_K_M"
    assert choose_quant(BASE, QUANTS, loaded=(), unloadable={model.name for model in QUANTS}, room=None) is None


def test_without_a_measured_memory_the_first_is_taken() -> None:
    choice = choose_quant(BASE, QUANTS, loaded=(), unloadable=(), room=Room())
    assert choice is not None
    assert choice.model == f"{BASE}-Q8_0"


class NarrowEngine(FakeEngine):
    """Has no memory for files above a size, whatever it says beforehand."""

    def __init__(self, models: tuple[EngineModel, ...], most_bytes: int) -> None:
        super().__init__()
        self.models = list(models)
        self.most_bytes = most_bytes
        self.load_gate: asyncio.Event | None = None
        self.tried: list[str] = []

    async def load(self, model: str) -> LoadedModel:
        self.tried.append(model.removeprefix(f"{BASE}-"))
        if self.load_gate is not None:
            await self.load_gate.wait()
        size = next(known.size_bytes or 0 for known in await self.list_models() if known.name == model)
        if size > self.most_bytes:
            raise NotEnoughMemory(f"no memory for {model}", hint="Offer a smaller one.")
        return await super().load(model)


async def manager(engine: Engine, budget_mb: int = 12_000, supported: tuple[str, ...] = (BASE,)) -> ModelManager:
    made = ModelManager(engine=engine, supported=supported, room=lambda: room(budget_mb))
    await made.refresh()
    return made


async def test_load_that_runs_out_of_memory_goes_on_with_the_next_smaller_quantisation() -> None:
    engine = NarrowEngine(QUANTS, most_bytes=4_000_000_000)
    models = await manager(engine)
    assert (await models.load(BASE)).name == f"{BASE}-Q2_K"
    assert engine.tried == ["Q8_0", "Q4_K_M", "Q2_K"]
    assert models.resolve(BASE) == f"{BASE}-Q2_K"
    assert [choice.model for choice in models.chosen_quants] == [f"{BASE}-Q2_K"]


async def test_owner_loads_the_file_that_is_served_by_its_own_name() -> None:
    models = await manager(NarrowEngine(QUANTS, most_bytes=1 << 60))
    assert (await models.load(f"{BASE}-Q8_0")).name == f"{BASE}-Q8_0"
    with pytest.raises(ModelNotOffered):
        models.resolve(f"{BASE}-Q8_0")  # a client knows only what is offered


async def test_when_no_quantisation_loads_the_last_refusal_is_told() -> None:
    engine = NarrowEngine(QUANTS, most_bytes=1)
    models = await manager(engine)
    with pytest.raises(NotEnoughMemory, match="Q2_K"):
        await models.load(BASE)
    assert models.offered == ()
    with pytest.raises(ModelNotOffered):
        models.resolve(BASE)


async def test_a_named_file_is_served_as_it_is_and_has_no_choice() -> None:
    engine = NarrowEngine(QUANTS, most_bytes=1)
    models = await manager(engine, supported=(f"{BASE}-Q8_0",))
    with pytest.raises(ModelError, match="Q8_0"):
        await models.load(f"{BASE}-Q8_0")
    assert engine.tried == ["Q8_0"]
    assert models.chosen_quants == ()


async def test_load_beyond_what_is_lent_is_refused_before_the_engine_hears_of_it() -> None:
    engine = NarrowEngine((quant("Q8_0"),), most_bytes=1 << 60)
    models = ModelManager(
        engine=engine,
        supported=(f"{BASE}-Q8_0",),
        room=lambda: Room(free_mb=6000, budget_mb=6000, plan=ollama_plan(context_tokens=4096)),
    )
    await models.refresh()
    with pytest.raises(NotEnoughMemory, match=r"is too big\. Needs 9\.\d GB .* you lend 5\.9 GB"):
        await models.load(f"{BASE}-Q8_0")
    with pytest.raises(NotEnoughMemory):
        async with models.serving(f"{BASE}-Q8_0"):
            raise AssertionError("it must not be served")
    assert engine.tried == []


async def test_model_that_is_in_memory_already_is_served_whatever_the_room() -> None:
    """Its memory may still be counted as others': the list of what is loaded is half a minute old."""
    engine = NarrowEngine((quant("Q8_0"),), most_bytes=1 << 60)
    free_mb = [12_000]
    models = ModelManager(
        engine=engine,
        supported=(f"{BASE}-Q8_0",),
        room=lambda: Room(free_mb=free_mb[0], budget_mb=12_000, plan=ollama_plan(context_tokens=4096)),
    )
    await models.refresh()
    await engine.load(f"{BASE}-Q8_0")  # behind the manager's back, as a session does
    free_mb[0] = 1000
    async with models.serving(f"{BASE}-Q8_0") as served:
        assert served is engine


async def test_while_a_quantisation_loads_or_serves_its_own_memory_does_not_change_the_choice() -> None:
    """It isn't listed yet, so what it takes seems another program's: a second session went to another file."""
    engine = NarrowEngine(QUANTS, most_bytes=1 << 60)
    free_mb = [12_000]
    models = ModelManager(engine=engine, supported=(BASE,), room=lambda: now(free_mb[0]))
    await models.refresh()
    async with models.serving(models.resolve(BASE)):
        free_mb[0] = 5_000
        assert models.resolve(BASE) == f"{BASE}-Q8_0"
    assert models.resolve(BASE) == f"{BASE}-Q2_K"
    free_mb[0] = 12_000
    engine.load_gate = asyncio.Event()
    loading = asyncio.create_task(models.load(BASE))
    await asyncio.sleep(0)
    free_mb[0] = 5_000
    assert models.resolve(BASE) == f"{BASE}-Q8_0"
    engine.load_gate.set()
    await loading
    assert models.resolve(BASE) == f"{BASE}-Q8_0"


async def test_smaller_quantisation_in_memory_is_outgrown_once_nobody_is_served() -> None:
    engine = NarrowEngine(QUANTS, most_bytes=1 << 60)
    engine.name = "embedded"
    free_mb = [5_000]
    models = ModelManager(engine=engine, supported=(BASE,), room=lambda: now(free_mb[0]))
    await models.refresh()
    assert (await models.load(BASE)).name == f"{BASE}-Q2_K"
    assert not models.has_better
    free_mb[0] = 12_000
    assert models.has_better
    async with models.serving(f"{BASE}-Q2_K"):
        assert not models.has_better
    models.loaded = (LoadedModel(name=f"{BASE}-Q2_K", is_owners=True),)
    assert not models.has_better
    assert models.offered_as(f"{BASE}-Q2_K") == BASE
    assert models.offered_as("another") == "another"
