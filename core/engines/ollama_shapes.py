"""The shapes of Ollama's models: /api/show is asked once for each, when it is first seen or has changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from core.engines import EngineModel
from core.engines.names import normalize_model
from core.errors import AgentError
from core.model_shape import ModelShape, shape_of

ASKED_PER_LOOK = 20  # a look is to be short; the rest is asked at the next ones

AskShow = Callable[[str], Awaitable[Any]]  # model → the body of /api/show; raises AgentError


class OllamaShapes:
    """Adds shapes to listed models. A model that is pulled anew under its name has another size, nearly always."""

    def __init__(self, ask: AskShow) -> None:
        self._ask = ask
        self._known: dict[tuple[str, int | None], ModelShape | None] = {}

    async def add(self, models: tuple[EngineModel, ...]) -> tuple[EngineModel, ...]:
        """The same models with what is known; one that can't be asked stays without, and isn't asked again."""
        keys = {model.name: (normalize_model(model.name), model.size_bytes) for model in models}
        self._known = {key: self._known[key] for key in keys.values() if key in self._known}
        unknown = [model.name for model in models if keys[model.name] not in self._known]
        for name in unknown[:ASKED_PER_LOOK]:
            try:
                self._known[keys[name]] = _read_shape(await self._ask(name))
            except AgentError:  # the look itself says what is wrong with Ollama
                self._known[keys[name]] = None
        return tuple(replace(model, shape=self._known.get(keys[model.name])) for model in models)


def _read_shape(body: Any) -> ModelShape | None:
    info = body.get("model_info") if isinstance(body, dict) else None
    return shape_of(info) if isinstance(info, dict) else None
