"""What the client of our own llama.cpp child does beyond the OpenAI engine."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from core.engines import Prompt, TokenChunk
from core.engines.embedded_client import ChildClient
from core.errors import EngineFailed
from tests.core.engine_fixtures import collect, collect_into
from tests.fakes.fake_engine_server import Fault
from tests.fakes.fake_openai import FakeOpenAI

PROMPT = Prompt(model="tiny", text="hello", max_tokens=3)


class ClosingOnce(FakeOpenAI):
    """A server that closes the connection on the first requests, as llama.cpp does on a kept one."""

    closes = 2  # the HTTP layer tries twice by itself

    async def stream_pieces(self, request: web.Request, **pieces: Any) -> web.StreamResponse:
        self.fault = Fault.RESET_AT_START if len(self.asked) <= self.closes else Fault.NONE
        return await super().stream_pieces(request, **pieces)


async def test_progress_of_a_long_prompt_is_asked_for_so_that_a_cancel_is_noticed() -> None:
    async with FakeOpenAI(api_key="key") as fake:
        client = ChildClient(fake.url, "key")
        assert (await collect(client, PROMPT))[-1].done
        await client.close()
    assert [asked.path for asked in fake.asked] == ["/v1/chat/completions"]  # and nothing is asked beforehand
    assert fake.asked[0].body["return_progress"] is True


async def test_request_that_met_a_closing_connection_is_sent_again() -> None:
    async with ClosingOnce(api_key="key") as fake:
        client = ChildClient(fake.url, "key")
        assert (await collect(client, PROMPT))[-1].done
        await client.close()


async def test_server_that_always_closes_fails_after_few_tries() -> None:
    async with FakeOpenAI(api_key="key") as fake:
        fake.fault = Fault.RESET_AT_START
        client = ChildClient(fake.url, "key")
        pieces: list[TokenChunk] = []
        with pytest.raises(EngineFailed):
            await collect_into(pieces, client, PROMPT)
        await client.close()
    assert len(fake.asked) <= 4
