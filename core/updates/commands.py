"""What the owner may ask about updates: `check_updates` and `skip_update`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from core.commands import CommandOutcome, CommandTable
from core.updates.update_watch import UpdateWatch


def add_update_commands(table: CommandTable, updates: UpdateWatch, version: str) -> None:
    """`version` is the one that runs."""

    async def check_updates(_: Mapping[str, str]) -> CommandOutcome:
        newest = await updates.check()
        if newest is None:
            return CommandOutcome(f"{version} is the newest version.", {"version": version, "newest": None})
        where = f" See {newest.url}" if newest.url else ""
        sentence = f"Version {newest.version} is there; {version} runs here.{where}"
        return CommandOutcome(sentence, {"version": version, "newest": dataclasses.asdict(newest)})

    async def skip_update(arguments: Mapping[str, str]) -> CommandOutcome:
        skipped = arguments.get("version", "")
        await updates.skip(skipped)
        return CommandOutcome(f"Version {skipped} is skipped; a newer one will be told.", {"skipped": skipped})

    table.add("check_updates", check_updates)
    table.add("skip_update", skip_update, arguments=("version",))
