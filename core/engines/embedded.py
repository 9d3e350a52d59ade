"""The engine that needs no other program: llama.cpp in a supervised child, spoken to as any OpenAI-compatible server.

One model is in memory at a time. Ending the child gives all of its memory back; its crash is not ours.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import random
import secrets
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from core.engines import EngineModel, EngineStatus, LoadedModel, Prompt, TokenChunk
from core.engines.cpu_features import missing_cpu_features
from core.engines.liveness import LivenessCheck
from core.engines.load_planner import LoadPlanner
from core.engines.model_files import ModelFile, ModelFolder, ModelInventory
from core.engines.names import find_model
from core.engines.supervisor import EngineSupervisor, RunningModel
from core.engines.worker_launch import WorkerRequest, launch_worker
from core.engines.worker_process import Launch, LogLine, WorkerProcess
from core.errors import EngineError, EngineFailed, EngineTimeout, EngineUnreachable, ModelNotFound
from core.host_meter import held_mb

_EXIT_NOTICE_S = 0.5  # a broken connection and the end of the child behind it are seen within this of each other


class ServerClient(Protocol):
    """What is used of core.engines.openai.OpenAIEngine."""

    def stream(self, prompt: Prompt) -> AsyncGenerator[TokenChunk, None]: ...

    async def close(self) -> None: ...


OpenClient = Callable[[str, str], ServerClient]  # (base URL, API key)


def find_engine_folder() -> str | None:
    """The folder that holds the xllamacpp package, without importing it; None when it isn't installed."""
    spec = importlib.util.find_spec("xllamacpp")
    return str(Path(spec.origin).parent.parent) if spec is not None and spec.origin else None


def automatic_threads() -> int:
    """The physical cores that we may use, less one for the owner; at least 1."""
    import psutil

    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 2
    if sys.platform == "linux":
        cores = min(cores, len(os.sched_getaffinity(0)))  # a container may have fewer than the machine
    return max(1, cores - 1)


def available_ram_mb(own_mb: int) -> int:
    import psutil

    return (int(psutil.virtual_memory().available) >> 20) + own_mb


