"""An Ollama that the owner uses too: what we loaded is ours to unload, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from core.engines import Prompt
from core.engines.ollama import OllamaEngine
from core.engines.ollama_ownership import OwnLoads
from tests.core.engine_fixtures import collect
from tests.fakes.fake_ollama import FakeOllama, tag


@pytest.fixture
async def fake() -> AsyncIterator[FakeOllama]:
    async with FakeOllama() as server:
        server.tags.append(tag("other:latest"))
        yield server


@pytest.fixture
async def engine(fake: FakeOllama) -> AsyncIterator[OllamaEngine]:
    engine = OllamaEngine(fake.url, context_tokens=1024)
    yield engine
    await engine.close()


def ask(model: str = "tiny") -> Prompt:
    return Prompt(model=model, text="hello", max_tokens=4)


async def test_model_that_we_loaded_is_ours_and_goes_when_told(fake: FakeOllama, engine: OllamaEngine) -> None:
    await collect(engine, ask())
    assert [model.is_owners for model in await engine.loaded_models()] == [False]
    await engine.unload("tiny:latest")
    assert fake.loaded == {}


async def test_model_that_was_there_before_is_never_unloaded_nor_kept_longer(
    fake: FakeOllama, engine: OllamaEngine
) -> None:
    fake.owner_uses("tiny:latest")
    await collect(engine, ask())
    loaded = await engine.load("tiny")
    assert loaded.is_owners
    await engine.unload("tiny")
    await engine.close()
    assert "tiny:latest" in fake.loaded
    assert fake.bodies("/api/generate") == []
    assert ["keep_alive" in body for body in fake.bodies("/api/chat")] == [False]


async def test_another_name_of_the_owners_model_is_the_owners_too(fake: FakeOllama, engine: OllamaEngine) -> None:
    """llama3.1:8b and llama3.1:latest are one model: Ollama lists it under the name that it was loaded by."""
    fake.tags.append(tag("tiny:alias", digest=fake.tags[0]["digest"]))
    await engine.list_models()
    fake.owner_uses("tiny:latest")
    await collect(engine, ask("tiny:alias"))
    await engine.unload("tiny:alias")  # at once, before anybody has looked again
    await engine.close()
    assert "tiny:latest" in fake.loaded
    assert ["keep_alive" in body for body in fake.bodies("/api/chat")] == [False]


async def test_owners_model_keeps_its_context(fake: FakeOllama, engine: OllamaEngine) -> None:
    """Another num_ctx would make Ollama load it anew, under our name and with our keep_alive."""
    fake.owner_uses("tiny:latest", context=777)
    await collect(engine, ask())
    assert fake.bodies("/api/chat")[0]["options"]["num_ctx"] == 777
    assert fake.loaded == {"tiny:latest": 777}


async def test_model_that_left_and_was_loaded_again_by_the_owner_is_the_owners(
    fake: FakeOllama, engine: OllamaEngine
) -> None:
    await collect(engine, ask())
    fake.loaded.clear()  # its keep_alive is over
    assert await engine.loaded_models() == ()
    fake.owner_uses("tiny:latest")
    await engine.unload("tiny")
    assert [model.is_owners for model in await engine.loaded_models()] == [True]


async def test_closing_gives_back_what_is_ours_and_leaves_the_rest(fake: FakeOllama, engine: OllamaEngine) -> None:
    fake.owner_uses("other:latest")
    await engine.load("tiny")
    await engine.close()
    assert list(fake.loaded) == ["other:latest"]


@pytest.mark.parametrize(
    ("host", "is_here"),
    [("", True), ("http://localhost:11434", True), ("127.0.0.1", True), ("[::1]:1", True), ("http://10.1.2.3", False)],
)
def test_memory_of_an_ollama_elsewhere_is_not_ours_to_measure(host: str, is_here: bool) -> None:
    assert OllamaEngine(host).is_on_this_machine is is_here


async def test_use_by_the_owner_is_left_to_the_owner(fake: FakeOllama, engine: OllamaEngine) -> None:
    await engine.load("tiny")
    engine.leave_to_owner("tiny:latest")
    await engine.unload("tiny")
    assert "tiny:latest" in fake.loaded


async def test_look_says_what_is_there_and_how_much_was_our_work(fake: FakeOllama, engine: OllamaEngine) -> None:
    before = await engine.look_at_use()
    assert (before.entries, before.requests, before.is_busy) == ((), 0, False)
    await collect(engine, ask())
    look = await engine.look_at_use()
    assert (look.requests, look.is_busy) == (2, False)
    assert [(entry.name, entry.is_ours) for entry in look.entries] == [("tiny:latest", True)]
    fake.owner_uses("tiny:latest")
    assert (await engine.look_at_use()).entries[0].expires_at != look.entries[0].expires_at


def test_list_from_before_our_request_ended_forgets_nothing() -> None:
    own = OwnLoads()
    with own.using("tiny"):
        asked_at = own.requests
        own.claim("tiny")
    own.saw([], asked_at=asked_at)
    assert own.is_ours("tiny:latest")
    own.saw([], asked_at=own.requests)
    assert not own.is_ours("tiny")


def test_model_that_a_request_is_just_loading_stays_ours() -> None:
    own = OwnLoads()
    with own.using("tiny"):
        own.claim("Tiny:latest")
        own.saw([], asked_at=own.requests)
        assert own.is_busy
        assert own.is_ours("tiny")
