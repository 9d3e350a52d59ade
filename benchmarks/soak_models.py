"""Load random models with random contexts, sessions and budgets in the real embedded engine: nothing may be killed.

Run: scripts/soak-models (see --help). Each trial is a process of its own, in a memory cgroup of its own where that can
be made (version 1, as root): the budget is then a hard limit, and the system's count of out-of-memory kills is read. A
trial's number is its seed, and a file of results makes a run resumable.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from core.engines import Prompt
from core.engines.embedded import EmbeddedEngine
from core.errors import AgentError, NotEnoughMemory
from core.gguf_reader import open_local, read_metadata
from core.memory_need import embedded_plan, memory_need
from core.model_shape import shape_of
from tests.fakes.gguf_models import TinyModel, write_model

ROOT = Path(__file__).resolve().parent.parent
MIB = 1 << 20
LARGEST_MB = 2000
# Beside the engine's child a trial has this process: Python, the agent's modules, gguf and numpy.
HARNESS_MB = 160
CGROUP = Path("/sys/fs/cgroup/memory")
QUANTS = {"F16": 16.0, "Q8_0": 8.5, "Q6_K": 6.5625, "Q5_K": 5.5, "Q4_K": 4.5, "Q3_K": 3.4375, "Q2_K": 2.625}
TRIAL_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What is tried. `budget_share` is of what the load as wanted would need."""

    number: int
    model: TinyModel
    sessions: int
    context_tokens: int
    budget_share: float


def trial_of(number: int, largest_mb: float = LARGEST_MB) -> Trial:
    """The trial of that number; the same on every machine."""
    draw = random.Random(number)
    wanted_mb = draw.uniform(*_log_bounds(largest_mb))
    while True:
        architecture, quant = draw.choice(("llama", "qwen2", "qwen3")), draw.choice(list(QUANTS))
        heads, head_width = draw.choice((4, 8, 12, 16, 24)), draw.choice((64, 128))
        width = draw.choice((256, 512, 768, 1024, 1536, 2048)) if architecture == "qwen3" else heads * head_width
        model = TinyModel(
            name=f"trial-{number}",
            architecture=architecture,
            quant=quant,
            blocks=draw.randint(2, 32),
            width=width,
            feed_forward=256 * draw.randint(2, 24),
            heads=heads,
            kv_heads=draw.choice([count for count in (1, 2, 4, 8, heads) if heads % count == 0]),
            head_width=head_width,
            vocabulary=draw.choice((1024, 8192, 32000, 64000, 128256)),
            context=draw.choice((2048, 8192, 32768)),
            has_output=draw.random() < 0.5,
        )
        if 0.7 <= _size_mb(model) / 2**wanted_mb <= 1.4 and _size_mb(model) <= largest_mb:
            break
    return Trial(
        number=number,
        model=model,
        sessions=draw.randint(1, 8),
        context_tokens=draw.choice((512, 1024, 2048, 4096, 8192, 16384)),
        budget_share=draw.uniform(0.3, 1.6),
    )


def _log_bounds(largest_mb: float) -> tuple[float, float]:
    """Sizes are spread evenly over their logarithm to the base 2."""
    return math.log2(8), math.log2(largest_mb)


def _size_mb(model: TinyModel) -> float:
    attention = model.width * model.head_width * (2 * model.heads + 2 * model.kv_heads)
    weights = model.blocks * (attention + 3 * model.width * model.feed_forward)
    weights += model.vocabulary * model.width * (2 if model.has_output else 1)
    return weights * QUANTS[model.quant] / 8 / MIB


async def run_trial(trial: Trial, folder: Path) -> dict[str, Any]:
    """Load the trial's model within its budget and serve one short answer per session at once.

    The result's "outcome": "as wanted", "stepped down", "refused" (with its numbers), or "failed" with an error, which
    never should be. `peak_mb` is the child's private memory at its highest, as far as the system says it.
    """
    path = folder / f"{trial.model.name}.gguf"
    await asyncio.to_thread(write_model, path, trial.model)
    try:
        need_mb, budget_mb = _need_mb(path, trial), budget_of(path, trial)
        engine = EmbeddedEngine(
            folder,
            context_tokens=trial.context_tokens,
            slots=trial.sessions,
            free_ram_mb=lambda own_mb: budget_mb,
            threads=1,
        )
        result: dict[str, Any] = {
            "trial": trial.number,
            "size_mb": path.stat().st_size // MIB,
            "need_mb": need_mb,
            "budget_mb": budget_mb,
        }
        try:
            return {**result, **await _serve(engine, trial)}
        finally:
            await engine.close()
    finally:
        path.unlink()


async def _serve(engine: EmbeddedEngine, trial: Trial) -> dict[str, Any]:
    await engine.start()
    try:
        loaded = await engine.load(trial.model.name)
        prompt = Prompt(model=trial.model.name, text="word " * 40, max_tokens=16)
        sessions = loaded.sessions or 1
        tokens = await asyncio.gather(*(_tokens(engine, prompt) for _ in range(sessions)))
    except NotEnoughMemory as error:
        return {"outcome": "refused", "detail": error.detail}
    except AgentError as error:
        return {"outcome": "failed", "detail": f"{type(error).__name__}: {error.detail}"}
    is_less = sessions < trial.sessions or (loaded.context_tokens or 0) < min(trial.context_tokens, trial.model.context)
    return {
        "outcome": "stepped down" if is_less else "as wanted",
        "sessions": sessions,
        "context_tokens": loaded.context_tokens,
        "planned_mb": loaded.total_mb,
        "peak_mb": _private_mb(engine.worker_pid),
        "tokens": sum(tokens),
        "restarts": engine.status.restarts,
    }


