"""Models that are wanted and not here: which, what to download for them, and how big their names say they are."""

from __future__ import annotations

import pytest

from core.engines import EngineModel, MissingModel
from core.errors import ModelError
from core.missing_models import is_on_hub, missing_models, size_by_name
from core.model_manager import ModelManager
from tests.fakes.fake_engine import FakeEngine

LLAMA = "llama3.1:8b-instruct-q4_k_m"


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [
        (LLAMA, 4.9),
        ("hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q8_0", 3.2),
        ("Qwen2.5-1.5B-Instruct-Q4_K_M", 0.9),
        ("Qwen3-30B-A3B-Q4_K_M", 18.4),
    ],
)
def test_a_name_may_tell_about_how_big_it_is(name: str, gigabytes: float) -> None:
    assert round((size_by_name(name) or 0) / 1e9, 1) == gigabytes


@pytest.mark.parametrize("name", ["llama3.2:3b", "llama3.1", "mixtral:8x7b-instruct-q4_0", "x:0b-q4_0", ""])
def test_another_name_tells_nothing(name: str) -> None:
    assert size_by_name(name) is None


def test_what_to_download_follows_the_engine() -> None:
    hub = "maker/Small-GGUF:Q8_0"
    table = {"mine:latest": "/x/y.gguf"}
    by_engine = {
        engine: [model.pull_name for model in missing_models([LLAMA, hub, "mine"], table, engine)]
        for engine in ("ollama", "embedded", "openai")
    }
    assert by_engine == {"ollama": [LLAMA, hub, ""], "embedded": ["", hub, ""], "openai": ["", "", ""]}


def test_a_file_of_the_owner_s_table_that_is_gone_is_named() -> None:
    (found,) = missing_models(["mine"], {"mine:latest": "/x/y-q8_0.gguf"}, "embedded")
    assert (found.gone_file, found.pull_name) == ("/x/y-q8_0.gguf", "")


def test_the_table_of_names_says_what_is_missing_in_truth() -> None:
    found = missing_models(["chat"], {"chat:latest": "llama3.2:3b"}, "ollama")
    assert found == (MissingModel(name="chat", pull_name="llama3.2:3b"),)
    (deleted,) = missing_models([LLAMA], {LLAMA: "My-Own"}, "embedded")
    assert deleted.size_bytes == size_by_name(LLAMA)  # the one name tells what the other doesn't


def test_a_hub_s_name_is_known_by_its_host() -> None:
    assert [is_on_hub(name) for name in ("hf.co/a/b:Q4_0", "HTTPS://huggingface.co/a/b", "a/b:Q4_0")] == [
        True,
        True,
        False,
    ]


def missing(models: ModelManager) -> list[str]:
    return [model.name for model in models.missing]


async def test_nothing_is_missing_before_the_engine_has_said_what_it_has() -> None:
    engine = FakeEngine(name="ollama", models=("tiny:latest",))
    models = ModelManager(engine=engine, supported=("tiny", LLAMA))
    assert missing(models) == []
    await models.refresh()
    assert missing(models) == [LLAMA]
    models.use_engine(FakeEngine(name="ollama"))
    assert missing(models) == []


async def test_what_is_here_and_cannot_be_loaded_is_not_missing() -> None:
    engine = FakeEngine(name="ollama", models=("tiny:latest",))
    engine.models.append(EngineModel(name="Small-Q4_K_M", size_bytes=1000, quant="Q4_K_M"))
    models = ModelManager(engine=engine, supported=("tiny", "Small"))
    await models.refresh()
    for name in ("tiny:latest", "Small-Q4_K_M"):
        models.note_unloadable(name, ModelError("too little memory"))
    assert models.offered == ()
    assert missing(models) == []
