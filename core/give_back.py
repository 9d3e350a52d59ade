"""Memory that really comes back: unload what we loaded, then measure until it is free again, or say who holds it.

What came back is the greater of two measurements: how much the free memory rose, and how much less the engine's own
processes hold. The first alone would call it a failure when a game takes the memory in the same second, which is just
when it is given back; the second isn't known everywhere (Windows, some containers).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from core.engines import LoadedModel
from core.engines.names import find_model
from core.errors import AgentError, EngineUnreachable
from core.give_back_file import GiveBackFile
from core.logs import get_logger
from core.model_manager import ModelManager
from core.sessions import Admission
from core.snapshot import GiveBack, GiveBackView

log = get_logger(__name__)

LIMIT_S = 5.0
ENOUGH = 0.9  # of what was held
SAMPLE_INTERVAL_S = 0.1
RETRY_S = 5.0  # an engine that hangs may come back, and the owner waits for the memory
LEAST_MB = 4  # less than this in one kind of memory isn't worth a word

PROGRAMS = {"ollama": "Ollama", "embedded": "the embedded engine"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReading:
    """Memory at one instant, MiB; None: not measured."""

    free_ram_mb: int | None = None
    free_vram_mb: int | None = None
    engine_ram_mb: int | None = None  # of the engine's processes for models, file cache left out
    engine_vram_mb: int | None = None  # the same on the cards, as the driver says
    vram_by_program: Mapping[str, int] | None = None  # on the cards, without the engine's


class MemoryMeter(Protocol):
    """Reads the memory now. Blocks: on a worker thread."""

    def find(self) -> frozenset[int]:
        """The engine's processes that exist for a model, found anew."""
        ...

    def read(self, pids: Collection[int]) -> MemoryReading: ...


@dataclass(frozen=True, slots=True)
class Held:
    """What our models held in one kind of memory, and the readings from before."""

    kind: str
    held_mb: int
    free_mb: int | None
    engine_mb: int | None

    @property
    def is_measured(self) -> bool:
        """Whether its return could be seen; not on a card that the driver has lost."""
        return self.free_mb is not None or self.engine_mb is not None

    def freed_mb(self, now: MemoryReading) -> int:
        free_mb, engine_mb = _of_kind(now, self.kind)
        rise = free_mb - self.free_mb if free_mb is not None and self.free_mb is not None else 0
        gone = self.engine_mb - engine_mb if engine_mb is not None and self.engine_mb is not None else 0
        return max(0, min(self.held_mb, max(rise, gone)))

    def is_back(self, now: MemoryReading) -> bool:
        return self.freed_mb(now) >= ENOUGH * self.held_mb


def held_before(models: Iterable[LoadedModel], before: MemoryReading) -> tuple[Held, ...]:
    """What is to come back, the larger kind first; empty when nothing of it can be measured here.

    While the owner's own model is in the same engine, its processes can't be told apart from ours, so only the engine's
    word counts: what it says of the models on the cards. A model's size in RAM is no such figure: the weights are
    mapped from the file, and count as free already.
    """
    models = tuple(models)
    is_shared = any(model.is_owners for model in models)
    said_vram_mb = sum(model.vram_mb or 0 for model in models if not model.is_owners)
    vram_mb = said_vram_mb if is_shared else max(said_vram_mb, before.engine_vram_mb or 0)
    ram_mb = 0 if is_shared else before.engine_ram_mb or 0
    parts = [
        Held("vram", vram_mb, *_of_kind(before, "vram")),
        Held("ram", ram_mb, *_of_kind(before, "ram")),
    ]
    known = [part for part in parts if part.held_mb >= LEAST_MB and part.is_measured]
    return tuple(sorted(known, key=lambda part: -part.held_mb))


