"""Which quantisation is served under a model's name, and that a failure is a step down and not an end."""

from __future__ import annotations

import pytest

from core.engines import Engine, EngineModel, LoadedModel
from core.errors import ModelError, ModelNotOffered, NotEnoughMemory
from core.fit import Room
from core.memory_need import embedded_plan, ollama_plan
from core.model_manager import ModelManager
from core.quant_choice import choose_quant, quants_of, split_quant
from core.quantization import size_at
from tests.core.test_memory_need import LLAMA_8B, PARAMETERS_8B
from tests.fakes.fake_engine import FakeEngine

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
        self.tried: list[str] = []

    async def load(self, model: str) -> LoadedModel:
        self.tried.append(model.removeprefix(f"{BASE}-"))
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