async def _tokens(engine: EmbeddedEngine, prompt: Prompt) -> int:
    count = 0
    async with aclosing(engine.stream(prompt)) as chunks:
        async for chunk in chunks:
            count += chunk.tokens
    return count


def _private_mb(pid: int | None) -> int | None:
    """What the child holds beside file cache, MiB: the mapped weights can be dropped by the system at any time."""
    if pid is None:
        return None
    memory = psutil.Process(pid).memory_info()
    return int(memory.rss - getattr(memory, "shared", 0)) // MIB


def _need_mb(path: Path, trial: Trial) -> int:
    with open_local(path) as source:
        shape = shape_of(read_metadata(source))
    assert shape is not None, "a generated model has a shape"
    context = min(trial.context_tokens, trial.model.context)
    plan = embedded_plan(sessions=trial.sessions, context_tokens=context, batch_tokens=32)
    return memory_need(shape, path.stat().st_size, plan).total_mb


def budget_of(path: Path, trial: Trial) -> int:
    """MiB that the engine may use in this trial."""
    return int(_need_mb(path, trial) * trial.budget_share)


@contextmanager
def memory_limit(name: str, limit_mb: int) -> Iterator[Path | None]:
    """A cgroup that holds at most so much; None where none can be made."""
    group = CGROUP / f"titan-soak-{os.getpid()}-{name}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(limit_mb * MIB))
    except OSError:
        if group.exists():
            group.rmdir()
        yield None
        return
    try:
        yield group
    finally:
        group.rmdir()


def oom_kills(group: Path | None) -> int:
    """How often the system killed something in there for want of memory."""
    if group is None:
        return 0
    fields = dict(line.split() for line in (group / "memory.oom_control").read_text().splitlines())
    return int(fields.get("oom_kill", 0))


def run_limited(number: int, largest_mb: float) -> dict[str, Any]:
    """One trial in a process of its own, under its budget as a hard limit where that can be had."""
    trial = trial_of(number, largest_mb)
    # The budget isn't known before the file is written, and writing needs memory too: the trial asks for its limit.
    with memory_limit(str(number), 4 * LARGEST_MB) as group:
        command = [sys.executable, "-m", "benchmarks.soak_models", "--one", str(number), "--largest", str(largest_mb)]
        if group is not None:
            command += ["--group", str(group)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TRIAL_LIMIT_S, check=False)
        lines = done.stdout.splitlines()
        result: dict[str, Any] = json.loads(lines[-1]) if lines and done.returncode == 0 else {}
        if not result:
            result = {
                "trial": trial.number,
                "outcome": "failed",
                "detail": f"rc {done.returncode}: {done.stderr[-300:]}",
            }
        return {**result, "oom_kills": oom_kills(group), "is_limited": group is not None}


def _one(number: int, largest_mb: float, group: Path | None) -> None:
    """The trial's process: under the limit from the moment that the engine's child can start."""
    trial = trial_of(number, largest_mb)
    with tempfile.TemporaryDirectory(prefix="titan-soak-") as folder:
        if group is not None:
            (group / "cgroup.procs").write_text(str(os.getpid()))
            path = Path(folder) / f"{trial.model.name}.gguf"
            write_model(path, trial.model)
            limit_mb = budget_of(path, trial) + HARNESS_MB
            (group / "memory.force_empty").write_text("0")  # what writing the file left as cache
            (group / "memory.limit_in_bytes").write_text(str(limit_mb * MIB))
        print(json.dumps(asyncio.run(run_trial(trial, Path(folder)))))


def summary(results: list[dict[str, Any]]) -> str:
    """Counts, and how the plan compares with what was really held."""
    outcomes = Counter(result["outcome"] for result in results)
    over = [
        result["peak_mb"] / result["budget_mb"] for result in results if result.get("peak_mb") and result["budget_mb"]
    ]
    lines = [
        f"{len(results)} trials: " + ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())),
        f"killed for want of memory: {sum(result['oom_kills'] for result in results)}",
        f"under a hard limit: {sum(result['is_limited'] for result in results)}",
        f"engine restarts: {sum(result.get('restarts', 0) for result in results)}",
    ]
    if over:
        lines.append(f"private memory of the engine over its budget, highest: {max(over):.2f}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak-models", description=__doc__)
    parser.add_argument("--trials", type=int, default=200, help="how many, from trial 0 on")
    parser.add_argument("--largest", type=float, default=LARGEST_MB, metavar="MB", help="largest model")
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "soak.jsonl", help="kept and gone on with")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--group", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        _one(arguments.one, arguments.largest, arguments.group)
        return 0
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    results = _read(arguments.results)
    done = {result["trial"] for result in results}
    for number in (number for number in range(arguments.trials) if number not in done):
        result = run_limited(number, arguments.largest)
        results.append(result)
        with arguments.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
        print(json.dumps(result), flush=True)
    results = [result for result in results if result["trial"] < arguments.trials]
    print(summary(results))
    return 1 if any(result["oom_kills"] or result["outcome"] == "failed" for result in results) else 0


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


if __name__ == "__main__":
    raise SystemExit(main())
