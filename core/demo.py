"""`titan demo`: a coordinator for one machine, the agent, a real llama.cpp engine, and one prompt through all of it.

Everything is thrown away afterwards: its own folder, a key of its own, nothing beyond 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from core.agent import Agent
from core.assets_path import selftest_model_path
from core.config_load import LoadedSettings, load_settings
from core.config_rules import EFFECT_SETTINGS
from core.engines.model_files import ModelFile, ModelFolder, parts_of
from core.errors import AgentError, ModelError, ModelNotFound
from core.inference_client import AnswerEnd, Grant, Question, request_token, stream_answer
from core.local_coordinator import LocalCoordinator
from core.snapshot import AgentSnapshot

PROMPT = "hello"
MAX_TOKENS = 96
CONTEXT_TOKENS = 2048
REGISTER_LIMIT_S = 20.0
ANSWER_LIMIT_S = 300.0  # an owner's big model is loaded first


class DemoFailed(AgentError):
    """A step of the demo didn't happen in time."""

    title = "The demo did not work"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What the demo measured."""

    model: str
    engine: str
    device: str
    agent_id: str
    coordinator: str
    agent_endpoint: str
    is_selftest_model: bool
    end: AnswerEnd


async def run_demo(
    *,
    model_file: Path | None = None,
    prompt: str = PROMPT,
    max_tokens: int = MAX_TOKENS,
    on_step: Callable[[str], None] = lambda sentence: None,
    on_text: Callable[[str], None] = lambda text: None,
) -> DemoResult:
    """Run the whole path once. `on_step` hears each step as a sentence, `on_text` each piece of the answer.

    Raises AgentError when a step fails; the sentence says which.
    """
    file = _checked_file(model_file)
    with tempfile.TemporaryDirectory(prefix="titan-demo-") as folder:
        on_step("Starting a coordinator for this machine only.")
        async with LocalCoordinator() as coordinator:
            loaded = _demo_settings(Path(folder), coordinator.endpoint, file)
            on_step(f"Starting the agent with the embedded engine and the model {file.name}.")
            async with Agent(loaded, allow_selftest=True) as agent:
                await _wait_registered(agent, coordinator)
                on_step(f"The agent is registered and listens on {agent.report.endpoint}. Asking for a session token.")
                question = Question(prompt=prompt, model=agent.models.offered[0], max_tokens=max_tokens)
                grant = await request_token(coordinator.endpoint, question, client_id="titan-demo")
                end = await _ask(grant, question, on_text)
                return DemoResult(
                    model=question.model,
                    engine=agent.models.engine.name,
                    device=agent.models.engine.status.device,
                    agent_id=agent.settings.agent_id,
                    coordinator=coordinator.endpoint,
                    agent_endpoint=grant.agent_endpoint,
                    is_selftest_model=model_file is None,
                    end=end,
                )


async def _ask(grant: Grant, question: Question, on_text: Callable[[str], None]) -> AnswerEnd:
    async with aclosing(stream_answer(grant, question, limit_s=ANSWER_LIMIT_S)) as pieces:
        async for piece in pieces:
            if isinstance(piece, AnswerEnd):
                return piece
            on_text(piece)
    raise AssertionError("stream_answer ends with an AnswerEnd or raises")


async def _wait_registered(agent: Agent, coordinator: LocalCoordinator) -> None:
    """Until the coordinator knows the agent; the reason that keeps it out is the error."""
    registered = asyncio.Event()

    def look(snapshot: AgentSnapshot) -> None:
        if snapshot.coordinator.link == "registered" and snapshot.coordinator.has_key:
            registered.set()

    unsubscribe = agent.store.subscribe(look)
    look(agent.store.current)
    try:
        async with asyncio.timeout(REGISTER_LIMIT_S):
            await registered.wait()
    except TimeoutError:
        reasons = agent.store.current.reasons
        why = reasons[0].sentence if reasons else f"the agent did not register within {REGISTER_LIMIT_S:g} s"
        raise DemoFailed(why, hint=reasons[0].remedy if reasons else "titan doctor") from None
    finally:
        unsubscribe()


def _demo_settings(folder: Path, coordinator: str, model: ModelFile) -> LoadedSettings:
    """Settings from nothing: the owner's own files and environment are neither read nor written."""
    return load_settings(
        environ={"TITAN_HOME": str(folder)},
        overrides={
            "agent_id": f"demo-{secrets.token_hex(3)}",
            "coordinator_endpoint": coordinator,
            "agent_port": 0,
            "public_host": "127.0.0.1",
            "engine": "embedded",
            "models_dir": _folder_of(model, folder / "model"),
            "supported_models": (model.name,),
            "max_concurrent_jobs": 1,
            "context_tokens": CONTEXT_TOKENS,
            **dict.fromkeys(EFFECT_SETTINGS, "off"),  # the owner asked for it, whatever else the machine does
        },
    )


def _folder_of(model: ModelFile, folder: Path) -> Path:
    """A folder with this model alone, as links: what lies beside and below its own, a whole home, isn't looked at."""
    folder.mkdir()
    try:
        for part in parts_of(model.path):
            (folder / part.name).symlink_to(part)
    except OSError:  # Windows, without the right to make links
        return model.path.parent
    return folder


def _checked_file(model_file: Path | None) -> ModelFile:
    """Raises ModelNotFound, ModelError."""
    path = selftest_model_path() if model_file is None else model_file.expanduser().absolute()
    if not path.is_file():
        raise ModelNotFound(f"there is no file {path}", hint="Name a GGUF file: titan demo --model FILE.gguf")
    found = ModelFolder(None, parts_of(path)).scan()
    if not found.models:
        why = found.damaged[0].problem if found.damaged else "it is no language model"
        raise ModelError(f"{path} is no model that can answer: {why}", hint="Download the file again, or take another.")
    return found.models[0]
