"""`titan models`: what the engine has, what is offered, and what fits."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from core.cli import door, output
from core.cli.output import JsonOption, ProfileOption

LOAD_LIMIT_S = 300.0  # a big model from a slow disk


def _named(option: str, what: str) -> Any:
    return typer.Option(option, metavar="NAME", help=what)


def models(
    load: Annotated[str | None, typer.Option("--load", metavar="NAME", help="Bring this model into memory.")] = None,
    unload: Annotated[bool, typer.Option("--unload", help="Give the memory of all models back.")] = False,
    offer: Annotated[str | None, _named("--offer", "Offer this model to the network.")] = None,
    withdraw: Annotated[str | None, _named("--withdraw", "Offer it no more.")] = None,
    pull: Annotated[
        str | None, _named("--pull", "Download this model; titan pull also says first whether it fits.")
    ] = None,
    cancel_pull: Annotated[str | None, _named("--cancel-pull", "End its download.")] = None,
    delete: Annotated[str | None, _named("--delete", "Delete it, if it was downloaded here.")] = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """The models that the running agent's engine has, and which of them are offered and loaded."""
    named = {
        "load_model": load,
        "offer_model": offer,
        "withdraw_model": withdraw,
        "pull_model": pull,
        "cancel_pull": cancel_pull,
        "delete_model": delete,
    }
    wishes: dict[str, dict[str, str]] = {name: {"model": model} for name, model in named.items() if model is not None}
    if unload:
        wishes["unload_models"] = {}
    if len(wishes) > 1:
        raise typer.BadParameter("one wish at a time")
    for name, arguments in wishes.items():
        message, result = door.execute(profile, name, arguments, timeout_s=LOAD_LIMIT_S)
        output.print_json({"message": message, **result}) if as_json else typer.echo(output.plain(message))
        return
    snapshot = door.fetch_snapshot(profile)
    if as_json:
        names = [
            *("models", "offered_models", "missing_models", "chosen_quants", "loaded_models", "pulls"),
            *("pulled_models", "first_tokens", "speeds"),
        ]
        output.print_json({name: snapshot[name] for name in names} | {"engine": snapshot["engine"]["name"]})
        return
    from core.cli.render_tables import models_table

    output.print_text(models_table(snapshot))
