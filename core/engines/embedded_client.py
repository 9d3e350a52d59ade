"""How we speak with our own llama.cpp child: the OpenAI engine, with what only llama.cpp needs."""

from __future__ import annotations

from typing import Any

import aiohttp

from core.engines import Prompt
from core.engines.openai import OpenAIEngine
from core.engines.openai_wire import Flavour
from core.errors import EngineFailed, EngineUnreachable


class ChildClient(OpenAIEngine):
    """One client per child; its key and port are new with each."""

    def __init__(self, base_url: str, api_key: str) -> None:
        super().__init__(base_url, api_key=api_key, flavour=Flavour.LLAMA_CPP, label="the embedded engine")

    async def _open(self, body: dict[str, Any], prompt: Prompt) -> aiohttp.ClientResponse:
        # Progress events while a long prompt is computed: the server notices a closed socket only when it writes, and
        # otherwise looks once a second.
        body["return_progress"] = True
        try:
            return await super()._open(body, prompt)
        except (EngineUnreachable, EngineFailed):
            # It promises to keep the connection and closes it after each stream: a request may meet the closing, before
            # it was read. A child that is gone fails the second time too.
            return await super()._open(body, prompt)
