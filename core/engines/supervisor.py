"""Keep one engine child alive for one model at a time: start, switch, crash, back-off, "needs attention"."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from core.engines.model_files import ModelFile
from core.engines.worker_process import WorkerProcess, WorkerReady
from core.errors import EngineError, EngineFailed, EngineNeedsAttention, NotEnoughMemory

FAILURES_BEFORE_ATTENTION = 3
_FIRST_BACK_OFF_S = 1.0
_LONGEST_BACK_OFF_S = 30.0

# Starts a child for a model. The supervisor owns the process from then on.
StartWorker = Callable[[ModelFile], Awaitable[WorkerProcess]]
Sleep = Callable[[float], Awaitable[None]]


@dataclass(eq=False)
class RunningModel:
    """A model in a live child."""

    file: ModelFile
    process: WorkerProcess
    ready: WorkerReady
    users: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)  # set while nobody uses it
    watch: asyncio.Task[None] | None = None
    failure: str = ""  # why we ended it, when it no longer worked

    def why_gone(self) -> str:
        if self.failure:
            return f"the engine stopped: {self.failure}"
        if self.process.was_ended:
            return f"{self.file.name} was unloaded"
        return f"the engine stopped: {self.process.reason_of_exit()}"


class EngineSupervisor:
    """Owns the child. All methods run on the agent's loop."""

    def __init__(
        self,
        start_worker: StartWorker,
        *,
        load_limit_s: float,
        sleep: Sleep,
        draw: Callable[[], float],
        step_down: Callable[[ModelFile], bool] = lambda file: False,
    ) -> None:
        """`step_down` is asked when a load failed for want of memory: whether `start_worker` would try less now."""
        self._start_worker = start_worker
        self._load_limit_s = load_limit_s
        self._sleep = sleep
        self._step_down = step_down
        self._draw = draw  # uniform in [0, 1): spreads the back-off
        self._gate = asyncio.Lock()  # first come, first served: a switch waits for users, and later users for it
        self._running: RunningModel | None = None
        self._starting: asyncio.Task[RunningModel] | None = None
        self._starting_process: WorkerProcess | None = None
        self._failures = 0
        self._last_failure: EngineError | None = None
        self._starting_file: ModelFile | None = None
        self.restarts = 0
        self.last_ready: WorkerReady | None = None  # what the last child said about itself

    @property
    def running(self) -> RunningModel | None:
        running = self._running
        return running if running is not None and running.process.is_alive else None

    @property
    def process(self) -> WorkerProcess | None:
        """The child, loading or serving."""
        if (running := self.running) is not None:
            return running.process
        return self._starting_process

    @property
    def current_file(self) -> ModelFile | None:
        """The model that is in memory or on its way there."""
        if self._running is not None:
            return self._running.file
        return self._starting_file if self._starting is not None else None

    @property
    def is_starting(self) -> bool:
        return self._starting is not None

    @property
    def failure(self) -> EngineError | None:
        """The last failure, until an answer or the owner clears it."""
        return self._last_failure

    @property
    def needs_attention(self) -> bool:
        return self._failures >= FAILURES_BEFORE_ATTENTION

    def attention(self) -> EngineNeedsAttention:
        """What the owner is told once it is not started again by itself."""
        last = self._last_failure
        first = f"{last.hint} Then s" if last and last.hint else "S"
        return EngineNeedsAttention(
            f"the engine failed {self._failures} times in a row; the last time: {last.detail if last else 'unknown'}",
            hint=f"{first}tart the engine again: titan retry",
        )

    def forget_failures(self) -> None:
        """A good answer came, or the owner acted."""
        self._failures = 0
        self._last_failure = None

    def raise_if_attention(self) -> None:
        if self.needs_attention:
            raise self.attention()

    @contextlib.asynccontextmanager
    async def use(self, file: ModelFile) -> AsyncIterator[RunningModel]:
        """Hold a live child for `file`: another model is loaded only once its last user has left."""
        async with self._gate:
            running = await self._ensure(file)
            running.users += 1
            running.idle.clear()
        try:
            yield running
        finally:
            running.users -= 1
            if not running.users:
                running.idle.set()

    async def unload(self) -> None:
        """End the child at once, loading or serving; its memory is back on return. Waits for nobody."""
        if (starting := self._starting) is not None:
            starting.cancel()
            if self._starting_process is not None:
                await self._starting_process.end()
            await asyncio.wait([starting])
        if (running := self._running) is not None:
            self._running = None
            await running.process.end()

    async def fail(self, running: RunningModel, reason: str) -> None:
        """End a child that no longer works; it is started again as after a crash."""
        if running is not self._running or not running.process.is_alive:
            return
        self._running, running.failure = None, reason
        await running.process.end()
        self._record(EngineFailed(running.why_gone(), hint="See the log for the engine's last lines."))
        self._start_again(running.file)

    async def start_anew(self, running: RunningModel) -> None:
        """Load the same model again, in another way; only while nobody uses it. The load goes on by itself."""
        if self._gate.locked():
            return
        async with self._gate:
            if running is self._running and not running.users and self._starting is None:
                self._running = None
                await running.process.end()
                self._begin(running.file)

    async def _ensure(self, file: ModelFile) -> RunningModel:
        """A live child with this model. The start goes on when the caller is cancelled: others may wait for it."""
        while True:
            self.raise_if_attention()
            if (starting := self._starting) is not None:
                await asyncio.wait([starting])
                continue
            running = self.running
            if running is not None and running.file.path == file.path:
                return running
            if running is not None:
                await running.idle.wait()
                if running is self._running:
                    self._running = None
                    await running.process.end()
            task = self._begin(file)
            await asyncio.wait([task])
            if task.cancelled():  # not us: `unload` came first
                raise EngineFailed(f"{file.name} was unloaded while it loaded")
            return task.result()

    def _begin(self, file: ModelFile) -> asyncio.Task[RunningModel]:
        self._starting_file = file
        task = self._starting = asyncio.create_task(self._start(file), name="engine-start")
        task.add_done_callback(self._on_start_done)
        return task

    def _on_start_done(self, task: asyncio.Task[RunningModel]) -> None:
        self._starting = None
        if not task.cancelled():
            task.exception()  # whoever asked for the model gets it from the task

    def _start_again(self, file: ModelFile) -> None:
        """After a crash: bring the model back without being asked, until it runs or needs the owner."""
        if self.needs_attention or self._starting is not None:
            return

        def on_done(task: asyncio.Task[RunningModel]) -> None:
            if not task.cancelled() and isinstance(task.exception(), EngineError):
                self._start_again(file)

        self._begin(file).add_done_callback(on_done)

    async def _start(self, file: ModelFile) -> RunningModel:
        if self._failures:
            await self._sleep(self._back_off_s())
            self.restarts += 1
        try:
            process, ready = await self._load(file)
        except EngineError as error:
            self._record(error)
            if self.needs_attention:
                raise self.attention() from error
            raise
        finally:
            self._starting_process = None
        running = RunningModel(file=file, process=process, ready=ready)
        running.idle.set()
        self._running, self.last_ready = running, ready
        running.watch = asyncio.create_task(self._watch(running), name="engine-watch")
        return running

    async def _load(self, file: ModelFile) -> tuple[WorkerProcess, WorkerReady]:
        """A child that has loaded the model: as wanted, or a step down for each time that memory didn't suffice."""
        while True:
            process = self._starting_process = await self._start_worker(file)
            try:
                return process, await process.wait_ready(self._load_limit_s)
            except NotEnoughMemory:
                await process.end()
                if not self._step_down(file):
                    raise
            except BaseException:
                await process.end()
                raise

    async def _watch(self, running: RunningModel) -> None:
        """Wake when the child ends, also an idle one; an end that isn't ours is a crash."""
        await running.process.wait_exit()
        if running.process.was_ended:
            return
        if self._running is running:
            self._running = None
        self._record(EngineFailed(running.why_gone(), hint=running.process.hint_of_exit()))
        self._start_again(running.file)

    def _record(self, error: EngineError) -> None:
        self._failures += 1
        self._last_failure = error

    def _back_off_s(self) -> float:
        """1 s doubling to 30 s, each drawn from its upper half."""
        longest = min(_FIRST_BACK_OFF_S * 2.0 ** (self._failures - 1), _LONGEST_BACK_OFF_S)
        return longest * (0.5 + self._draw() / 2)
