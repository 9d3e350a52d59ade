"""What the models page says of measuring: which models can be, how far it is, and what was measured. Pure."""

from __future__ import annotations

import time
from dataclasses import dataclass

from core.engines import EngineModel
from core.engines.names import find_model
from core.fit import Fit, FitRule, judge, room_of
from core.plurals import counted
from core.snapshot import AgentSnapshot
from core.speed_book import Speed, rate_text

NOTHING_OFFERED = "Only a model that you offer can be measured: tick “Offered” first."


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureView:
    """The panel at one instant."""

    models: tuple[str, ...]  # the offered names
    problem: str = ""  # why nothing can be measured now
    running: str = ""  # the model that is being measured
    text: str = ""  # how far it is
    share: float | None = None  # 0 to 1; None while the model loads
    results: tuple[str, ...] = ()


def measure_view(snapshot: AgentSnapshot, chosen: str, now: float, rule: FitRule = judge) -> MeasureView:
    """`chosen` is the model that stands in the field; `now` in seconds since the epoch."""
    models, results = snapshot.offered_models, _results(snapshot)
    running = snapshot.measuring
    if running is not None:
        if running.started_at is None:
            return MeasureView(models=models, running=running.model, text="Loading the model …", results=results)
        done_s = max(0.0, now - running.started_at)
        text = f"{min(done_s, running.seconds):.0f} of {running.seconds:.0f} seconds"
        if done_s > running.seconds:
            text = "Waiting for the end of the last answer …"
        share = min(1.0, done_s / running.seconds)
        return MeasureView(models=models, running=running.model, text=text, share=share, results=results)
    return MeasureView(models=models, problem=_problem(snapshot, chosen, rule), results=results)


def speed_line(speed: Speed) -> str:
    """ "llama3.1:8b: 48.2 tokens per second, first token after 90 ms (CUDA0, 25 November 2026)"."""
    day = time.localtime(speed.measured_at)
    where = ", ".join(part for part in (speed.device, f"{day.tm_mday} {time.strftime('%B %Y', day)}") if part)
    return (
        f"{speed.model}: {rate_text(speed.tokens_per_second)} tokens per second, "
        f"first token after {speed.first_token_ms:.0f} ms ({where})"
    )


def _results(snapshot: AgentSnapshot) -> tuple[str, ...]:
    """Of the models that are here, newest first; on whatever device."""
    here = tuple(model.name for model in snapshot.models)
    return tuple(speed_line(speed) for speed in snapshot.speeds if find_model(speed.model, here) is not None)


def _problem(snapshot: AgentSnapshot, chosen: str, rule: FitRule) -> str:
    if not snapshot.offered_models:
        return NOTHING_OFFERED
    sessions = snapshot.running_jobs + snapshot.queued_jobs
    if sessions:
        verb = "runs" if sessions == 1 else "run"
        return (
            f"{counted(sessions, 'session')} {verb} now, so nothing true can be measured. Wait for the end, or pause."
        )
    model = _engine_model(snapshot, chosen)
    if model is None:
        return ""
    verdict = rule(model.size_bytes, room_of(snapshot), model.shape)
    return f"It can't be measured: it is too big. {verdict.sentence}" if verdict.fit is Fit.TOO_BIG else ""


def _engine_model(snapshot: AgentSnapshot, offered: str) -> EngineModel | None:
    """The engine's model that serves an offered name."""
    chosen = next((choice.model for choice in snapshot.chosen_quants if choice.offered == offered), offered)
    name = find_model(chosen, tuple(model.name for model in snapshot.models))
    return next((model for model in snapshot.models if model.name == name), None)
