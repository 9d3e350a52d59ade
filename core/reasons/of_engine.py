"""Sentences of the engine and its models: what is broken, and what is under way."""

from __future__ import annotations

from collections.abc import Iterable

from core.snapshot import Reason


def model_loading(name: str, *, is_check: bool = False) -> Reason:
    """Until the model has given a first real token. `is_check`: it was loaded before the machine slept."""
    what = f"Trying {name} after the machine slept" if is_check else f"Loading {name}"
    return Reason(code="model_loading", sentence=f"{what}.", icon="info", setting="preload_on_resume")


def memory_going_back() -> Reason:
    return Reason(code="memory_going_back", sentence="The model is leaving memory.", icon="memory")


def engine_attention(detail: str, hint: str) -> Reason:
    return Reason(
        code="engine_attention",
        sentence=f"The engine needs attention: {detail}",
        icon="attention",
        setting="engine",
        remedy=hint or "Start the engine again: titan retry",
    )


def engine_unreachable(detail: str, hint: str) -> Reason:
    return Reason(
        code="engine_unreachable",
        sentence=f"The engine does not answer: {detail}",
        icon="attention",
        setting="engine",
        remedy=hint or "titan doctor",
    )


def engine_resting(retry_at: float | None) -> Reason:
    """The circuit breaker is open. Doesn't block: when it may be tried again, one request is the probe."""
    return Reason(
        code="engine_resting",
        sentence="The engine failed three times in a row; the agent waits before it tries again.",
        icon="attention",
        remedy="See what is wrong: titan doctor. Try it at once: titan retry",
        ends_at=retry_at,
        blocks=False,
    )


def model_not_ready(wanted: Iterable[str], detail: str, hint: str) -> Reason:
    names = ", ".join(wanted) or "no model"
    return Reason(
        code="model_not_ready",
        sentence=f"Model not ready: {detail or f'the engine has none of the models to offer ({names})'}.",
        icon="attention",
        setting="supported_models",
        remedy=hint,
    )
