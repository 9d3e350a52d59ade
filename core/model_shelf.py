"""Downloads and deletions of models, on the owner's word only, with progress that a front end can show."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from core.commands import CommandError
from core.engines.names import find_model, normalize_model, same_model
from core.errors import AgentError, StorageError
from core.fit import Room
from core.hub.hub import ModelHub
from core.hub.names import HubModel, parse_reference
from core.logs import get_logger
from core.missing_models import is_on_hub
from core.model_manager import ModelManager
from core.pull_meter import PullMeter
from core.pull_offer import PullOffer, hub_offer, name_offer
from core.pull_room import PullRoom
from core.pulled_models import PulledModels
from core.snapshot import PullView

log = get_logger(__name__)

WhenHere = Callable[[str], Awaitable[None]]

LOOK_AGAIN_S = 10.0  # at the network, while a download runs: the owner may have gone on a phone's
KEPT_ENDED = 3  # downloads that are over and still shown
MAX_NAME_CHARACTERS = 256


class ModelShelf:
    """The downloads that run, and what they brought. Everything runs on the loop thread."""

    def __init__(
        self,
        *,
        models: ModelManager,
        pulled: PulledModels,
        refresh: Callable[[], Awaitable[None]],
        hub: ModelHub | None = None,
        room: PullRoom | None = None,
        is_metered: Callable[[], Awaitable[bool]],
        on_change: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`refresh` lists the engine's models again; `on_change` is called for every step of a download.

        `hub` serves the embedded engine, which has no downloads of its own; `room` holds those of others to the owner's
        limits. Nothing is downloaded while `is_metered`.
        """
        self._models = models
        self._pulled = pulled
        self._refresh = refresh
        self._hub = hub
        self._room = room
        self._is_metered = is_metered
        self._on_change = on_change
        self._monotonic = monotonic
        self._views: dict[str, PullView] = {}  # by normalised name, oldest first
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def pulls(self) -> tuple[PullView, ...]:
        return tuple(self._views.values())

    @property
    def pulled_names(self) -> tuple[str, ...]:
        """The engine's models that this program downloaded."""
        names = tuple(model.name for model in self._models.models)
        known = self._hub.names if self._is_hubs and self._hub is not None else self._pulled.names
        return tuple(found for name in known if (found := find_model(name, names)) is not None)

    @property
    def _is_hubs(self) -> bool:
        return self._hub is not None and self._models.engine.name == "embedded"

    async def check_network(self) -> None:
        """Before a download, and while it runs. Raises CommandError where the network costs by use."""
        if await self._is_metered():
            raise CommandError(
                "this network costs by use, so nothing is downloaded over it",
                hint="Download it once this machine is on another network. What has come is kept.",
            )

    async def look_up(self, wanted: str, room: Room) -> PullOffer:
        """What a download would bring, and whether it would fit. Raises CommandError, HubError, EngineError."""
        name = _checked_name(wanted)
        self._pull_of(name)
        await self.check_network()
        here = tuple(model.name for model in self._models.models)
        engine = self._models.engine
        if self._is_hubs and self._hub is not None:
            hub, look = self._hub, await self._hub.look_up(name)
            return await asyncio.to_thread(
                lambda: hub_offer(
                    name,
                    engine.name,
                    look,
                    room,
                    here=here,
                    disk_problem=hub.disk_problem,
                    free_bytes=hub.free_bytes(),
                )
            )
        await engine.check()
        free_bytes = await self._free_bytes()
        if self._hub is None or not is_on_hub(name):
            return name_offer(name, engine.name, room, here=here, free_bytes=free_bytes)
        try:
            look = await self._hub.look_up(name)
        except AgentError as error:  # Ollama fetches it by itself, and may well be able to
            unknown = name_offer(name, engine.name, room, here=here, free_bytes=free_bytes)
            return replace(unknown, note=f"What it needs can't be told: {error.detail}. {unknown.note}")
        problem = self._room_problem
        return await asyncio.to_thread(
            lambda: hub_offer(name, engine.name, look, room, here=here, disk_problem=problem, free_bytes=free_bytes)
        )

    def pull(self, wanted: str, *, wanted_as: str = "", when_here: WhenHere | None = None) -> PullView:
        """Begin a download; it goes on by itself. Raises CommandError. Ask check_network first.

        `wanted_as`: the offered name that it is for. `when_here` is called with the engine's name of the model once it
        is here.
        """
        name = _checked_name(wanted)
        pull = self._pull_of(name)
        key = normalize_model(name)
        is_new = not self._is_hubs and find_model(name, tuple(model.name for model in self._models.models)) is None
        self._views.pop(key, None)
        self._views[key] = view = PullView(model=name, status="starting", wanted_as=wanted_as)
        work = self._run(key, pull(name), is_new=is_new, when_here=when_here)
        task = asyncio.get_running_loop().create_task(work, name=f"pull-{key}")
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._on_task_done(key, done))
        self._on_change()
        return view

    async def cancel(self, wanted: str) -> None:
        """End a download; what has come already is the engine's to keep. Raises CommandError."""
        task = self._tasks.get(normalize_model(wanted))
        if task is None:
            raise CommandError(f"{wanted!r} is not being downloaded")
        task.cancel()
        await asyncio.wait([task])

    async def delete(self, wanted: str) -> str:
        """Delete a model that this program downloaded; returns the engine's name. Raises CommandError, EngineError."""
        name = find_model(wanted, self.pulled_names)
        if name is None:
            raise CommandError(
                f"{wanted!r} was not downloaded by this program, so it is not this program's to delete",
                hint="Delete it with the program that brought it.",
            )
        if self._models.is_serving(name):
            raise CommandError(f"a session uses {name} now", hint="Stop the session first, or wait for its end.")
        await self._models.engine.unload(name)
        if self._hub is not None and self._is_hubs:
            await asyncio.to_thread(self._hub.delete, name)
        else:
            delete = getattr(self._models.engine, "delete", None)
            if delete is None:
                raise CommandError(f"the engine {self._models.engine.name} deletes no models")
            await delete(name)
            await self._keep(self._pulled.remove, name)
        log.info("model deleted", model=name)
        await self._refresh()
        return name

    async def close(self) -> None:
        """End every download."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _pull_of(self, name: str) -> Callable[[str], AsyncGenerator[Any, None]]:
        """What downloads it. Raises CommandError where nothing may, or it runs already."""
        pull = self._hub.pull if self._hub is not None and self._is_hubs else getattr(self._models.engine, "pull", None)
        if pull is None:
            raise CommandError(
                f"the engine {self._models.engine.name} downloads no models", hint=how_to_add(self._models)
            )
        if normalize_model(name) in self._tasks:
            raise CommandError(f"{name} is being downloaded already")
        if self._is_hubs:
            parse_reference(name)
        return pull

    async def _run(
        self, key: str, steps: AsyncGenerator[Any, None], *, is_new: bool, when_here: WhenHere | None = None
    ) -> None:
        """One download from first to last step. Nothing is raised: how it ended is in its view."""
        name = self._views[key].model
        log.info("download begun", model=name)
        progress = PullMeter(self._monotonic)
        looked_at = self._monotonic()
        try:
            async with aclosing(steps):
                async for step in steps:
                    before = self._views[key].total_bytes
                    self._show(key, **progress.take(step.status, step.completed_bytes, step.total_bytes))
                    if self._views[key].total_bytes != before and not self._is_hubs:
                        await self._check_room(self._views[key])
                    if self._monotonic() - looked_at >= LOOK_AGAIN_S:
                        looked_at = self._monotonic()
                        await self.check_network()
            if is_new:
                await self._keep(self._pulled.add, name)
            await self._refresh()
            local = self._here_as(name)
            if when_here is not None:
                await when_here(local)
            self._show(key, here_as=local, served_as=self._served_as(local))
            self._end(key, phase="done")
        except asyncio.CancelledError:
            self._end(key, phase="cancelled")
            raise
        except AgentError as error:
            self._end(key, phase="failed", problem=error.detail, hint=error.hint)

    async def _check_room(self, view: PullView) -> None:
        """More of a download is known: whether it fits. Raises StorageError, which ends it."""
        if self._room is None:
            return
        held, total = self._held_beside(view.model), view.total_bytes or 0
        to_come = total - (view.completed_bytes or 0)
        await asyncio.to_thread(self._room.check, total=total, to_come=to_come, held=held, is_here=self._is_engine_here)

    def _room_problem(self, model: HubModel) -> str:
        """Why the engine's own download of it would have no room; "" where it has. Blocking."""
        if self._room is None:
            return ""
        size, held = model.size_bytes, self._held_beside(model.stem)
        try:
            self._room.check(total=size, to_come=size, held=held, is_here=self._is_engine_here)
        except StorageError as error:
            return error.detail
        return ""

    def _held_beside(self, name: str) -> int:
        """Bytes of what was downloaded here, but for one."""
        pulled = self.pulled_names
        return sum(
            model.size_bytes or 0
            for model in self._models.models
            if model.name in pulled and not same_model(model.name, name)
        )

    async def _free_bytes(self) -> int | None:
        if self._room is None or not self._is_engine_here:
            return None
        return await asyncio.to_thread(self._room.free_bytes)

    @property
    def _is_engine_here(self) -> bool:
        return bool(getattr(self._models.engine, "is_on_this_machine", False))

    def _here_as(self, name: str) -> str:
        """The engine's name of what was downloaded as `name`."""
        if self._hub is not None and self._is_hubs:
            return self._hub.model_of(name)
        return find_model(name, tuple(model.name for model in self._models.models)) or ""

    def _on_task_done(self, key: str, task: asyncio.Task[None]) -> None:
        self._tasks.pop(key, None)
        if self._views[key].phase == "running":  # cancelled before its first step, or a bug (asyncio logs it whole)
            is_cancelled = task.cancelled()
            self._end(
                key, phase="cancelled" if is_cancelled else "failed", problem="" if is_cancelled else "see the log"
            )
        self._on_change()

    async def _keep(self, change: Callable[[str], None], name: str) -> None:
        try:
            await asyncio.to_thread(change, name)
        except StorageError as error:  # the download itself is whole
            log.warning("list of downloaded models not kept", error=error.detail, hint=error.hint)

    def _show(self, key: str, **changes: Any) -> None:
        self._views[key] = replace(self._views[key], **changes)
        self._on_change()

    def _served_as(self, local: str) -> str:
        """The offered name that a model (the engine's name) serves, "" where none."""
        served = ((name, self._models.model_for(name)) for name in self._models.offered)
        return next((name for name, model in served if model is not None and model.name == local), "")

    def _end(self, key: str, *, phase: str, problem: str = "", hint: str = "") -> None:
        self._show(key, phase=phase, problem=problem, hint=hint, bytes_per_second=None)
        log.info("download ended", model=self._views[key].model, phase=phase, problem=problem)
        self._views[key] = self._views.pop(key)  # the one that ended last is the last to be forgotten
        ended = [known for known, view in self._views.items() if view.phase != "running"]
        for known in ended[: max(0, len(ended) - KEPT_ENDED)]:
            del self._views[known]


def how_to_add(models: ModelManager) -> str:
    """How an owner gets a model into an engine that downloads none."""
    return "Load a model in that server; it appears here by itself."


def _checked_name(wanted: str) -> str:
    name = wanted.strip()
    if not name or len(name) > MAX_NAME_CHARACTERS or not name.isprintable() or " " in name:
        raise CommandError("that is no model's name", hint="It looks like llama3.2:3b, or owner/repository:Q4_K_M.")
    return name
