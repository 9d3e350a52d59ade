"""Whether an engine's own download has room on the disk: asked once it is known how much is to come. Blocking."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from core.hub.download import check_budget, check_room
from core.hub.hub import KEEP_FREE_BYTES


def ollama_folders(environ: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """Where an Ollama on this machine may keep its models: as told, the user's own, a Linux service's."""
    told = environ.get("OLLAMA_MODELS", "")
    candidates = [Path(told)] if told else [home / ".ollama" / "models", Path("/usr/share/ollama/.ollama/models")]
    return tuple(folder for folder in candidates if folder.is_dir())


class PullRoom:
    """The owner's limits on the disk, for downloads that the engine does by itself."""

    def __init__(
        self,
        *,
        budget_bytes: Callable[[], int],
        folders: Callable[[], tuple[Path, ...]] = lambda: ollama_folders(os.environ, Path.home()),
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        """`budget_bytes` 0 is no budget. Which of several `folders` is used isn't known: the roomiest counts."""
        self._budget_bytes = budget_bytes
        self._folders = folders
        self._free_bytes = free_bytes

    def check(self, *, total: int, to_come: int, held: int, is_here: bool) -> None:
        """Raises StorageError. All in bytes: `to_come` of `total`, beside the `held` ones of earlier downloads.

        `is_here`: the engine is on this machine.
        """
        check_budget(self._budget_bytes(), held=held, wanted=total)
        roomiest = self._roomiest() if is_here else None
        if roomiest is not None:
            check_room(roomiest[0], to_come, roomiest[1], keep_free=KEEP_FREE_BYTES)

    def free_bytes(self) -> int | None:
        """Of the disk that downloads come to, on this machine; None where it can't be told."""
        roomiest = self._roomiest()
        return None if roomiest is None else roomiest[1]

    def _roomiest(self) -> tuple[Path, int] | None:
        try:
            free = {folder: self._free_bytes(folder) for folder in self._folders()}
        except OSError:  # not ours to read: the engine says itself when its disk is full
            return None
        return max(free.items(), key=lambda item: item[1]) if free else None
