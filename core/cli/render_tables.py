"""Sessions, models and tiers as tables. Pure: values in, a renderable out."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from core.cli.durations import format_duration
from core.cli.output import plain
from core.sizes import size_text


def _table(*columns: tuple[str, bool]) -> Table:
    """Columns by (heading, is_number)."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, is_number in columns:
        table.add_column(heading, justify="right" if is_number else "left", overflow="fold")
    return table


def _add(table: Table, *cells: str, style: str = "") -> None:
    table.add_row(*(Text(plain(cell)) for cell in cells), style=style)


def sessions_table(snapshot: Mapping[str, Any], now: float) -> RenderableType:
    if not snapshot["sessions"]:
        return Text("No session runs.")
    table = _table(
        ("id", False),
        ("model", False),
        ("client", False),
        ("phase", False),
        ("since", True),
        ("tokens", True),
        ("tok/s", True),
    )
    for session in snapshot["sessions"]:
        rate = session["tokens_per_second"]
        _add(
            table,
            session["session_id"],
            session["model"],
            session["client"],
            session["phase"],
            format_duration(now - session["started_at"]),
            f"{session['tokens']:,}",
            "" if rate is None else f"{rate:.1f}",
        )
    return table


def models_table(snapshot: Mapping[str, Any]) -> RenderableType:
    """What the engine has, what is wanted and not here, and the downloads."""
    engine = snapshot["engine"]["name"] or "no engine yet"
    pulls = Text("\n".join(_pull_line(pull) for pull in snapshot.get("pulls", ())))
    missing = Text(plain("\n".join(_missing_lines(snapshot))))
    if not snapshot["models"]:
        return Group(Text(f"The engine ({engine}) has no model."), missing, pulls)
    from core.fit import judge, room_of_json, shape_of_json

    room = room_of_json(snapshot)
    table = _table(("model", False), ("size", True), ("quant", False), ("context", True), ("", False), ("fit", False))
    measured = _Measured(snapshot)
    said = []
    for model in snapshot["models"]:
        verdict = judge(model["size_bytes"], room, shape_of_json(model))
        words = [] if model["is_selftest"] else [f"{model['name']}: {verdict.sentence}"]
        said += [*words, *measured.words(model["name"]), *_served_as(model["name"], snapshot)]
        _add(
            table,
            model["name"],
            size_text(model["size_bytes"]),
            model["quant"] or "?",
            "?" if model["context_tokens"] is None else f"{model['context_tokens']:,}",
            ", ".join(_marks(model, snapshot)),
            verdict.fit,
        )
    said += [f"{model['name']}: {model['note']}" for model in snapshot["loaded_models"] if model.get("note")]
    notes = Text("\n".join(plain(line) for line in said), style="dim")
    return Group(Text(f"Engine: {engine}", style="bold"), table, notes, missing, pulls)


class _Measured:
    """What this machine has measured of its models, in words."""

    def __init__(self, snapshot: Mapping[str, Any]) -> None:
        from core.first_tokens import FirstToken
        from core.speed_book import Speed

        self._first_tokens = tuple(FirstToken(**found) for found in snapshot.get("first_tokens", ()))
        self._speeds = tuple(Speed(**found) for found in snapshot.get("speeds", ()))
        self._device = snapshot["engine"]["status"]["device"]

    def words(self, model: str) -> list[str]:
        from core.first_tokens import find_first_token, first_token_words
        from core.speed_book import find_speed, speed_words

        found = (
            first_token_words(find_first_token(self._first_tokens, model)),
            speed_words(find_speed(self._speeds, model, self._device)),
        )
        return [f"{model}: {words}." for words in found if words]


def _marks(model: Mapping[str, Any], snapshot: Mapping[str, Any]) -> list[str]:
    """What a model of the engine is now, in a word or two each."""
    name = model["name"]
    marks = ["offered"] if _same(name, set(snapshot["offered_models"])) else []
    marks += ["loaded"] if any(loaded["name"] == name for loaded in snapshot["loaded_models"]) else []
    marks += ["self-test only"] if model["is_selftest"] else []
    choice = _choice_of(name, snapshot)
    return marks if choice is None else [*marks, f"served as {choice['offered']}"]


def _served_as(name: str, snapshot: Mapping[str, Any]) -> list[str]:
    choice = _choice_of(name, snapshot)
    return [] if choice is None else [f"{name} is served as {choice['offered']}. {choice['reason']}"]


def _choice_of(name: str, snapshot: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Why this quantisation stands in for a model that is offered; None where it doesn't. The last one counts."""
    choices = [choice for choice in snapshot.get("chosen_quants", ()) if choice["model"] == name]
    return choices[-1] if choices else None


def _missing_lines(snapshot: Mapping[str, Any]) -> list[str]:
    """A line for each model that is offered and not here, with the command that gets it."""
    from core.fit import room_of_json
    from core.pull_offer import verdict_by_name

    lines = []
    for model in snapshot.get("missing_models", ()):
        gone = f" Its file {model['gone_file']} is not there." if model["gone_file"] else ""
        lines.append(f"{model['name']}: wanted, not here.{gone} {_how_to_get(model, snapshot['engine']['name'])}")
        verdict = verdict_by_name(model["size_bytes"], room_of_json(snapshot))
        if verdict is not None:
            lines.append(
                f"  {size_text(model['size_bytes'])} by its name. {verdict.fit.capitalize()}. {verdict.sentence}"
            )
    return lines


def _how_to_get(model: Mapping[str, Any], engine: str) -> str:
    name = quote(model["name"])
    if model["pull_name"]:
        same = model["pull_name"] == model["name"]
        get = f"Get it: titan pull {quote(model['pull_name'])}{'' if same else f' --as {name}'}"
    elif engine == "embedded":
        get = f"Get it from a page of the hub: titan pull OWNER/REPOSITORY --as {name}"
    else:
        get = "Load it in the engine"
    return f"{get}. Or offer it no more: titan models --withdraw {name}"


def _pull_line(pull: Mapping[str, Any]) -> str:
    """ "new:1b: running, 25 %", or how the download ended."""
    done, total = pull["completed_bytes"], pull["total_bytes"]
    share = f", {100 * done / total:.0f} %" if done is not None and total and pull["phase"] == "running" else ""
    why = f": {pull['problem']}" if pull["problem"] else ""
    return plain(f"Download of {pull['model']}: {pull['phase']}{share}{why}")


def _same(name: str, offered: set[str]) -> bool:
    from core.engines.names import same_model

    return any(same_model(name, other) for other in offered)
