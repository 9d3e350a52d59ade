"""The owner's commands about pausing and its contrary: pause, resume, finish, take back, share now, follow rules."""

from __future__ import annotations

import time
from collections.abc import Mapping

from core.agent import Agent
from core.commands import CommandError, CommandOutcome, CommandTable
from core.owner import LONGEST_SHARE_S, PauseMode
from core.plurals import counted
from core.rules.look import time_text
from core.take_back import once_kept, take_back

LONGEST_PAUSE_S = 366 * 24 * 3600.0

Arguments = Mapping[str, str]


def add_pause_commands(table: CommandTable, agent: Agent) -> None:
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
        if any(code in agent.reasons for code in ("model_loading", "memory_going_back")) and len(blocking) == 1:
            message = f"Resumed. {blocking[0]}"
        return await once_kept(agent, CommandOutcome(message, {"resumed": True, "blocked_by": blocking}))

    async def finish(_: Arguments) -> CommandOutcome:
        running = agent.owner.finish()
        message = (
            f"Finishing {counted(running, 'session')}, then pausing." if running else "No session runs: paused now."
        )
        return await once_kept(agent, CommandOutcome(message, {"running": running}))

    async def take_back_all(_: Arguments) -> CommandOutcome:
        return await take_back(agent)

    async def share_now(arguments: Arguments) -> CommandOutcome:
        now = time.time()
        until = share_end(arguments, now)
        if "setup_not_done" in agent.reasons:
            raise CommandError("nothing is shared before the setup is done", hint="Answer the first questions.")
        if not agent.owner.share_now(until):
            raise CommandError("you have paused, and only you end that", hint="Resume first: titan resume")
        blocking = [reason.sentence for reason in agent.reasons.all if reason.blocks]
        but = f" Not yet: {blocking[0]}" if blocking else ""
        message = f"You share now, until {time_text(until, now, None)}.{but}"
        return await once_kept(agent, CommandOutcome(message, {"until": until, "blocked_by": blocking}))

    async def follow_rules(_: Arguments) -> CommandOutcome:
        if not agent.owner.follow_rules():
            return CommandOutcome("It follows your rules already.", {"changed": False})
        return await once_kept(agent, CommandOutcome("It follows your rules again.", {"changed": True}))

    table.add("pause", pause, arguments=("for_s", "until", "mode"))
    table.add("resume", resume)
    table.add("finish", finish)
    table.add("take_back", take_back_all)
    table.add("share_now", share_now, arguments=("for_s", "until"))
    table.add("follow_rules", follow_rules)


def pause_end(arguments: Arguments, now: float) -> float | None:
    """When a pause ends, seconds since the epoch; None means when the owner resumes. Raises CommandError."""
    end = _named_end(arguments, now)
    if end is not None and not now < end <= now + LONGEST_PAUSE_S:
        raise CommandError(
            "a timed pause ends later than now and within a year", hint="Pause without a time: titan pause"
        )
    return end


def share_end(arguments: Arguments, now: float) -> float:
    """When sharing now ends, seconds since the epoch. Raises CommandError."""
    end = _named_end(arguments, now)
    if end is None or not now < end <= now + LONGEST_SHARE_S:
        raise CommandError(
            f"sharing now has an end, within {LONGEST_SHARE_S / 3600:g} hours",
            hint="For longer, switch off the rule that holds it back: titan rules",
        )
    return end


def _named_end(arguments: Arguments, now: float) -> float | None:
    """Seconds since the epoch; None where none is named. Raises CommandError."""
    if "for_s" in arguments and "until" in arguments:
        raise CommandError("it has either a length (for_s) or an end (until), not both")
    if "for_s" in arguments:
        return now + _number(arguments["for_s"], "for_s")
    return _number(arguments["until"], "until") if "until" in arguments else None


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
    if mode is PauseMode.STOP:
        return f" Stopped {counted(running, 'session')}."
    return f" {counted(running, 'running session')} may finish."
