"""The owner's downloads for the embedded engine: begin, tell how far, cancel; and delete what was downloaded here."""

from __future__ import annotations

import asyncio
import re
import shutil
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from core.engines import PullProgress
from core.errors import StorageError
from core.hub.download import (
    Download,
    DownloadStopped,
    HubError,
    RangeSource,
    RateLimit,
    check_budget,
    check_room,
    part_path,
)
from core.hub.download_thread import note_end, on_a_thread, post
from core.hub.look_up import HeadSource, RepositoryLook, look_into
from core.hub.manifest import Manifest
from core.hub.names import HubFile, HubModel, ModelReference, choose_files, model_name, parse_reference
from core.logs import get_logger
from core.paths import ensure_folder, storage_error

log = get_logger(__name__)

KEEP_FREE_BYTES = 2_000_000_000  # of the disk stay the owner's, whatever is asked for
KEEP_PART_S = 30 * 86_400.0  # what came of a download that was never finished
_PART_NAME = re.compile(r"\.[0-9a-f]{32}\.part")
_STEP_BYTES = 1 << 22  # told at most so often: the window needs no more


class HubSource(RangeSource, HeadSource, Protocol):
    """core.hub.source.HuggingFaceSource, or a stand-in."""


def open_hub(reference: ModelReference, endpoint: str) -> HubSource:
    """The hub at `endpoint`, "" for the public one."""
    from core.hub.source import HuggingFaceSource

    return HuggingFaceSource(reference, endpoint)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubLimits:
    """What the owner allows; 0 is no limit."""

    bytes_per_second: float = 0.0
    disk_budget_bytes: int = 0  # of everything that was downloaded here


