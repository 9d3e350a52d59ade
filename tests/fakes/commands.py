"""Stand-ins for core/commands.py: what a front end's commands do without an agent behind them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.errors import ModelNotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeOutcome:
    message: str
    result: dict[str, Any] = field(default_factory=dict)


class FakeCommands:
    """Records what was asked. `load_model` is refused, `break` has a bug, and `shutdown` never answers."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, str]]] = []

    async def execute(self, name: str, arguments: Mapping[str, str]) -> FakeOutcome:
        self.calls.append((name, dict(arguments)))
        match name:
            case "load_model":
                raise ModelNotFound("the engine has no model 'x'", hint="Pull it: `ollama pull x`.")
            case "break":
                raise RuntimeError("a bug, with a secret in its message")
            case "shutdown":
                await asyncio.Event().wait()
        return FakeOutcome(message=f"{name} is done", result=dict(arguments))
