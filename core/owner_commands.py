"""The owner's commands, bound to a running agent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from core import __version__
from core.agent import Agent
from core.commands import CommandError, CommandOutcome, CommandTable
from core.engine_commands import add_engine_commands
from core.ledger_commands import add_ledger_commands
from core.live_settings import apply_settings_outcome
from core.model_commands import add_model_commands
from core.pause_commands import add_pause_commands
from core.sessions import EndReason
from core.setup_commands import add_setup_commands
from core.speed_test import add_speed_commands
from core.time_use import time_use_json
from core.updates.commands import add_update_commands

Arguments = Mapping[str, str]


def owner_commands(
    agent: Agent, *, shut_down: Callable[[], None], self_test: Callable[[str], Awaitable[CommandOutcome]]
) -> CommandTable:
    """Every command of the control door and of the window. `self_test` takes a model; "" is the first offered."""
    table = CommandTable()

    async def cancel_session(arguments: Arguments) -> CommandOutcome:
        session_id = arguments.get("session_id", "")
        if not agent.admission.end_session(session_id, EndReason.OWNER_STOPPED):
            raise CommandError(f"there is no session {session_id!r}", hint="titan sessions lists them.")
        return CommandOutcome(f"Stopped session {session_id}.", {"session_id": session_id})

    async def apply_settings(_: Arguments) -> CommandOutcome:
        return await apply_settings_outcome(agent)

    async def time_use(_: Arguments) -> CommandOutcome:
        return CommandOutcome("What the last 24 hours went to.", time_use_json(agent.time_use.today()))

    async def shutdown(_: Arguments) -> CommandOutcome:
        shut_down()
        return CommandOutcome("Stopping.", {})

    add_pause_commands(table, agent)
    table.add("cancel_session", cancel_session, arguments=("session_id",))
    add_engine_commands(table, agent, self_test)
    table.add("apply_settings", apply_settings)
    table.add("time_use", time_use)
    add_speed_commands(table, agent)
    add_model_commands(table, agent)
    add_setup_commands(table, agent)
    table.add("shutdown", shutdown)
    add_ledger_commands(table, agent.ledger)
    add_update_commands(table, agent.updates, __version__)
    return table
