"""Measure how fast a model answers here: real prompts through the whole local path, for 20 seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from core.agent import Agent
from core.commands import CommandError, CommandOutcome, CommandTable
from core.errors import NotEnoughMemory
from core.fit import judge, room_of
from core.speed_book import Measuring, Speed, SpeedBook, rate_text
from core.take_back import memory_as_found

if TYPE_CHECKING:
    from core.inference_client import AnswerEnd  # 7 ms of the start, for a command that is seldom given

SECONDS = 20.0
WARM_UP_TOKENS = 8
LEAST_TOKENS, MOST_TOKENS = 16, 256  # of one answer
LONGEST_ANSWER_S = 10.0  # about: a slow machine would else spend minutes on its last answer
PROMPT = "Tell a long story about a lighthouse keeper who lends the light to passing ships. Begin at once."

# (model, prompt, most tokens) → how the answer ended; raises what a client would get
Ask = Callable[[str, str, int], Awaitable["AnswerEnd"]]


async def measure_speed(
    ask: Ask,
    model: str,
    device: Callable[[], str],
    *,
    seconds: float = SECONDS,
    on_warm: Callable[[], None] = lambda: None,
    now: Callable[[], float] = time.time,
) -> Speed:
    """One answer to warm up, then answers one after another for `seconds`. CommandError where they have no tokens."""
    end = await ask(model, PROMPT, WARM_UP_TOKENS)  # the model is in memory from here on
    on_warm()
    tokens = generated_s = measured_s = 0.0
    first_token_ms: list[float] = []
    while measured_s < seconds:
        end = await ask(model, PROMPT, _tokens_of_next(end, seconds - measured_s))
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


def _tokens_of_next(before: AnswerEnd, left_s: float) -> int:
    """How long the next answer may be, by the speed of the one before."""
    rate = before.number("tokens_per_second") or 0.0
    return max(LEAST_TOKENS, min(MOST_TOKENS, int(rate * min(left_s, LONGEST_ANSWER_S))))


def add_speed_commands(table: CommandTable, agent: Agent) -> None:
    running: list[asyncio.Task[CommandOutcome]] = []
    stopped: list[asyncio.Task[CommandOutcome]] = []

    async def measure(arguments: Mapping[str, str]) -> CommandOutcome:
        task = asyncio.create_task(measure_outcome(agent, arguments.get("model", "")), name="measure-speed")
        running.append(task)
        try:
            return await task
        except asyncio.CancelledError:
            if task not in stopped:  # whoever asked is gone: the task has been cancelled with us
                raise
            return CommandOutcome("Measuring was stopped. Nothing of it is kept.", {"stopped": True})
        finally:
            running.remove(task)
            stopped.clear()

    async def stop(_: Mapping[str, str]) -> CommandOutcome:
        if not running:
            raise CommandError("nothing is being measured")
        stopped.extend(running)
        for task in running:
            task.cancel()
        return CommandOutcome("Measuring stops.")

    table.add("measure_speed", measure, arguments=("model",))
    table.add("stop_measuring", stop)


async def measure_outcome(agent: Agent, wanted: str, *, seconds: float = SECONDS) -> CommandOutcome:
    """The owner's command. Raises CommandError while sessions run: they share the machine; NotEnoughMemory where the
    model doesn't fit, ModelError, EngineError. What it loaded leaves memory again where nothing is shared now.
    """
    offered = agent.models.offered
    model = wanted or (offered[0] if offered else "")
    _check_may_measure(agent, model)
    agent.report.measuring = Measuring(model=model, seconds=seconds)
    agent.publish_now()
    try:
        with memory_as_found(agent):
            speed = await _measured(agent, model, seconds)
    finally:
        agent.report.measuring = None
        agent.publish_now()
    book = SpeedBook(agent.paths.speeds_file)
    await asyncio.to_thread(book.add, speed)
    agent.report.speeds = await asyncio.to_thread(book.read)
    agent.publish_now()
    return CommandOutcome(
        f"{speed.model}: {rate_text(speed.tokens_per_second)} tokens per second, first token after "
        f"{speed.first_token_ms:.0f} ms, on {speed.device or 'an unknown device'}.",
        {"model": speed.model, "device": speed.device, "tokens_per_second": speed.tokens_per_second,
         "first_token_ms": speed.first_token_ms, "seconds": speed.seconds},
    )  # fmt: skip


def _check_may_measure(agent: Agent, model: str) -> None:
    """Raises CommandError, NotEnoughMemory."""
    if agent.report.measuring is not None:
        raise CommandError("a model is being measured already", hint="Wait for its end, or stop it.")
    if agent.admission.running_jobs or agent.admission.queued_jobs:
        raise CommandError("sessions run now, so nothing true can be measured", hint="Try again later, or pause first.")
    here = agent.models.model_for(model)
    if here is None or agent.models.fits(here.name):
        return
    verdict = judge(here.size_bytes, room_of(agent.store.current), here.shape)
    raise NotEnoughMemory(
        f"{model} does not fit now, so it can't be measured. {verdict.sentence}",
        hint="Close other programs, or choose a smaller model.",
    )


def _sessions_seen(agent: Agent) -> int:
    """How many there have been and are."""
    return agent.report.totals.requests_processed + agent.admission.running_jobs


async def _measured(agent: Agent, model: str, seconds: float) -> Speed:
    from core.selftest import run_self_test  # late: a second coordinator and server, 25 ms and 3 MB

    async def ask(name: str, prompt: str, max_tokens: int) -> AnswerEnd:
        before = _sessions_seen(agent)
        end = await run_self_test(agent, model=name, prompt=prompt, max_tokens=max_tokens)
        if _sessions_seen(agent) - before > 1:  # one was ours
            raise CommandError(
                "a session began meanwhile, so nothing true could be measured", hint="Try again later, or pause first."
            )
        return end

    def show_warm() -> None:
        agent.report.measuring = Measuring(model=model, seconds=seconds, started_at=time.time())
        agent.publish_now()

    speed = await measure_speed(
        ask, model, lambda: agent.models.engine.status.device, seconds=seconds, on_warm=show_warm
    )
    here = agent.models.model_for(model)
    return replace(speed, model=here.name) if here is not None else speed
