"""How we speak with our own llama.cpp child: the OpenAI engine, with what only the child needs."""

from __future__ import annotations

from core.engines.openai import OpenAIEngine
from core.engines.openai_wire import Flavour


class ChildClient(OpenAIEngine):
    """One client per child; its key and port are new with each."""

    def __init__(self, base_url: str, api_key: str) -> None:
        # It promises to keep the connection and closes it after each stream: a kept one would meet the closing.
        super().__init__(
            base_url,
            api_key=api_key,
            flavour=Flavour.LLAMA_CPP,
            label="the embedded engine",
            keeps_connections=False,
        )
