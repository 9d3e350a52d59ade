"""`titan pull`: say what a model needs, download it through the running agent, and watch it come."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from contextlib import aclosing
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.cli import door, output
from core.cli.output import JsonOption, ProfileOption
from core.cli.render_pull import choice_line, choice_name, offer_lines, progress_line
from core.errors import CommandRefused, ControlError

if TYPE_CHECKING:
    from core.pull_offer import PullChoice, PullOffer

LOOK_LIMIT_S = 120.0  # the hub may be slow
TOO_BIG = "too big"


def pull(
    model: Annotated[str, typer.Argument(help="llama3.2:3b with Ollama, owner/repository:Q4_K_M without.")],
    serve_as: Annotated[
        str,
        typer.Option("--as", metavar="NAME", help="Serve it under this name, one that you offer and that isn't here."),
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing, and take it though it is too big.")] = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Download a model, once it is said whether it fits. Ctrl+C ends it; what has come is kept, and the same command
    goes on from there. With --json it asks nothing, and prints an object for each step of the way."""
    from core.pull_offer import offer_of_json

    if serve_as:
        _check_is_missing(door.fetch_snapshot(profile), serve_as)
    _, result = door.execute(profile, "look_up_model", {"model": model}, timeout_s=LOOK_LIMIT_S)
    offer = offer_of_json(result)
    for line in offer_lines(offer):
        typer.echo(line, err=True)
    choice = _chosen(offer, is_asking=not (yes or as_json) and _is_somebody_there(), is_sure=yes)
    arguments = {"model": choice.pull_name, **({"serve_as": serve_as} if serve_as else {})}
    is_size_known = choice.size_bytes is not None and not choice.is_guess
    shown = _JsonLines() if as_json else _Line()
    last = door.run(_follow(profile, arguments, shown, is_size_known=is_size_known))
    if last["phase"] != "done":
        raise CommandRefused(last["problem"] or f"the download of {model} was cancelled", hint=last["hint"])
    if as_json:
        return  # its last line says "done"
    name = output.plain(last["model"])
    if served_as := output.plain(last.get("served_as", "")):
        typer.echo(f"{name} is there, and offered as {served_as}.")
    else:
        typer.echo(
            f"{name} is there. Offer it: titan models --offer {quote(output.plain(last.get('here_as') or 'NAME'))}"
        )


def _check_is_missing(snapshot: Mapping[str, Any], name: str) -> None:
    """Raises CommandRefused: another name would be offered to nobody, without a word."""
    from core.engines.names import same_model

    if any(same_model(model["name"], name) for model in snapshot["missing_models"]):
        return
    if any(same_model(offered, name) for offered in snapshot["offered_models"]):
        raise CommandRefused(f"{name} is here already, and offered", hint="titan models shows by what it is served.")
    raise CommandRefused(f"{name} is not one of the names that you offer", hint="titan models lists what is missing.")


def _is_somebody_there() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _chosen(offer: PullOffer, *, is_asking: bool, is_sure: bool) -> PullChoice:
    """What the owner wants of it. Raises CommandRefused, and typer.Abort for a no."""
    number = offer.best
    is_named = len(offer.choices) == 1 or offer.asked.endswith(f":{choice_name(offer.choices[0])}")
    if is_asking and not is_named:
        number = _asked_for(offer)
    choice = offer.choices[number]
    if choice.disk_problem:
        raise CommandRefused(
            choice.disk_problem,
            hint="Free some space, raise the setting models_disk_budget_gb, or choose a smaller one.",
        )
    if choice.fit == TOO_BIG and not is_sure:
        if not is_asking:
            raise CommandRefused(
                f"{choice.pull_name} is too big. {choice.sentence}",
                hint=f"Choose a smaller one, or download it all the same: titan pull {quote(choice.pull_name)} --yes",
            )
        typer.confirm("It is too big for what you lend. Download it all the same?", abort=True, err=True)
    return choice


def _asked_for(offer: PullOffer) -> int:
    names = [choice_name(choice) for choice in offer.choices]
    while True:
        wanted = typer.prompt("Which one?", default=names[offer.best], err=True).strip()
        number = next((number for number, name in enumerate(names) if name.casefold() == wanted.casefold()), None)
        if number is None:
            typer.echo("It isn't in the list.", err=True)
            continue
        if number != offer.best:
            typer.echo(output.plain(choice_line(offer, number)), err=True)
        return number


class _JsonLines:
    """A download's view as one line of JSON on stdout, whenever it changed."""

    def __init__(self) -> None:
        self._last: Mapping[str, Any] = {}

    def show(self, view: Mapping[str, Any]) -> None:
        if view != self._last:
            self._last = view
            output.print_json(view)

    def end(self) -> None:
        sys.stdout.flush()


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

    def say(self, text: str) -> None:
        """A line of its own, before those that follow."""
        self.end()
        self._length = 0
        typer.echo(text, err=True)

    def end(self) -> None:
        if self._is_terminal and self._length:
            typer.echo("", err=True)


def _fit_line(snapshot: Mapping[str, Any], view: Mapping[str, Any]) -> str:
    """The verdict on a download of which nobody knew the size before it began."""
    from core.fit import judge, room_of_json

    verdict = judge(view["total_bytes"], room_of_json(snapshot))
    return output.plain(f"{verdict.fit.capitalize()}: {verdict.sentence}")


async def _follow(
    profile: str | None, arguments: Mapping[str, str], line: _Line | _JsonLines, *, is_size_known: bool
) -> Mapping[str, Any]:
    """The download's last view. Raises CommandRefused, AgentNotRunning, ControlError when the agent ends meanwhile.

    Where the size wasn't known before, the verdict is said as soon as it is.
    """
    async with door.open_client(profile) as client:
        result = (await client.execute("pull_model", arguments)).result
        name = str(result.get("model", arguments["model"]))
        try:
            async with aclosing(client.watch()) as snapshots:
                async for snapshot in snapshots:
                    view = next((view for view in reversed(snapshot["pulls"]) if view["model"] == name), None)
                    if view is None:
                        continue
                    if not is_size_known and view["total_bytes"] and isinstance(line, _Line):
                        is_size_known = True
                        line.say(_fit_line(snapshot, view))
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