class MemoryKeeper:
    """Gives our models' memory back and knows how that went. Everything but the meter runs on the loop thread."""

    def __init__(
        self,
        *,
        models: ModelManager,
        admission: Admission,
        meter: MemoryMeter,
        file: GiveBackFile,
        on_change: Callable[[], None] = lambda: None,
        on_going_back: Callable[[bool], None] = lambda is_going: None,
        on_notice: Callable[[str, str], None] = lambda old, new: None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`on_going_back` hears when the door must be closed, before anything is unloaded, and when it may open;
        `on_notice` gets (what no longer holds, what the owner should know now), "" for none.
        """
        self._models = models
        self._admission = admission
        self._meter = meter
        self._file = file
        self._on_change = on_change
        self._on_going_back = on_going_back
        self._on_notice = on_notice
        self._notice = ""
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        self._one_at_a_time = asyncio.Lock()
        self._going_back = 0  # give-backs that run, or wait for the one that does
        self._waiting: asyncio.Task[None] | None = None
        self._also: set[str] = set()  # models that may still be loading
        self._insists = False  # what waits is the owner's wish, not a matter of tidiness
        self.unloaded: tuple[str, ...] = ()  # the models that the last give-back took away

    @property
    def view(self) -> GiveBackView | None:
        return self._file.view

    async def load(self) -> None:
        """Read what was kept over the restart."""
        await asyncio.to_thread(self._file.read)

    async def give_back(self, also: Collection[str] = ()) -> GiveBack | None:
        """Unload every model of ours, those on their way into memory too, and measure; 5 s at most for that.

        `also` are some that may still be loading: not every engine tells.

        None when none of ours was loaded, or nothing of it can be measured here. The owner's own models stay. Raises
        EngineError when the engine doesn't unload.
        """
        async with self._closed_door(), self._one_at_a_time:
            engine = self._models.engine
            loaded = await engine.loaded_models()
            names = [model.name for model in loaded if not model.is_owners]
            listed = [model.name for model in loaded]
            making = getattr(engine, "in_the_making", ())  # for a session that has ended, or after a crash
            still_loading = [name for name in sorted({*also, *self._also, *making}) if find_model(name, listed) is None]
            self._also.clear()
            pids = await asyncio.to_thread(self._meter.find)
            if not names and not still_loading:
                return None
            before = await asyncio.to_thread(self._meter.read, pids)
            is_here = getattr(engine, "is_on_this_machine", True)  # an Ollama elsewhere has its memory there
            parts = held_before(loaded, before) if is_here else ()
            began = self._monotonic()
            for name in still_loading:  # or the loading would go on
                await engine.unload(name)
            await self._models.unload_all()
            self.unloaded = tuple(names) or tuple(still_loading)
            self._on_change()
            if not parts:
                return None
            result = await self._measure(parts, pids, before, began)
            await asyncio.to_thread(self._file.add, result)
        write = log.info if result.ok else log.warning
        write(
            "memory given back" if result.ok else "memory not given back",
            models=names,
            held_mb=result.held_mb,
            freed_mb=result.freed_mb,
            seconds=result.seconds,
            kind=result.kind,
            holder=result.holder,
        )
        self._on_change()
        return result

    def give_back_when_idle(self, also: Collection[str] = (), *, until_done: bool = False) -> None:
        """The same as soon as no session runs, in the background. A trouble of the engine is its keeper's to tell.

        `until_done`: the owner wants it, so an engine that doesn't do it is asked again until it has, or until `keep`.
        """
        self._also.update(also)
        self._insists = self._insists or until_done
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().create_task(self._when_idle(), name="give-back")
            self._waiting.add_done_callback(self._on_done)

    def keep(self) -> None:
        """The reason is gone before the last session was: nothing is unloaded. What has begun already goes on."""
        self._insists = False
        self._tell("")
        if self._waiting is not None and not self._one_at_a_time.locked():
            self._waiting.cancel()
            self._waiting = None  # a pause in this very step begins another one

    async def close(self) -> None:
        if (waiting := self._waiting) is not None:
            waiting.cancel()
            await asyncio.wait([waiting])

    async def _when_idle(self) -> None:
        while not await self._is_given_back() and self._insists:
            await self._sleep(RETRY_S)

    async def _is_given_back(self) -> bool:
        """One attempt, once no session runs."""
        await self._admission.wait_idle()
        while self._admission.running_jobs:  # one began in the step in which the last one ended
            await self._admission.wait_idle()
        also = set(self._also)
        try:
            await self.give_back()
        except EngineUnreachable as error:  # nobody is there any more who could hold it
            log.warning("not unloaded", error=error.detail, hint=error.hint)
        except AgentError as error:
            notice = f"The memory is not back yet: {error.detail.rstrip('.')}. It is tried again by itself."
            if notice != self._notice:
                log.warning("not unloaded", error=error.detail, hint=error.hint)
            self._also |= also
            if self._insists:
                self._tell(notice)
            return False
        return True

    def _tell(self, notice: str) -> None:
        if notice != self._notice:
            before, self._notice = self._notice, notice
            self._on_notice(before, notice)

    @asynccontextmanager
    async def _closed_door(self) -> AsyncIterator[None]:
        """Nobody is let in meanwhile: a session that began now would lose its model, or take it back into memory."""
        self._going_back += 1
        self._on_going_back(True)
        try:
            yield
        finally:
            self._going_back -= 1
            if not self._going_back:
                self._on_going_back(False)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        if task is self._waiting:
            self._waiting = None
            self._insists = False
            self._tell("")
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("giving memory back failed", exc_info=error)

    async def _measure(
        self, parts: tuple[Held, ...], pids: frozenset[int], before: MemoryReading, began: float
    ) -> GiveBack:
        while True:
            now = await asyncio.to_thread(self._meter.read, pids)
            seconds = self._monotonic() - began
            is_back = all(part.is_back(now) for part in parts)
            if is_back or seconds >= LIMIT_S:
                break
            await self._sleep(SAMPLE_INTERVAL_S)
        shown = next((part for part in parts if not part.is_back(now)), parts[0])
        return GiveBack(
            held_mb=shown.held_mb,
            freed_mb=shown.freed_mb(now),
            seconds=round(seconds, 2),
            kind=shown.kind,
            ok=is_back,
            holder="" if is_back else self._holder(shown, before, now),
            at=self._clock(),
        )

    def _holder(self, part: Held, before: MemoryReading, now: MemoryReading) -> str:
        """Who has what didn't come back, as far as the system tells."""
        engine = PROGRAMS.get(self._models.engine.name, self._models.engine.name)
        _, engine_mb = _of_kind(now, part.kind)
        is_listed = any(not model.is_owners for model in self._models.loaded)
        if is_listed or (engine_mb or 0) >= (1 - ENOUGH) * part.held_mb:
            return engine
        was = before.vram_by_program or {}
        grown = {name: mb - was.get(name, 0) for name, mb in (now.vram_by_program or {}).items()}
        name = max(grown, key=lambda known: grown[known], default="")
        if part.kind == "vram" and name and grown[name] > 0:
            return name
        return "another program"


def _of_kind(reading: MemoryReading, kind: str) -> tuple[int | None, int | None]:
    """(free, the engine's) of one kind of memory."""
    if kind == "vram":
        return reading.free_vram_mb, reading.engine_vram_mb
    return reading.free_ram_mb, reading.engine_ram_mb
