"""`titan pull`: download a model through the running agent, and watch it come."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from typing import Annotated, Any

import typer

from core.cli import door, output
from core.cli.durations import format_duration
from core.cli.output import ProfileOption
from core.errors import CommandRefused, ControlError

BAR_WIDTH = 30


def pull(
    model: Annotated[str, typer.Argument(help="llama3.2:3b with Ollama, owner/repository:Q4_K_M without.")],
    profile: ProfileOption = None,
) -> None:
    """Download a model. Ctrl+C ends it; what has come is kept, and the same command goes on from there."""
    last = door.run(_follow(profile, model, _Line()))
    if last["phase"] != "done":
        raise CommandRefused(last["problem"] or f"the download of {model} was cancelled", hint=last["hint"])
    typer.echo(f"{output.plain(last['model'])} is there. Offer it: titan models --offer NAME (titan models lists it)")


def progress_line(view: Mapping[str, Any]) -> str:
    """One line of text: a bar, how much of how much, how fast, and how long it will take."""
    done, total = view["completed_bytes"], view["total_bytes"]
    if not total or done is None:
        return output.plain(str(view["status"]))
    filled = int(BAR_WIDTH * min(1.0, done / total))
    parts = [
        f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}]",
        f"{done / total:4.0%}",
        f"{_size(done)} of {_size(total)}",
    ]
    if speed := view["bytes_per_second"]:
        parts += [f"{_size(speed)}/s", f"{format_duration((total - done) / speed)} left"]
    return "  ".join(parts)


def _size(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


class _Line:
    """One line on stderr, written anew on a terminal; elsewhere a line for each tenth of the way."""

    def __init__(self) -> None:
        self._is_terminal = output.console(to_stderr=True).is_terminal
        self._tenth = -1
        self._length = 0

    def show(self, view: Mapping[str, Any]) -> None:
        text = progress_line(view)
        if self._is_terminal:
            typer.echo(f"\r{text:<{self._length}}", nl=False, err=True)
            self._length = len(text)
            return
        tenth = int(10 * (view["completed_bytes"] or 0) / view["total_bytes"]) if view["total_bytes"] else -1
        if tenth > self._tenth:
            self._tenth = tenth
            typer.echo(text, err=True)

    def end(self) -> None:
        if self._is_terminal and self._length:
            typer.echo("", err=True)


async def _follow(profile: str | None, model: str, line: _Line) -> Mapping[str, Any]:
    """The download's last view. Raises CommandRefused, AgentNotRunning, ControlError when the agent ends meanwhile."""
    async with door.open_client(profile) as client:
        name = str((await client.execute("pull_model", {"model": model})).result.get("model", model))
        try:
            async with aclosing(client.watch()) as snapshots:
                async for snapshot in snapshots:
                    view = next((view for view in reversed(snapshot["pulls"]) if view["model"] == name), None)
                    if view is None:
                        continue
                    line.show(view)
                    if view["phase"] != "running":
                        return dict(view)
        except asyncio.CancelledError:  # Ctrl+C
            await client.execute("cancel_pull", {"model": name})
            raise
        finally:
            line.end()
    raise ControlError(
        "the agent ended before the download did", hint="Start it and pull again: it goes on from there."
    )
