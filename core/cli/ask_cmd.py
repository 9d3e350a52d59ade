"""`titan ask`: ask a coordinator for a token as a client would, and stream the agent's answer to stdout."""

from __future__ import annotations

import contextlib
import sys
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.cli import door, output
from core.cli.output import JsonOption, ProfileOption
from core.errors import ControlError, RequestError

if TYPE_CHECKING:
    from core.config import Settings
    from core.inference_client import AnswerEnd, Question, TlsChoice

CLIENT_ID = "titan-ask"


def ask(
    prompt: Annotated[str, typer.Argument(help="What to ask; - reads it from standard input.")],
    coordinator: Annotated[
        str | None, typer.Option("--coordinator", metavar="HOST:PORT", help="Default: the settings' coordinator.")
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", metavar="NAME", help="Default: the first offered here.")] = "",
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=0, help="0 leaves it to the agent.")] = 0,
    temperature: Annotated[float, typer.Option("--temperature", min=0.0, max=2.0)] = 0.7,
    tls: Annotated[bool, typer.Option("--tls", help="Speak TLS with the coordinator.")] = False,
    ca: Annotated[Path | None, typer.Option("--ca", metavar="FILE", help="The coordinator's authority, PEM.")] = None,
    agent_ca: Annotated[
        Path | None, typer.Option("--agent-ca", metavar="FILE", help="Speak TLS with the agent, trusting this PEM.")
    ] = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the network a question and print the answer as it comes. Figures go to stderr."""
    from core.inference_client import Question, TlsChoice

    text = sys.stdin.read() if prompt == "-" else prompt
    if not text.strip():
        raise RequestError("there is nothing to ask: the prompt is empty", hint='titan ask "Why is it dark?"')
    endpoint, to_coordinator = coordinator, TlsChoice(enabled=tls or ca is not None, ca_path=ca)
    if endpoint is None:
        settings = _settings(profile)
        endpoint = settings.coordinator_endpoint
        if not to_coordinator.enabled:
            to_coordinator = TlsChoice(enabled=settings.coordinator_tls, ca_path=settings.coordinator_ca)
    wanted = model or _usual_model(profile)
    question = Question(prompt=text, model=wanted, max_tokens=max_tokens, temperature=temperature)
    to_agent = TlsChoice(enabled=agent_ca is not None, ca_path=agent_ca)
    door.run(_ask(endpoint, question, to_coordinator, to_agent, as_json))


def _settings(profile: str | None) -> Settings:
    from core.config_load import load_settings

    return load_settings(overrides={"profile": profile}).settings


def _usual_model(profile: str | None) -> str:
    """Coordinators insist on a model: the first that this machine's agent offers, else that its settings name."""
    with contextlib.suppress(ControlError):
        offered = door.fetch_snapshot(profile)["offered_models"]
        if offered:
            return str(offered[0])
    return next(iter(_settings(profile).supported_models), "")


async def _ask(
    endpoint: str, question: Question, to_coordinator: TlsChoice, to_agent: TlsChoice, as_json: bool
) -> None:
    from core.inference_client import AnswerEnd, request_token, stream_answer

    grant = await request_token(endpoint, question, client_id=CLIENT_ID, tls=to_coordinator)
    printer = AnswerPrinter(as_json=as_json)
    try:
        async with aclosing(stream_answer(grant, question, tls=to_agent)) as pieces:
            async for piece in pieces:
                if isinstance(piece, AnswerEnd):
                    printer.end(piece, agent_id=grant.agent_id, agent_endpoint=grant.agent_endpoint)
                else:
                    printer.text(piece)
    finally:
        printer.close()


class AnswerPrinter:
    """Write an answer's pieces as they come: raw into a pipe, without control characters to a terminal."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._is_terminal = output.stdout_is_terminal()
        self._is_line_open = False

    def text(self, piece: str) -> None:
        if self._as_json:
            output.print_json({"text": piece})
        else:
            typer.echo(output.plain(piece) if self._is_terminal else piece, nl=False)
            self._is_line_open = not piece.endswith("\n")
        sys.stdout.flush()

    def end(self, end: AnswerEnd, **facts: str) -> None:
        self.close()
        if self._as_json:
            output.print_json({"done": True, **answer_facts(end), **facts})
        else:
            typer.echo(answer_summary(end), err=True)

    def close(self) -> None:
        """End the answer's last line, also when it broke off."""
        if self._is_line_open:
            typer.echo()
            self._is_line_open = False


def answer_facts(end: AnswerEnd) -> dict[str, Any]:
    """The figures of an answer, as numbers; None where the agent didn't say."""
    first_ms = end.time_to_first_token_ms
    return {
        "model": end.metadata.get("model", ""),
        "engine": end.metadata.get("engine", ""),
        "finish_reason": end.metadata.get("finish_reason", ""),
        "prompt_tokens": _whole(end.number("prompt_tokens")),
        "completion_tokens": _whole(end.number("completion_tokens")),
        "tokens_per_second": end.number("tokens_per_second"),
        "time_to_first_token_ms": None if first_ms is None else round(first_ms, 3),
        "seconds": round(end.seconds, 3),
    }


def answer_summary(end: AnswerEnd) -> str:
    """One line: "llama3.1 (ollama): 42 tokens, 31.2 tokens/s, first after 120 ms, 1.4 s in all, ended by stop"."""
    facts = answer_facts(end)
    tokens = facts["completion_tokens"]
    engine = f" ({facts['engine']})" if facts["engine"] else ""
    parts = [f"{facts['model'] or 'the model'}{engine}: {'?' if tokens is None else tokens} tokens"]
    if facts["tokens_per_second"] is not None:
        parts.append(f"{facts['tokens_per_second']:.1f} tokens/s")
    if facts["time_to_first_token_ms"] is not None:
        parts.append(f"first after {facts['time_to_first_token_ms']:.0f} ms")
    parts.append(f"{end.seconds:.1f} s in all")
    if facts["finish_reason"]:
        parts.append(f"ended by {facts['finish_reason']}")
    return output.plain(", ".join(parts))


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
