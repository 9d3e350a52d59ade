"""The owner's commands about models: download, delete, offer, withdraw."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict

from core.agent import Agent
from core.commands import CommandError, CommandOutcome, CommandTable
from core.config_edit import change_settings
from core.config_load import Layer
from core.config_reload import follows_file
from core.engines.names import find_model, same_model
from core.errors import ConfigError, StorageError
from core.fit import room_of
from core.live_settings import apply_settings_outcome
from core.logs import get_logger

log = get_logger(__name__)

Arguments = Mapping[str, str]


def add_model_commands(table: CommandTable, agent: Agent) -> None:
    async def look_up_model(arguments: Arguments) -> CommandOutcome:
        offer = await agent.shelf.look_up(arguments.get("model", ""), room_of(agent.store.current))
        return CommandOutcome(f"Nothing is downloaded yet: this is what {offer.asked} would bring.", asdict(offer))

    async def pull_model(arguments: Arguments) -> CommandOutcome:
        wanted = arguments.get("model", "").strip()
        serve_as = arguments.get("serve_as", "").strip()
        await agent.shelf.check_network()
        view = agent.shelf.pull(wanted, wanted_as=serve_as, when_here=_serving_as(agent, serve_as or wanted))
        agent.publish_now()  # whoever follows it must not take the end of an earlier try for this one's
        return CommandOutcome(f"Downloading {view.model}.", {"model": view.model})

    async def cancel_pull(arguments: Arguments) -> CommandOutcome:
        name = arguments.get("model", "")
        await agent.shelf.cancel(name)
        return CommandOutcome(f"The download of {name} is cancelled.", {"model": name})

    async def delete_model(arguments: Arguments) -> CommandOutcome:
        name = await agent.shelf.delete(arguments.get("model", ""))
        if find_model(name, agent.settings.supported_models) is not None and _can_write(agent):
            await _offer_only(
                agent, [known for known in agent.settings.supported_models if not same_model(known, name)]
            )
        return CommandOutcome(f"Deleted {name}.", {"model": name})

    async def offer_model(arguments: Arguments) -> CommandOutcome:
        return await offer(agent, arguments.get("model", ""))

    async def withdraw_model(arguments: Arguments) -> CommandOutcome:
        return await withdraw(agent, arguments.get("model", ""))

    table.add("look_up_model", look_up_model, arguments=("model",))
    table.add("pull_model", pull_model, arguments=("model", "serve_as"))
    table.add("cancel_pull", cancel_pull, arguments=("model",))
    table.add("delete_model", delete_model, arguments=("model",))
    table.add("offer_model", offer_model, arguments=("model",))
    table.add("withdraw_model", withdraw_model, arguments=("model",))


def _serving_as(agent: Agent, name: str) -> Callable[[str], Awaitable[None]] | None:
    """Once a model is here: let it serve the name for which it was fetched, by the owner's table. None for a name
    that isn't one of those that are wanted and not here."""
    if not any(same_model(model.name, name) for model in agent.models.missing):
        return None

    async def enter(local: str) -> None:
        if not local or agent.models.model_for(name) is not None:
            return
        pair = f"{name}={local}"
        try:
            await _add_name(agent, name, pair)
        except (ConfigError, StorageError) as error:  # the download itself is whole
            log.warning("name not kept", pair=pair, error=error.detail)
            agent.report.add_notice(f"{local} is here, but not served as {name}: {error.detail}")

    return enter


async def _add_name(agent: Agent, name: str, pair: str) -> None:
    """Into the table of names, in the place of what that name meant. Raises ConfigError, StorageError."""
    if not _can_write(agent, "model_names"):
        source = agent.loaded.origins["model_names"].source
        raise ConfigError([f"the table of names is set by {source}"], hint=f"Add {pair} there.")
    kept = [known for known in agent.settings.model_names if not same_model(known.partition("=")[0], name)]
    changes = {"model_names": ",".join([*kept, pair])}
    await asyncio.to_thread(change_settings, changes, os.environ, profile=agent.settings.profile)
    await apply_settings_outcome(agent)


async def offer(agent: Agent, wanted: str) -> CommandOutcome:
    """Offer a model that the engine has, now and after a restart. Raises CommandError, ConfigError, StorageError."""
    model = agent.models.model_for(wanted)
    if model is None:
        raise CommandError(f"the engine has no model {wanted!r}", hint="Only what the engine has can be offered.")
    # One of its files, or a name of the owner's table, is offered as it was said.
    name = model.name if same_model(model.name, wanted) else wanted
    if model.is_selftest and not agent.models.allow_selftest:
        raise CommandError(
            f"{name} is only there to test this machine: its answers are noise", hint="Offer a real model."
        )
    if "," in name:
        raise CommandError(f"{name} can't be offered: its name holds a comma", hint="Rename the model.")
    if find_model(name, agent.settings.supported_models) is not None:
        return CommandOutcome(f"{name} is offered already.", {"model": name})
    if not await agent.models.can_answer(model.name):
        raise CommandError(f"{name} can't be offered: it writes no text", hint="Offer a model made for chat.")
    await _offer_only(agent, (*agent.settings.supported_models, name))
    return CommandOutcome(f"{name} is offered from now on.", {"model": name})


async def withdraw(agent: Agent, wanted: str) -> CommandOutcome:
    """Offer a model no more; sessions that use it go on. Raises CommandError, ConfigError, StorageError.

    A file that is served for a model in any quantisation stands for that model.
    """
    wanted = next((choice.offered for choice in agent.models.chosen_quants if choice.model == wanted), wanted)
    kept = [known for known in agent.settings.supported_models if not same_model(known, wanted)]
    if len(kept) == len(agent.settings.supported_models):
        raise CommandError(f"{wanted!r} is not offered")
    await _offer_only(agent, kept)
    return CommandOutcome(f"{wanted} is not offered any more.", {"model": wanted})


async def _offer_only(agent: Agent, names: Sequence[str]) -> None:
    if not _can_write(agent):
        source = agent.loaded.origins["supported_models"].source
        raise ConfigError(
            [f"The offered models are set by {source}, which overrides what is chosen here"], hint="Change them there."
        )
    changes = {"supported_models": ",".join(names)}
    await asyncio.to_thread(change_settings, changes, os.environ, profile=agent.settings.profile)
    await apply_settings_outcome(agent)


def _can_write(agent: Agent, setting: str = "supported_models") -> bool:
    """Whether the settings file decides what is offered, or another setting."""
    layer = agent.loaded.origins[setting].layer
    return layer not in (Layer.ENVIRONMENT, Layer.COMMAND_LINE) and follows_file(agent.loaded)