class EmbeddedEngine:
    """`Engine` on llama.cpp in a child. `start` checks that the child can run; a model is loaded when it is needed."""

    name = "embedded"
    serves_one_model = True  # another model would end the sessions of the one in memory

    def __init__(
        self,
        models_dir: Path | None,
        *,
        extra_model_files: Sequence[Path] = (),
        context_tokens: int = 4096,
        slots: int = 4,
        threads: int = 0,
        niceness: int = 10,
        load_limit_s: float = 120.0,
        on_log: LogLine = lambda line: None,
        launch: Launch = launch_worker,
        open_client: OpenClient | None = None,
        find_engine: Callable[[], str | None] = find_engine_folder,
        free_ram_mb: Callable[[int], int] = available_ram_mb,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`context_tokens` is per session and `slots` the sessions at once (max_concurrent_jobs), both at most: less
        where memory is short. `free_ram_mb` says what models may take, MiB, once so much that we hold is back.
        `threads` 0 leaves one physical core to the owner; `niceness` is 0 to 19. `draw` gives uniform numbers in [0, 1)
        for the back-off.
        """
        self._folder = ModelFolder(models_dir, extra_model_files)
        self._planner = LoadPlanner(sessions=slots, context_tokens=context_tokens, room_mb=free_ram_mb, on_log=on_log)
        self._threads, self._niceness, self._load_limit_s = threads, niceness, load_limit_s
        self._on_log, self._launch = on_log, launch
        self._open_client = open_client or _open_openai_client
        self._find_engine = find_engine
        self._engine_folder: str | None = None
        self._inventory = ModelInventory()
        self._client: tuple[RunningModel, ServerClient] | None = None
        self._liveness = LivenessCheck()
        self._supervisor = EngineSupervisor(
            self._start_worker, load_limit_s=load_limit_s, sleep=sleep, draw=draw, step_down=self._planner.step_down
        )
        self._problem: EngineError | None = None  # why `start` failed
        self._is_started = False

    @property
    def status(self) -> EngineStatus:
        state: str = "ready"
        problem: EngineError | None = self._problem or self._supervisor.failure
        if self._supervisor.needs_attention:
            state, problem = "attention", self._supervisor.attention()
        elif problem is not None:
            state = "fault"
        elif self._supervisor.is_starting:
            state = "starting"
        elif not self._is_started:
            state = "stopped"
        facts = self._supervisor.last_ready
        return EngineStatus(
            state=state,
            detail=problem.detail if problem else "",
            hint=problem.hint if problem else "",
            device=facts.device if facts else "",
            version=facts.version if facts else "",
            restarts=self._supervisor.restarts,
        )

    @property
    def inventory(self) -> ModelInventory:
        """What the last look at the model folder found, damaged files included."""
        return self._inventory

    @property
    def least_mb(self) -> int | None:
        """What the model that was loaded last takes with one session and least context, MiB; None before the first."""
        return self._planner.least_mb

    @property
    def process(self) -> WorkerProcess | None:
        """The child, loading or serving: its process id and its last log lines."""
        return self._supervisor.process

    @property
    def worker_pid(self) -> int | None:
        """The child's process id, so that its memory and processor time count as ours."""
        process = self._supervisor.process
        return process.pid if process is not None else None

    async def start(self) -> None:
        """Check that a child could run here; nothing is loaded. Clears "needs attention": the owner acted."""
        self._supervisor.forget_failures()
        self._is_started, self._problem = False, None
        self._engine_folder = self._find_engine()
        missing = missing_cpu_features()
        if self._engine_folder is None:
            self._problem = EngineUnreachable(
                "the embedded engine is not installed (no package xllamacpp)",
                hint='Use Ollama, or install it: pip install "titancompute-agent[embedded]"',
            )
        elif missing:
            self._problem = EngineUnreachable(
                f"this processor lacks {', '.join(missing)}, which the embedded engine needs",
                hint="Use Ollama: it has builds for older processors (set engine to ollama).",
            )
        if self._problem is not None:
            raise self._problem
        await self._scan()
        self._is_started = True

    async def close(self) -> None:
        self._is_started = False
        await self._supervisor.unload()
        await self._drop_client()

    async def check(self) -> None:
        """Ask the child. One that neither answers in 5 s nor works is ended and started again; with nothing loaded
        there is nothing to ask."""
        if self._problem is not None:
            raise self._problem
        self._supervisor.raise_if_attention()
        if (running := self._supervisor.running) is None:
            return
        try:
            is_working = await self._liveness.is_working(running, _base_url(running))
        except EngineError as error:
            raise await _explain(running, error) from error
        if not is_working:
            await self._supervisor.fail(running, "it no longer answered")
            raise EngineFailed(
                "the embedded engine no longer answered and was ended", hint="It is started again by itself."
            )
        if not running.users and self._planner.can_step_up(running.file, held_mb(running.process.pid)):
            self._on_log(f"{running.file.name} is loaded again: there is room for more sessions or context now")
            await self._supervisor.start_anew(running)

    async def list_models(self) -> tuple[EngineModel, ...]:
        """The whole models on disk now. A damaged file isn't listed; `inventory` and the log say why."""
        await self._scan()
        return tuple(
            EngineModel(
                name=model.name,
                size_bytes=model.size_bytes,
                quant=model.quant,
                context_tokens=model.context_tokens,
                is_selftest=model.is_selftest,
                shape=model.shape,
            )
            for model in self._inventory.models
        )

    async def loaded_models(self) -> tuple[LoadedModel, ...]:
        running = self._supervisor.running
        return () if running is None else (self._loaded(running.file),)

    @property
    def in_the_making(self) -> tuple[str, ...]:
        """The model on its way into memory: a load goes on when whoever asked for it is gone, and after a crash one
        begins by itself.
        """
        file = self._supervisor.current_file
        return (file.name,) if file is not None and self._supervisor.is_starting else ()

    def holds(self, model: str) -> bool:
        """Whether it is in memory now, ready to answer."""
        running = self._supervisor.running
        return running is not None and find_model(model, [running.file.name]) is not None

    async def load(self, model: str) -> LoadedModel:
        file = await self._find(model)
        async with self._supervisor.use(file):
            return self._loaded(file)

    async def unload(self, model: str) -> None:
        """End the child at once if it holds this model; its memory is back on return. Streams on it fail."""
        current = self._supervisor.current_file
        if current is not None and find_model(model, [current.name]):
            await self._supervisor.unload()
            await self._drop_client()

    async def stream(self, prompt: Prompt) -> AsyncGenerator[TokenChunk, None]:
        file = await self._find(prompt.model)
        async with self._supervisor.use(file) as running:
            client = await self._client_of(running)
            try:
                async with aclosing(client.stream(replace(prompt, model=file.name))) as chunks:
                    async for chunk in chunks:
                        if chunk.done:
                            self._supervisor.forget_failures()
                        yield chunk
            except EngineError as error:
                raise await _explain(running, error) from error

    async def _scan(self) -> None:
        before = {damaged.path: damaged.problem for damaged in self._inventory.damaged}
        self._inventory = await asyncio.to_thread(self._folder.scan)
        for damaged in self._inventory.damaged:
            if before.get(damaged.path) != damaged.problem:
                self._on_log(f"model file {damaged.path} is not offered: {damaged.problem}")

    async def _find(self, name: str) -> ModelFile:
        for is_fresh in (False, True):
            if is_fresh:
                await self._scan()
            found = find_model(name, [model.name for model in self._inventory.models])
            if found and (file := self._inventory.find(found)) is not None:
                return file
        damaged = next((file for file in self._inventory.damaged if find_model(name, [file.name])), None)
        raise ModelNotFound(
            f"the model file {damaged.path.name} cannot be used: {damaged.problem}"
            if damaged
            else f"there is no model file {name}.gguf",
            hint="Download the file again." if damaged else "Put the GGUF file into the models folder (models_dir).",
        )

    async def _start_worker(self, file: ModelFile) -> WorkerProcess:
        plan = self._planner.choose(file).plan
        request = WorkerRequest(
            model_path=str(file.path),
            model_name=file.name,
            api_key=secrets.token_urlsafe(32),
            slots=plan.sessions,
            context_tokens=plan.context_tokens,
            threads=self._threads or automatic_threads(),
            niceness=self._niceness,
            load_limit_s=self._load_limit_s,
            engine_folder=self._engine_folder or "",
        )
        return await WorkerProcess.start(request, on_log=self._on_log, launch=self._launch)

    def _loaded(self, file: ModelFile) -> LoadedModel:
        rung = self._planner.current
        is_on_cpu = self.status.device.startswith("CPU")
        return LoadedModel(
            name=file.name,
            total_mb=rung.need_mb if rung else None,
            vram_mb=0 if is_on_cpu else None,
            context_tokens=rung.plan.context_tokens if rung else None,
            sessions=rung.plan.sessions if rung else None,
            note=self._planner.note,
        )

    async def _client_of(self, running: RunningModel) -> ServerClient:
        if self._client is None or self._client[0] is not running:
            await self._drop_client()
            self._client = (running, self._open_client(_base_url(running), running.process.api_key))
        return self._client[1]

    async def _drop_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client[1].close()


def _base_url(running: RunningModel) -> str:
    return f"http://127.0.0.1:{running.ready.port}"


async def _explain(running: RunningModel, error: EngineError) -> EngineError:
    """A broken connection is the client's view of a dead child: say which, once the child's end is known."""
    if isinstance(error, EngineTimeout):
        return error
    with suppress(TimeoutError):
        async with asyncio.timeout(_EXIT_NOTICE_S):
            await running.process.wait_exit()
        return EngineFailed(running.why_gone(), hint=running.process.hint_of_exit())
    return error


def _open_openai_client(base_url: str, api_key: str) -> ServerClient:
    from core.engines.embedded_client import ChildClient  # aiohttp: not before the first prompt

    return ChildClient(base_url, api_key)
