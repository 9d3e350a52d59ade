"""What an owner may ask of the running agent, by name: the window, `titan pause` and the control door all come here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from core.errors import AgentError


@dataclass(frozen=True, slots=True)
class CommandOutcome:
    """What happened, in one sentence, and the data behind it."""

    message: str
    result: Mapping[str, object] = field(default_factory=dict)


class CommandError(AgentError):
    """A command that doesn't exist, or whose arguments make no sense."""

    title = "Cannot do that"


Handler = Callable[[Mapping[str, str]], Awaitable[CommandOutcome]]


class CommandTable:
    """Commands by name. Unknown names and unknown arguments are refused with what would be right."""

    def __init__(self) -> None:
        self._handlers: dict[str, tuple[Handler, frozenset[str]]] = {}

    def add(self, name: str, handler: Handler, *, arguments: tuple[str, ...] = ()) -> None:
        self._handlers[name] = (handler, frozenset(arguments))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._handlers)

    async def execute(self, name: str, arguments: Mapping[str, str]) -> CommandOutcome:
        """Run one command. Raises CommandError, or what the command itself raises (an AgentError)."""
        if name not in self._handlers:
            raise CommandError(f"there is no command {name!r}", hint=f"There are: {', '.join(self._handlers)}.")
        handler, allowed = self._handlers[name]
        unknown = sorted(set(arguments) - allowed)
        if unknown:
            hint = f"It takes: {', '.join(sorted(allowed))}." if allowed else "It takes none."
            raise CommandError(f"{name} has no argument {unknown[0]!r}", hint=hint)
        return await handler(arguments)
