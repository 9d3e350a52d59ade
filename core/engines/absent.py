"""The engine of an agent that has chosen none yet: it has no models, and whoever asks it to work is told so."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from core.engines import EngineModel, EngineStatus, LoadedModel, Prompt, TokenChunk
from core.errors import EngineUnreachable


class NoEngine:
    """Stands in until `EngineKeeper.start` has chosen; making it costs nothing and opens nothing."""

    name = ""
    status = EngineStatus()

    async def start(self) -> None:
        raise _not_chosen()

    async def close(self) -> None:
        return

    async def check(self) -> None:
        raise _not_chosen()

    async def list_models(self) -> tuple[EngineModel, ...]:
        return ()

    async def loaded_models(self) -> tuple[LoadedModel, ...]:
        return ()

    async def load(self, model: str) -> LoadedModel:
        raise _not_chosen()

    async def unload(self, model: str) -> None:
        return

    async def stream(self, prompt: Prompt) -> AsyncGenerator[TokenChunk, None]:
        raise _not_chosen()
        yield  # an async generator, as the protocol has it


def _not_chosen() -> EngineUnreachable:
    return EngineUnreachable("no engine has been chosen yet", hint="Wait until the agent has started.")
