"""Commands by name: unknown ones and unknown arguments are refused with what would be right."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from core.commands import CommandError, CommandOutcome, CommandTable


def table() -> CommandTable:
    made = CommandTable()

    async def echo(arguments: Mapping[str, str]) -> CommandOutcome:
        return CommandOutcome("done", dict(arguments))

    made.add("echo", echo, arguments=("text", "times"))
    made.add("plain", echo)
    return made


async def test_command_gets_its_arguments() -> None:
    outcome = await table().execute("echo", {"text": "a"})
    assert (outcome.message, outcome.result) == ("done", {"text": "a"})


async def test_unknown_command_names_those_there_are() -> None:
    with pytest.raises(CommandError, match="'nope'") as refusal:
        await table().execute("nope", {})
    assert refusal.value.hint == "There are: echo, plain."


@pytest.mark.parametrize(("name", "hint"), [("echo", "It takes: text, times."), ("plain", "It takes none.")])
async def test_unknown_argument_names_those_there_are(name: str, hint: str) -> None:
    with pytest.raises(CommandError, match=f"{name} has no argument 'x'") as refusal:
        await table().execute(name, {"x": "1"})
    assert refusal.value.hint == hint
