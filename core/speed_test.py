"""Measure how fast a model answers here: real prompts through the whole local path, for 20 seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from core.agent import Agent
from core.commands import CommandError, CommandOutcome, CommandTable
from core.speed_book import Speed, SpeedBook, known_speeds

if TYPE_CHECKING:
    from core.inference_client import AnswerEnd  # 7 ms of the start, for a command that is seldom given

SECONDS = 20.0
MAX_TOKENS = 256
PROMPT = "Tell a long story about a lighthouse keeper who lends the light to passing ships. Begin at once."

# (model, prompt, most tokens) → how the answer ended; raises what a client would get
Ask = Callable[[str, str, int], Awaitable["AnswerEnd"]]


async def measure_speed(
    ask: Ask, model: str, device: Callable[[], str], *, seconds: float = SECONDS, now: Callable[[], float] = time.time
) -> Speed:
    """One answer to warm up, then answers one after another for `seconds`. CommandError where they have no tokens."""
    await ask(model, PROMPT, 8)  # the model is in memory from here on
    tokens = generated_s = measured_s = 0.0
    first_token_ms: list[float] = []
    while measured_s < seconds:
        end = await ask(model, PROMPT, MAX_TOKENS)
        rate, count = end.number("tokens_per_second") or 0.0, end.number("completion_tokens") or 0.0
        if rate <= 0 or count <= 0 or end.seconds <= 0:
            raise CommandError(f"{model} gave no tokens to measure", hint="Try another model.")
        tokens, generated_s, measured_s = tokens + count, generated_s + count / rate, measured_s + end.seconds
        if end.time_to_first_token_ms is not None:
            first_token_ms.append(end.time_to_first_token_ms)
    return Speed(
        model=model,
        device=device(),
        tokens_per_second=round(tokens / generated_s, 2),
        first_token_ms=round(sorted(first_token_ms)[len(first_token_ms) // 2], 1) if first_token_ms else 0.0,
        seconds=round(measured_s, 1),
        measured_at=now(),
    )


def add_speed_commands(table: CommandTable, agent: Agent) -> None:
    async def measure(arguments: dict[str, str]) -> CommandOutcome:
        return await measure_outcome(agent, arguments.get("model", ""))

    table.add("measure_speed", lambda arguments: measure(dict(arguments)), arguments=("model",))


async def measure_outcome(agent: Agent, wanted: str, *, seconds: float = SECONDS) -> CommandOutcome:
    """The owner's command. Raises CommandError while sessions run: they share the machine; ModelError, EngineError."""
    from core.selftest import run_self_test  # late: a second coordinator and server, 25 ms and 3 MB

    if agent.admission.running_jobs:
        raise CommandError("sessions run now, so nothing true can be measured", hint="Try again later, or pause first.")
    offered = agent.models.offered
    model = wanted or (offered[0] if offered else "")

    async def ask(name: str, prompt: str, max_tokens: int) -> AnswerEnd:
        return await run_self_test(agent, model=name, prompt=prompt, max_tokens=max_tokens)

    speed = await measure_speed(ask, model, lambda: agent.models.engine.status.device, seconds=seconds)
    await asyncio.to_thread(SpeedBook(agent.paths.speeds_file).add, speed)
    agent.report.speeds = await asyncio.to_thread(known_speeds, agent.paths.speeds_file)
    agent.publish_now()
    return CommandOutcome(
        f"{speed.model}: {speed.tokens_per_second:.1f} tokens per second, first token after "
        f"{speed.first_token_ms:.0f} ms, on {speed.device or 'an unknown device'}.",
        {"model": speed.model, "device": speed.device, "tokens_per_second": speed.tokens_per_second,
         "first_token_ms": speed.first_token_ms, "seconds": speed.seconds},
    )  # fmt: skip
