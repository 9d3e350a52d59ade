"""The owner's commands, bound to a running agent."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

from core.agent import Agent
from core.commands import CommandError, CommandOutcome, CommandTable
from core.ledger_commands import add_ledger_commands
from core.live_settings import apply_settings_outcome
from core.model_commands import add_model_commands
from core.owner import PauseMode
from core.sessions import EndReason
from core.setup_probe import add_setup_commands
from core.take_back import once_kept, take_back
from core.time_use import time_use_json

LONGEST_PAUSE_S = 366 * 24 * 3600.0

Arguments = Mapping[str, str]


def owner_commands(
    agent: Agent, *, shut_down: Callable[[], None], self_test: Callable[[str], Awaitable[CommandOutcome]]
) -> CommandTable:
    """Every command of the control door and of the window. `self_test` takes a model; "" is the first offered."""
    table = CommandTable()

    async def pause(arguments: Arguments) -> CommandOutcome:
        until = pause_end(arguments, time.time())
        mode = _mode(arguments.get("mode", PauseMode.FINISH.value))
        running = agent.owner.pause(until=until, mode=mode)
        when = "until you resume" if until is None else f"until {time.strftime('%H:%M', time.localtime(until))}"
        message = f"Paused {when}.{_what_of_running(running, mode)}"
        return await once_kept(agent, CommandOutcome(message, {"until": until, "running": running}))

    async def resume(_: Arguments) -> CommandOutcome:
        if not agent.owner.resume():
            return CommandOutcome("Nothing was paused.", {"resumed": False})
        blocking = [reason.sentence for reason in agent.reasons.all if reason.blocks]
        message = f"Resumed, but not serving: {blocking[0]}" if blocking else "Resumed."
        return await once_kept(agent, CommandOutcome(message, {"resumed": True, "blocked_by": blocking}))

    async def finish(_: Arguments) -> CommandOutcome:
        running = agent.owner.finish()
        message = f"Finishing {running} session(s), then pausing." if running else "No session runs: paused now."
        return await once_kept(agent, CommandOutcome(message, {"running": running}))

    async def cancel_session(arguments: Arguments) -> CommandOutcome:
        session_id = arguments.get("session_id", "")
        if not agent.admission.end_session(session_id, EndReason.OWNER_STOPPED):
            raise CommandError(f"there is no session {session_id!r}", hint="titan sessions lists them.")
        return CommandOutcome(f"Stopped session {session_id}.", {"session_id": session_id})

    async def load_model(arguments: Arguments) -> CommandOutcome:
        loaded = await agent.models.load(arguments.get("model", ""))
        agent.publish_now()
        return CommandOutcome(f"Loaded {loaded.name}.", {"model": loaded.name, "total_mb": loaded.total_mb})

    async def unload_models(_: Arguments) -> CommandOutcome:
        running = agent.admission.running_jobs
        if running:
            raise CommandError(
                f"{running} session(s) use the model now", hint="First: titan pause --now, or titan finish."
            )
        names = [model.name for model in agent.models.loaded]
        await agent.models.unload_all()
        agent.publish_now()
        return CommandOutcome(f"Unloaded {', '.join(names)}." if names else "No model was loaded.", {"models": names})

    async def take_back_all(_: Arguments) -> CommandOutcome:
        return await take_back(agent)

    async def retry_engine(_: Arguments) -> CommandOutcome:
        await agent.keeper.restart_engine()
        agent.publish_now()
        status = agent.models.engine.status
        return CommandOutcome(f"The engine {agent.models.engine.name} is {status.state}.", {"state": status.state})

    async def run_self_test(arguments: Arguments) -> CommandOutcome:
        return await self_test(arguments.get("model", ""))

    async def apply_settings(_: Arguments) -> CommandOutcome:
        return await apply_settings_outcome(agent)

    async def time_use(_: Arguments) -> CommandOutcome:
        return CommandOutcome("What the last 24 hours went to.", time_use_json(agent.time_use.today()))

    async def shutdown(_: Arguments) -> CommandOutcome:
        shut_down()
        return CommandOutcome("Stopping.", {})

    table.add("pause", pause, arguments=("for_s", "until", "mode"))
    table.add("resume", resume)
    table.add("finish", finish)
    table.add("cancel_session", cancel_session, arguments=("session_id",))
    table.add("load_model", load_model, arguments=("model",))
    table.add("unload_models", unload_models)
    table.add("take_back", take_back_all)
    table.add("retry_engine", retry_engine)
    table.add("self_test", run_self_test, arguments=("model",))
    table.add("apply_settings", apply_settings)
    table.add("time_use", time_use)
    add_model_commands(table, agent)
    add_setup_commands(table, agent)
    table.add("shutdown", shutdown)
    add_ledger_commands(table, agent.ledger)
    return table


def pause_end(arguments: Arguments, now: float) -> float | None:
    """When a pause ends, seconds since the epoch; None means when the owner resumes. Raises CommandError."""
    if "for_s" in arguments and "until" in arguments:
        raise CommandError("a pause has either a length (for_s) or an end (until), not both")
    if "for_s" in arguments:
        end = now + _number(arguments["for_s"], "for_s")
    elif "until" in arguments:
        end = _number(arguments["until"], "until")
    else:
        return None
    if not now < end <= now + LONGEST_PAUSE_S:
        raise CommandError("a timed pause ends later than now and within a year", hint="titan pause, without a time.")
    return end


def _mode(text: str) -> PauseMode:
    try:
        return PauseMode(text)
    except ValueError:
        raise CommandError(f"there is no way to pause called {text!r}", hint="It is finish or stop.") from None


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise CommandError(f"{name} is {text!r}, which is no number of seconds") from None


def _what_of_running(running: int, mode: PauseMode) -> str:
    if not running:
        return ""
    done = "were stopped" if mode is PauseMode.STOP else "may finish"
    return f" {running} running session(s) {done}."
