"""What came down for want of memory: less context in a real Ollama's words, and up again once there is room."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import pytest

from core.engines import LoadedModel, Prompt
from core.engines.ollama import OllamaEngine
from core.errors import NotEnoughMemory
from core.fit import Room
from core.memory_need import ollama_plan
from core.model_manager import ModelManager
from tests.fakes.fake_ollama import FakeOllama, tag

CONTEXT = 16_384  # 2 GB of keys and values for Llama 3.1 8B
LLAMA = {
    "general.architecture": "llama",
    "llama.context_length": 131_072,
    "llama.block_count": 32,
    "llama.embedding_length": 4096,
    "llama.feed_forward_length": 14_336,
    "llama.attention.head_count": 32,
    "llama.attention.head_count_kv": 8,
    "llama.vocab_size": 128_256,
}


class Short:
    """An agent's models in an Ollama, and the memory beside it."""

    def __init__(self, fake: FakeOllama) -> None:
        self.fake = fake
        self.engine = OllamaEngine(fake.url, context_tokens=CONTEXT)
        self.room = Room(free_mb=12_000, budget_mb=12_000, plan=ollama_plan(context_tokens=CONTEXT), can_step_down=True)
        self.models = ModelManager(engine=self.engine, supported=("llama3.1:8b",), room=lambda: self.room)

    def free(self, free_mb: int) -> None:
        self.room = replace(self.room, free_mb=free_mb)

    async def session(self) -> None:
        name = self.models.resolve("llama3.1:8b")
        prompt = Prompt(model=name, text="hello", max_tokens=4)
        async with self.models.serving(name) as engine, aclosing(engine.stream(prompt)) as pieces:
            async for piece in pieces:
                if piece.tokens:
                    self.models.note_answered(name)

    @property
    def asked(self) -> list[int]:
        """The contexts that requests carried, oldest first."""
        bodies = [*self.fake.bodies("/api/generate"), *self.fake.bodies("/api/chat")]
        return [body["options"]["num_ctx"] for body in bodies if "options" in body]


@pytest.fixture
async def short() -> AsyncIterator[Short]:
    async with FakeOllama() as fake:
        fake.tags = [tag("llama3.1:8b", context=131_072, size=4_920_734_272)]
        fake.model_info = LLAMA
        fake.trained_context = 131_072
        made = Short(fake)
        await made.models.refresh()
        yield made
        await made.engine.close()


async def test_short_memory_means_less_context_in_ollama_not_a_refusal(short: Short) -> None:
    short.free(6_500)
    loaded = await short.models.load("llama3.1:8b")
    assert loaded.context_tokens == 4096
    assert loaded.note == "4,096 tokens of context instead of 16,384: memory was short when it was loaded."
    short.free(12_000)
    await short.session()  # the model is in memory: another context would make Ollama load it again
    assert short.asked == [4096, 4096]


async def test_session_that_loads_the_model_asks_for_what_fits_then(short: Short) -> None:
    short.free(6_500)
    await short.session()
    short.free(12_000)
    await short.session()  # warm, although Ollama's list is from before
    await short.models.refresh()
    await short.session()
    assert short.asked == [4096, 4096, 4096]


async def test_context_goes_up_again_once_there_is_room_and_the_model_was_unloaded(short: Short) -> None:
    short.free(6_500)
    await short.models.load("llama3.1:8b")
    assert not short.models.has_better
    short.free(12_000)
    assert short.models.has_better
    await short.models.unload_all()
    assert not short.models.has_better
    loaded = await short.models.load("llama3.1:8b")
    assert (loaded.context_tokens, loaded.note) == (CONTEXT, "")
    assert not short.models.has_better


async def test_owners_own_model_is_used_as_it_is_and_never_outgrown(short: Short) -> None:
    short.fake.owner_uses("llama3.1:8b", context=2048)
    await short.models.refresh()
    assert short.models.loaded == (replace(short.models.loaded[0], is_owners=True, note=""),)
    assert not short.models.has_better


async def test_not_even_the_least_context_is_a_refusal_with_the_numbers(short: Short) -> None:
    short.free(4_000)
    with pytest.raises(NotEnoughMemory, match=r"does not fit now\. Needs .* for 1 session of 16,384 tokens"):
        await short.models.load("llama3.1:8b")
    assert short.asked == []


async def test_a_note_on_another_kind_of_load_is_no_reason_to_load_anew(short: Short) -> None:
    short.models.loaded = (LoadedModel(name="llama3.1:8b", context_tokens=CONTEXT, note="slow"),)
    assert not short.models.has_better
