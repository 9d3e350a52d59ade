"""`titan demo`: the whole path on this machine alone, from a signed token to streamed tokens on a real engine."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import core
from core.cli import door, output
from core.cli.ask_cmd import AnswerPrinter, answer_facts
from core.cli.output import JsonOption

if TYPE_CHECKING:
    from core.demo import DemoResult


def demo(
    model: Annotated[
        Path | None,
        typer.Option("--model", metavar="FILE.gguf", help="Your model; default: the self-test model."),
    ] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", metavar="TEXT", help="What to ask.")] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", min=1, help="The longest answer.")] = None,
    as_json: JsonOption = False,
) -> None:
    """A coordinator, the agent and a real engine on this machine alone: one prompt goes through all of it."""
    from core.demo import MAX_TOKENS, PROMPT, run_demo

    pieces: list[str] = []
    printer = AnswerPrinter(as_json=False)
    question = PROMPT if prompt is None else prompt
    if not as_json:
        typer.echo("TitanCompute demo: everything happens on this machine, and nothing is kept.\n")

    def show_step(sentence: str) -> None:
        if not as_json:
            typer.echo(f"• {output.plain(sentence)}")

    def show_text(piece: str) -> None:
        if not pieces and not as_json:
            typer.echo(f"\nQuestion: {output.plain(question)}\nAnswer:   ", nl=False)
        pieces.append(piece)
        if not as_json:
            printer.text(piece)

    try:
        result = door.run(
            run_demo(
                model_file=model,
                prompt=question,
                max_tokens=MAX_TOKENS if max_tokens is None else max_tokens,
                on_step=show_step,
                on_text=show_text,
            )
        )
    finally:
        printer.close()
    if as_json:
        output.print_json(demo_facts(result, "".join(pieces)))
    else:
        typer.echo(demo_summary(result, command_name()))


def demo_facts(result: DemoResult, answer: str) -> dict[str, object]:
    return {
        "answer": answer,
        **answer_facts(result.end),
        "engine": result.engine,
        "device": result.device,
        "agent_id": result.agent_id,
        "agent_endpoint": result.agent_endpoint,
        "coordinator": result.coordinator,
        "is_selftest_model": result.is_selftest_model,
    }


def demo_summary(result: DemoResult, titan: str) -> str:
    """The figures, what they mean, and what to do next. `titan` is how this user starts the command."""
    facts = answer_facts(result.end)
    rate, first_ms, tokens = facts["tokens_per_second"], facts["time_to_first_token_ms"], facts["completion_tokens"]
    lines = [""]
    if result.is_selftest_model:
        lines += ["(The self-test model has random weights: its text means nothing.)", ""]
    lines += [
        f"Tokens/s             {'not measured' if rate is None else f'{rate:.1f}'}",
        f"Time to first token  {'no text came' if first_ms is None else f'{first_ms:.0f} ms'}",
        f"Tokens               {'?' if tokens is None else tokens}",
        f"Engine               {result.engine}{f' on {result.device}' if result.device else ''}, model {result.model}",
        f"Path                 token from {result.coordinator}, gRPC to {result.agent_endpoint}, engine",
        "",
        "It works. What to do next:",
        f"  {titan} demo --model FILE.gguf    the same with a model of yours",
        f"  {titan} doctor                    what this machine still needs to serve",
        f"  {titan} config show               the settings: coordinator, models, limits",
        f"  {titan} run                       serve the network",
    ]
    return output.plain("\n".join(lines))


def command_name() -> str:
    """How the user can start this command again: on the path, through scripts/run of a source tree, or as it was."""
    if shutil.which("titan"):
        return "titan"
    starter = Path(core.__file__).resolve().parents[1] / "scripts" / "run"
    if starter.is_file():
        return "./scripts/run" if Path.cwd() == starter.parents[1] else str(starter)
    return sys.argv[0]