class ModelHub:
    """Downloads into `folder`. One instance per agent; its coroutines run on the loop, their work on threads."""

    def __init__(
        self,
        folder: Path,
        *,
        open_source: Callable[[ModelReference], HubSource],
        limits: Callable[[], HubLimits] = HubLimits,
        room_bytes: Callable[[], int | None] = lambda: None,
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`room_bytes`: the memory that a model may take, for a name without a quantisation."""
        self._folder = folder
        self._open_source = open_source
        self._limits = limits
        self._room_bytes = room_bytes
        self._free_bytes = free_bytes
        self._now = now
        self._rate = RateLimit(lambda: self._limits().bytes_per_second)
        self._manifest = Manifest(folder)
        self._names: tuple[str, ...] = ()
        self._brought: dict[str, str] = {}  # what was asked for → the engine's name of it
        self._busy: set[str] = set()  # files that a thread still writes, perhaps after a cancel

    async def pull(self, name: str) -> AsyncGenerator[PullProgress, None]:
        """Download what `name` means. Raises CommandError, HubError, StorageError; what has come is kept.

        Closing the iterator, or cancelling whoever iterates it, ends the download at its next piece.
        """
        reference = parse_reference(name)
        steps: asyncio.Queue[PullProgress | None] = asyncio.Queue()
        loop, stop = asyncio.get_running_loop(), threading.Event()
        work = on_a_thread(lambda: self._work(name, reference, stop, lambda step: post(loop, steps, step)))
        work.add_done_callback(lambda _: steps.put_nowait(None))
        try:
            yield PullProgress("asking the hub")
            while (step := await steps.get()) is not None:
                yield step
            with suppress(DownloadStopped):
                await work
        finally:
            stop.set()
            work.add_done_callback(note_end)  # whatever it ends with, nobody asks any more

    async def look_up(self, name: str) -> RepositoryLook:
        """What the hub has under a name, before anything is downloaded. Raises CommandError, HubError."""
        reference = parse_reference(name)
        found: list[RepositoryLook] = []
        await on_a_thread(lambda: found.append(look_into(self._open_source(reference), reference)))
        return found[0]

    def disk_problem(self, model: HubModel) -> str:
        """Why the model can't come to this disk, one sentence; "" when it can. Blocking."""
        try:
            self._check_disk([file for file in model.files if not self._is_there(model.stem, file)])
        except StorageError as error:
            return error.detail
        return ""

    def free_bytes(self) -> int | None:
        """Of the disk that models come to; None where it can't be told. Blocking."""
        folder = next((folder for folder in (self._folder, *self._folder.parents) if folder.exists()), self._folder)
        try:
            return self._free_bytes(folder)
        except OSError:
            return None

    def model_of(self, name: str) -> str:
        """The engine's name of what was downloaded as `name` since the start; "" for nothing."""
        return self._brought.get(name, "")

    @property
    def names(self) -> tuple[str, ...]:
        """The models that were downloaded here, as far as the list was read."""
        return self._names

    def load(self) -> None:
        """Read the list of what was downloaded here. Blocking. A list that can't be read is empty."""
        try:
            self._names = self._manifest.names()
        except StorageError as error:
            log.warning("list of downloads not read", error=error.detail)

    def delete(self, name: str) -> None:
        """Delete a model's files, as far as they were downloaded here. Raises HubError, StorageError. Blocking."""
        files = self._manifest.files_of(name)
        if files is None:
            raise HubError(f"{name} was not downloaded by this program", hint="Delete its file by yourself.")
        for file_name in files:
            path = self._folder / file_name
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise storage_error("delete", path, error) from error
        self._manifest.remove(name)
        self.load()

    def _work(
        self, asked: str, reference: ModelReference, stop: threading.Event, tell: Callable[[PullProgress], None]
    ) -> None:
        """The whole download, on a thread of its own."""
        source = self._open_source(reference)
        files = choose_files(source.files(), reference.wanted, room_bytes=self._room_bytes())
        name = model_name(files)
        ensure_folder(self._folder)
        self._drop_old_parts()
        self._check_names(name, files)
        self._claim(name)
        try:
            meter = _Meter(files, tell)
            download = Download(source, self._folder, stop=stop, limit=self._rate, on_bytes=meter.take)
            wanted = [file for file in files if not self._is_there(name, file)]
            self._check_disk(wanted)
            # Known before the first byte has its name: whatever happens then, these files are ours to delete.
            self._manifest.add(name, [file.name for file in files])
            self.load()
            for file in files:
                if file in wanted:
                    download.fetch(file)
                meter.take(file, file.size_bytes)
            self._brought[asked] = name
        finally:
            self._busy.discard(name)

    def _claim(self, name: str) -> None:
        if name in self._busy:
            raise HubError(f"{name} is still being downloaded", hint="Try again in a moment.")
        self._busy.add(name)

    def _check_names(self, name: str, files: Sequence[HubFile]) -> None:
        """A file of that name that isn't ours is the owner's own."""
        ours = self._manifest.files_of(name) or ()
        for file in files:
            if (self._folder / file.name).exists() and file.name not in ours:
                raise HubError(
                    f"there is a file {file.name} in the models folder already",
                    hint="It is offered as it is; rename it if you want this one too.",
                )

    def _is_there(self, name: str, file: HubFile) -> bool:
        with suppress(OSError):
            return (self._folder / file.name).stat().st_size == file.size_bytes
        return False

    def _drop_old_parts(self) -> None:
        """What a download left that nobody has gone on with for long."""
        for part in self._folder.glob(".*.part"):
            if _PART_NAME.fullmatch(part.name):
                with suppress(OSError):
                    if self._now() - part.stat().st_mtime > KEEP_PART_S:
                        part.unlink()

    def _check_disk(self, wanted: Sequence[HubFile]) -> None:
        to_come = sum(file.size_bytes - _size(part_path(self._folder, file)) for file in wanted)
        free = self.free_bytes()
        if free is not None:
            check_room(self._folder, to_come, free, keep_free=KEEP_FREE_BYTES)
        held = sum(_size(self._folder / file_name) for file_name in self._manifest.all_files())
        check_budget(self._limits().disk_budget_bytes, held=held, wanted=sum(file.size_bytes for file in wanted))


class _Meter:
    """Bytes of all files of a model together, told in steps."""

    def __init__(self, files: Sequence[HubFile], tell: Callable[[PullProgress], None]) -> None:
        self._done = dict.fromkeys((file.name for file in files), 0)
        self._total = sum(file.size_bytes for file in files)
        self._tell = tell
        self._told = -_STEP_BYTES

    def take(self, file: HubFile, done: int) -> None:
        self._done[file.name] = done
        together = sum(self._done.values())
        if together - self._told >= _STEP_BYTES or together == self._total:
            self._told = together
            self._tell(PullProgress("downloading", together, self._total))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
