"""`titan status`: what the running agent does, why it may not serve, and what to do about it."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import Annotated

import typer

from core.cli import door, output
from core.cli.output import JsonOption, ProfileOption


def status(
    profile: ProfileOption = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on and show each change.")] = False,
    as_json: JsonOption = False,
) -> None:
    """What the agent does, and why it may not serve."""
    if watch:
        door.run(_watch(profile, as_json))
        return
    snapshot = door.fetch_snapshot(profile)
    if as_json:
        output.print_json(snapshot)
        return
    from core.cli.render_status import render_status

    output.print_text(render_status(snapshot, time.time()))


async def _watch(profile: str | None, as_json: bool) -> None:
    async with door.open_client(profile) as client, aclosing(client.watch()) as snapshots:
        if as_json:
            async for snapshot in snapshots:
                output.print_json(snapshot)
            return
        from rich.live import Live

        from core.cli.render_status import render_status

        with Live(console=output.console(), auto_refresh=False) as live:
            async for snapshot in snapshots:
                live.update(render_status(snapshot, time.time()), refresh=True)
