"""The owner's pause on disk, or sharing now. In doubt a pause: whoever took the machine back must not serve again."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.atomic_file import read_plain, set_aside, write_atomically
from core.errors import StorageError

_MAX_FILE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class SavedPause:
    """What the file said. `problem` says what was wrong with it; then it is a pause until resumed."""

    is_paused: bool = False
    until: float | None = None  # of either, seconds since the epoch; None: until resumed
    problem: str = ""
    is_sharing: bool = False  # the contrary of a pause: sharing now, whatever the rules of comfort say


class PauseFile:
    """One small JSON file, replaced whole. `keep` may be called by several threads at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._latest = SavedPause()

    def read(self) -> SavedPause:
        """The pause from before a restart; none where there is no file.

        A file that can't be read, or makes no sense, is set aside, and a pause takes its place.
        """
        try:
            return _parse(read_plain(self._path, _MAX_FILE_BYTES + 1))
        except FileNotFoundError:
            return SavedPause()
        except OSError as error:
            return self._replace(f"could not be read ({error.strerror})")
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return self._replace("was damaged")

    def keep(self, pause: SavedPause) -> None:
        """Note what is to be on disk; `write` brings it there. Returns at once."""
        self._latest = pause

    def write(self) -> str:
        """Bring the latest state to disk, whatever the order of the writers; returns what is wrong, "" when it's there.

        A pause that can't be kept on disk holds all the same until the program ends.
        """
        with self._lock:
            pause = self._latest
            saved = {"paused": pause.is_paused, "until": pause.until}
            if pause.is_sharing:
                saved["sharing"] = True
            try:
                write_atomically(self._path, json.dumps(saved).encode())
            except StorageError as error:
                return f"{error.detail.rstrip('.')}. {error.hint}"
        return ""

    def _replace(self, why: str) -> SavedPause:
        pause = SavedPause(is_paused=True)
        try:
            aside = set_aside(self._path)
        except StorageError as error:
            where = f"{error.detail.rstrip('.')}. {error.hint}"
        else:
            where = f"It was set aside as {aside}."
            self.keep(pause)
            if self.write():  # without it, the next start would find no file, and serve
                with suppress(OSError):
                    aside.rename(self._path)
                where = f"It is still there: {self._path}."
        return SavedPause(is_paused=True, problem=f"The file of your pause {why}. {where}")


def _parse(data: bytes) -> SavedPause:
    if len(data) > _MAX_FILE_BYTES:
        raise ValueError(f"larger than {_MAX_FILE_BYTES} bytes")
    saved = json.loads(data.decode())
    is_paused, until, is_sharing = saved["paused"], saved["until"], saved.get("sharing", False)
    if not isinstance(is_paused, bool) or not isinstance(is_sharing, bool):
        raise TypeError("paused or sharing is no boolean")
    if is_sharing and (is_paused or until is None):
        raise ValueError("sharing now has an end, and is no pause")
    time.localtime(until)  # a time that can't be shown is damage, too
    return SavedPause(is_paused, None if until is None else float(until), is_sharing=is_sharing)
