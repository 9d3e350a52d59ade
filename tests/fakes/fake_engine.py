"""An engine under a test's control. It keeps the contract of core.engines.Engine and records what was asked of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

from core.engines import EngineModel, EngineStatus, LoadedModel, Prompt, TokenChunk
from core.errors import AgentError, ModelNotFound

# One step of an answer: a piece to yield, an error to raise, or an event to wait for.
Step = TokenChunk | BaseException | asyncio.Event


def pieces_of(*texts: str) -> list[Step]:
    """One token per text, and the last piece that every answer needs."""
    last = TokenChunk(done=True, finish_reason="stop", prompt_tokens=7, completion_tokens=len(texts))
    return [*(TokenChunk(text=text, tokens=1) for text in texts), last]


class FakeEngine:
    """Answers every prompt with `script`, or with what `script_for(prompt)` gives.

    `high_water` is the most streams that were ever open at once; a stream is open from its first step until its
    clean-up is over. With `closing` set, the clean-up waits for that event, as a slow engine's would.
    """

    def __init__(
        self, script: Iterable[Step] | None = None, *, name: str = "fake", models: Sequence[str] = ("tiny:latest",)
    ) -> None:
        self.name = name
        self.status = EngineStatus(state="ready", device="CPU (fake)", version="1")
        self.serves_one_model = False
        self.script: list[Step] = pieces_of("Hel", "lo") if script is None else list(script)
        self.script_for: Callable[[Prompt], Iterable[Step]] | None = None
        self.models = [EngineModel(name=model) for model in models]
        self.loaded: list[LoadedModel] = []
        self.fault: AgentError | None = None  # raised by every call but `stream` and `close`
        self.load_fault: AgentError | None = None
        self.check_fault: AgentError | None = None
        self.start_gate: asyncio.Event | None = None
        self.closing: asyncio.Event | None = None
        self.prompts: list[Prompt] = []
        self.calls: list[str] = []
        self.open_streams = 0
        self.high_water = 0
        self.closed_streams = 0
        self.cancelled_streams = 0
        self._changed = asyncio.Condition()

    async def start(self) -> None:
        self._call("start")
        if self.start_gate is not None:
            await self.start_gate.wait()

    async def close(self) -> None:
        self.calls.append("close")

    async def check(self) -> None:
        self._call("check")
        if self.check_fault is not None:
            raise self.check_fault

    async def list_models(self) -> tuple[EngineModel, ...]:
        self._call("list_models")
        return tuple(self.models)

    async def loaded_models(self) -> tuple[LoadedModel, ...]:
        self._call("loaded_models")
        return tuple(self.loaded)

    async def load(self, model: str) -> LoadedModel:
        self._call("load")
        if self.load_fault is not None:
            raise self.load_fault
        if model not in [known.name for known in self.models]:
            raise ModelNotFound(f"there is no model {model}")
        loaded = LoadedModel(name=model, total_mb=100, vram_mb=0)
        self.loaded = [*(other for other in self.loaded if other.name != model), loaded]
        return loaded

    async def unload(self, model: str) -> None:
        self._call("unload")
        self.loaded = [other for other in self.loaded if other.name != model]

    async def stream(self, prompt: Prompt) -> AsyncGenerator[TokenChunk, None]:
        self.prompts.append(prompt)
        self.open_streams += 1
        self.high_water = max(self.high_water, self.open_streams)
        await self._tell()
        try:
            for step in self.script_for(prompt) if self.script_for else self.script:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, BaseException):
                    raise step
                else:
                    yield step
        except asyncio.CancelledError:
            self.cancelled_streams += 1
            raise
        finally:
            if self.closing is not None:
                await self.closing.wait()
            self.open_streams -= 1
            self.closed_streams += 1
            await self._tell()

    async def wait_open(self, streams: int) -> None:
        """Until exactly that many streams are open at once."""
        await self._wait(lambda: self.open_streams == streams)

    async def wait_closed(self, streams: int) -> None:
        """Until at least that many streams have been closed, all in all."""
        await self._wait(lambda: self.closed_streams >= streams)

    async def wait_asked(self, prompts: int) -> None:
        """Until the engine has got at least that many prompts, all in all."""
        await self._wait(lambda: len(self.prompts) >= prompts)

    async def _wait(self, is_true: Callable[[], bool]) -> None:
        async with asyncio.timeout(20), self._changed:  # a bound, so that a failing test says where
            await self._changed.wait_for(is_true)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.fault is not None:
            raise self.fault
