"""The owner's commands about the engine: load, unload, try again, test."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from core.agent import Agent
from core.commands import CommandError, CommandOutcome, CommandTable
from core.engines import EngineStatus
from core.plurals import counted

Arguments = Mapping[str, str]


def add_engine_commands(
    table: CommandTable, agent: Agent, self_test: Callable[[str], Awaitable[CommandOutcome]]
) -> None:
    async def load_model(arguments: Arguments) -> CommandOutcome:
        loaded = await agent.models.load(arguments.get("model", ""))
        agent.publish_now()
        return CommandOutcome(f"Loaded {loaded.name}.", {"model": loaded.name, "total_mb": loaded.total_mb})

    async def unload_models(_: Arguments) -> CommandOutcome:
        running = agent.admission.running_jobs
        if running:
            uses = "uses" if running == 1 else "use"
            raise CommandError(
                f"{counted(running, 'session')} {uses} the model now",
                hint="Pause first, and stop or finish what runs: titan pause --now, or titan finish",
            )
        names = [model.name for model in agent.models.loaded if not model.is_owners]
        given = await agent.memory.give_back()
        agent.publish_now()
        message = f"Unloaded {', '.join(names)}." if names else "No model was loaded."
        return CommandOutcome(f"{message} {given.sentence}." if given else message, {"models": names})

    async def retry_engine(_: Arguments) -> CommandOutcome:
        await agent.keeper.restart_engine()
        agent.publish_now()
        engine = agent.models.engine
        return CommandOutcome(_state_sentence(engine.name, engine.status), {"state": engine.status.state})

    async def run_self_test(arguments: Arguments) -> CommandOutcome:
        return await self_test(arguments.get("model", ""))

    table.add("load_model", load_model, arguments=("model",))
    table.add("unload_models", unload_models)
    table.add("retry_engine", retry_engine)
    table.add("self_test", run_self_test, arguments=("model",))


def _state_sentence(name: str, status: EngineStatus) -> str:
    if status.state == "ready":
        return f"The engine {name} is ready."
    return f"The engine {name} is not ready: {status.detail or status.state}."
