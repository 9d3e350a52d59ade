"""Less of a model on the card than planned is noticed, and never where there is no card to be on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engines import LoadedModel
from core.errors import ModelError
from core.model_manager import ModelManager
from core.vram_plan import VramPlan
from tests.fakes.fake_engine import FakeEngine

CARD_MB = 24_000


def model(vram_mb: int | None, *, total_mb: int = 10_000, name: str = "m", is_owners: bool = False) -> LoadedModel:
    return LoadedModel(name=name, total_mb=total_mb, vram_mb=vram_mb, is_owners=is_owners)


def test_model_that_was_on_the_card_and_came_back_elsewhere_is_noticed() -> None:
    plan = VramPlan()
    assert plan.problem([model(10_000)], CARD_MB) == {}
    assert plan.problem([], CARD_MB) == {}
    assert plan.problem([model(0)], CARD_MB) == {"m": "0% of it is on the graphics card, where all of it was to be"}
    assert plan.problem([model(9_100)], CARD_MB) == {}


def test_another_model_that_would_fit_is_expected_there_once_the_engine_has_used_the_card() -> None:
    plan = VramPlan()
    assert plan.problem([model(3_000, name="b")], CARD_MB) == {}  # nothing is known of this engine yet
    assert "c" in plan.problem([model(3_000, name="c")], CARD_MB)


def test_model_that_never_fitted_is_planned_to_be_there_in_part() -> None:
    plan = VramPlan()
    big = 40_000
    assert plan.problem([model(20_000, total_mb=big)], CARD_MB) == {}
    assert plan.problem([model(19_000, total_mb=big)], CARD_MB) == {}
    found = plan.problem([model(8_000, total_mb=big)], CARD_MB)
    assert found == {"m": "20% of it is on the graphics card, where 50% was to be"}


@pytest.mark.parametrize("card_mb", [None, 0, 512])
def test_no_such_rule_where_the_machine_has_no_card(card_mb: int | None) -> None:
    plan = VramPlan()
    plan.problem([model(10_000)], CARD_MB)
    assert plan.problem([model(0)], card_mb) == {}


@given(st.lists(st.integers(1, 50_000), max_size=6))
def test_no_such_rule_where_the_engine_never_used_the_card(sizes: list[int]) -> None:
    plan = VramPlan()
    for size in sizes:
        assert plan.problem([model(0, total_mb=size)], CARD_MB) == {}
        assert plan.problem([model(None, total_mb=size)], CARD_MB) == {}


def test_owners_own_model_is_the_owners_to_place() -> None:
    plan = VramPlan()
    plan.problem([model(10_000)], CARD_MB)
    assert plan.problem([model(0, is_owners=True)], CARD_MB) == {}


# Through the models


def on_card(vram_mb: int) -> tuple[ModelManager, FakeEngine]:
    engine = FakeEngine(name="ollama", models=("tiny", "other"))
    engine.loaded = [model(vram_mb, name="tiny")]
    return ModelManager(engine=engine, supported=("tiny", "other"), card_mb=lambda: CARD_MB), engine


async def test_model_off_the_card_is_not_offered_until_the_owner_tries_again() -> None:
    models, engine = on_card(10_000)
    await models.refresh()
    assert models.offered == ("tiny", "other")
    engine.loaded = [model(100, name="tiny")]
    assert await models.refresh()
    assert list(models.offered) == ["other"]
    assert models.has_misplaced
    models.supported = ("tiny",)
    await models.refresh()
    assert models.problem == "tiny cannot be served: 1% of it is on the graphics card, where all of it was to be"
    assert models.problem_hint.endswith("titan retry")
    engine.loaded = []
    models.forget_failures()
    assert list(models.offered) == ["tiny"]
    assert models.problem == ""


async def test_load_that_ends_beside_the_card_is_an_error() -> None:
    models, engine = on_card(10_000)
    await models.refresh()

    async def load_beside(model: str) -> LoadedModel:
        engine.loaded = [LoadedModel(name=model, total_mb=10_000, vram_mb=0)]
        return engine.loaded[0]

    engine.load = load_beside  # type: ignore[method-assign]
    with pytest.raises(ModelError, match="0% of it is on the graphics card"):
        await models.load("tiny")
    assert list(models.offered) == ["other"]
