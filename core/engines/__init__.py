"""What the agent asks of a local engine: one small protocol, three implementations beside it.

`ollama.py`, `openai.py` and `embedded.py` implement `Engine`; `options.py` owns the client's sampling options;
`names.py` compares model names. One contract test (tests/core/test_engine_contract.py) runs over all of them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Protocol

from core.engines.options import SamplingOptions
from core.model_shape import ModelShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One request to an engine: one user message, rendered by the model's own chat template."""

    model: str  # a name that `Engine.list_models` gave
    text: str
    max_tokens: int  # ≥ 1; "0 = default" is already resolved
    temperature: float = 0.0
    options: SamplingOptions = field(default_factory=SamplingOptions)  # validated; never host-level options


@dataclass(frozen=True, slots=True)
class TokenChunk:
    """A piece of an answer: everything that had arrived when the engine's socket was read.

    A piece may hold several tokens; reasoning tokens are counted and are activity, but their text is never content.
    """

    text: str = ""
    tokens: int = 0  # tokens that this piece covers, reasoning included
    done: bool = False
    finish_reason: str = ""  # on the last piece: "stop" or "length"
    prompt_tokens: int | None = None  # on the last piece; None when the engine doesn't say
    completion_tokens: int | None = None  # on the last piece, the engine's own count; None when it doesn't say


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineModel:
    """A model that the engine has on this machine."""

    name: str
    size_bytes: int | None = None  # of the file(s); None means "the engine doesn't say"
    quant: str = ""  # "Q4_K_M"; "" when unknown
    context_tokens: int | None = None  # the model's trained maximum; None when unknown
    is_selftest: bool = False  # the shipped random-weights model: never offered to strangers
    shape: ModelShape | None = None  # what its memory is computed from; None when the engine doesn't say


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model that is in memory now."""

    name: str
    total_mb: int | None = None  # None: the engine doesn't say
    vram_mb: int | None = None  # 0 = wholly in RAM; None: unknown
    context_tokens: int | None = None  # per session
    sessions: int | None = None  # that it has room for at once; None: the engine doesn't say
    note: str = ""  # why it is less than wanted, one sentence
    is_owners: bool = False  # the owner's own work brought it into a shared engine: it isn't ours to unload


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenQuant:
    """What is served under a name that several files would do for."""

    offered: str  # the owner's name
    model: str  # the engine's
    reason: str  # why not a better one, or why this one


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingModel:
    """One of the owner's names for which the engine has nothing (core/missing_models.py)."""

    name: str  # as the owner offers it
    pull_name: str = ""  # what to download; "": nobody knows where it is, or this engine downloads nothing
    size_bytes: int | None = None  # about, by its name; None: the name doesn't tell
    gone_file: str = ""  # the file that the owner's table names for it, and that isn't there


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """How the engine itself is, for snapshots and `titan doctor`."""

    state: str = "stopped"  # "stopped" | "starting" | "ready" | "fault" | "attention"
    detail: str = ""  # one sentence, when not ready
    hint: str = ""  # what to do next, when not ready
    device: str = ""  # the device that it really uses, "" while unknown
    version: str = ""
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class PullProgress:
    """How far a download is. Bytes of what the status names; None while nobody says."""

    status: str
    completed_bytes: int | None = None
    total_bytes: int | None = None


class Engine(Protocol):
    """One local engine. `stream` is an async generator: cancelling the task that iterates it ends the engine's work.

    Iterate it inside `contextlib.aclosing(...)`. Within 100 ms of the cancel the engine works no more on that prompt.
    Every method raises only AgentError subclasses (EngineError, ModelError, RequestError); aiohttp, OSError and JSON
    errors are translated inside. What `stream` raises holds no text of the prompt, of the answer, or of the engine's
    own error, which may quote either: only our sentences (core/engines/engine_errors.py). An answer that ends without a
    `done` piece never happens: it raises EngineFailed.
    Timeouts between tokens are the caller's (core/sessions.py); an engine enforces only its own connect limit.
    """

    @property
    def name(self) -> str:
        """ "ollama", "openai" or "embedded"."""
        ...

    @property
    def status(self) -> EngineStatus: ...

    async def start(self) -> None:
        """Reach the engine (or start the child). Raises EngineError; may be called again after a failure."""
        ...

    async def close(self) -> None:
        """Release everything that `start` took; ends the child that we started, and only that."""
        ...

    async def check(self) -> None:
        """A cheap liveness call. Raises EngineError when the engine doesn't answer within 5 s."""
        ...

    async def list_models(self) -> tuple[EngineModel, ...]: ...

    async def loaded_models(self) -> tuple[LoadedModel, ...]: ...

    async def load(self, model: str) -> LoadedModel:
        """Bring the model into memory without generating. Raises ModelError or EngineError."""
        ...

    async def unload(self, model: str) -> None:
        """Give the model's memory back. A model that isn't loaded is no error; one that is the owner's stays."""
        ...

    def stream(self, prompt: Prompt) -> AsyncGenerator[TokenChunk, None]:
        """Answer one prompt. Raises PromptTooLong before any piece when the prompt doesn't fit the context."""
        ...


EngineFactory = Callable[[], Engine]
