"""Checks of everything that serving needs, each with its remedy: run side by side, each with its own time limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.errors import AgentError, ConfigError
from core.logs import get_logger

log = get_logger(__name__)


class Verdict(StrEnum):
    OK = "ok"
    NOTE = "note"  # good to know; nothing is wrong
    WARNING = "warning"  # serving works, with a drawback
    BROKEN = "broken"  # serving does not work
    SKIPPED = "skipped"  # could not be checked, because something before it is broken


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found, in one sentence, and what to do about it."""

    verdict: Verdict
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at. `look` raises AgentError where it is broken; `remedy` is for a look without an end."""

    name: str
    look: Callable[[], Awaitable[Finding]]
    limit_s: float = 10.0
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One check's outcome."""

    name: str
    verdict: Verdict
    detail: str
    remedy: str
    seconds: float


def ok(detail: str) -> Finding:
    return Finding(Verdict.OK, detail)


def note(detail: str, remedy: str = "") -> Finding:
    return Finding(Verdict.NOTE, detail, remedy)


def warning(detail: str, remedy: str) -> Finding:
    return Finding(Verdict.WARNING, detail, remedy)


def broken(detail: str, remedy: str) -> Finding:
    return Finding(Verdict.BROKEN, detail, remedy)


def skipped(detail: str) -> Finding:
    return Finding(Verdict.SKIPPED, detail)


async def examine(
    checks: Sequence[Check], on_report: Callable[[Report], None] = lambda report: None
) -> tuple[Report, ...]:
    """Run all checks at once. `on_report` hears them in their order, each as soon as those before it are done."""
    running = [asyncio.create_task(_examine_one(check), name=f"doctor {check.name}") for check in checks]
    try:
        reports = []
        for task in running:
            reports.append(await task)
            on_report(reports[-1])
        return tuple(reports)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def is_healthy(reports: Sequence[Report]) -> bool:
    return all(report.verdict is not Verdict.BROKEN for report in reports)


async def _examine_one(check: Check) -> Report:
    began = time.monotonic()
    finding = await _look(check)
    return Report(
        name=check.name,
        verdict=finding.verdict,
        detail=finding.detail,
        remedy=finding.remedy,
        seconds=round(time.monotonic() - began, 3),
    )


async def _look(check: Check) -> Finding:
    try:
        async with asyncio.timeout(check.limit_s):
            return await check.look()
    except TimeoutError:
        return broken(f"no answer within {check.limit_s:g} s", check.remedy)
    except ConfigError as error:
        return broken("; ".join(error.problems), error.hint)
    except AgentError as error:
        return broken(error.detail, error.hint or check.remedy)
    except Exception as error:  # the task edge: one check's bug must not hide the other checks
        log.exception("doctor check failed", check=check.name)
        return Finding(Verdict.WARNING, f"this check itself failed ({type(error).__name__})", "Report it, please.")
