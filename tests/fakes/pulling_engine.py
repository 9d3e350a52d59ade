"""An engine that downloads and deletes models, step by step as a test lets it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from core.engines import EngineModel, PullProgress
from core.errors import AgentError
from tests.fakes.fake_engine import FakeEngine

GB = 1_000_000_000


class PullingEngine(FakeEngine):
    """`steps` are given one after the other; an event among them is waited for. The model is there after the last."""

    def __init__(self, *, models: Sequence[str] = ("tiny:latest",)) -> None:
        super().__init__(name="ollama", models=models)
        self.steps: list[PullProgress | asyncio.Event | AgentError] = [
            PullProgress("pulling manifest"),
            PullProgress("pulling aa", GB, 2 * GB),
            PullProgress("pulling aa", 2 * GB, 2 * GB),
            PullProgress("success"),
        ]
        self.is_on_this_machine = False
        self.pulled: list[str] = []
        self.deleted: list[str] = []
        self.ended_pulls = 0

    async def pull(self, model: str) -> AsyncIterator[PullProgress]:
        self.pulled.append(model)
        try:
            for step in self.steps:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, AgentError):
                    raise step
                else:
                    yield step
            if model not in [known.name for known in self.models]:
                self.models.append(EngineModel(name=model, size_bytes=2 * GB))
        finally:
            self.ended_pulls += 1

    async def delete(self, model: str) -> None:
        self.deleted.append(model)
        self.models = [known for known in self.models if known.name != model]
