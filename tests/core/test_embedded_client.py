"""What the client of our own llama.cpp child does beyond the OpenAI engine."""

from __future__ import annotations

import pytest

from core.engines import Prompt, TokenChunk
from core.engines.embedded_client import ChildClient
from core.errors import EngineFailed
from tests.core.engine_fixtures import collect, collect_into
from tests.fakes.fake_engine_server import Fault
from tests.fakes.fake_openai import FakeOpenAI

PROMPT = Prompt(model="tiny", text="hello", max_tokens=3)


async def test_progress_of_a_long_prompt_is_asked_for_so_that_a_cancel_is_noticed() -> None:
    async with FakeOpenAI(api_key="key") as fake:
        client = ChildClient(fake.url, "key")
        assert (await collect(client, PROMPT))[-1].done
        await client.close()
    assert [asked.path for asked in fake.asked] == ["/v1/chat/completions"]  # and nothing is asked beforehand
    assert fake.asked[0].body["return_progress"] is True


async def test_no_request_meets_a_closing_connection_because_none_is_kept() -> None:
    async with FakeOpenAI(api_key="key") as fake:
        client = ChildClient(fake.url, "key")
        for _ in range(3):
            assert (await collect(client, PROMPT))[-1].done
        await client.close()
        assert fake.connections == 3


async def test_server_that_always_closes_fails_after_few_tries() -> None:
    async with FakeOpenAI(api_key="key") as fake:
        fake.fault = Fault.RESET_AT_START
        client = ChildClient(fake.url, "key")
        pieces: list[TokenChunk] = []
        with pytest.raises(EngineFailed):
            await collect_into(pieces, client, PROMPT)
        await client.close()
    assert len(fake.asked) == 2
