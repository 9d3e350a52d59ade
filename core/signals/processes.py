"""Which programs of the owner's list run now. Blocking, and cheap: only what is new is asked what it is."""

from __future__ import annotations

import ntpath
import os
import posixpath
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Protocol

from core.signals import Unknown

# A shell that starts a game becomes the game: it keeps its pid. So a process is asked again while it is young (a
# launcher's script takes seconds), and once in ROUNDS looks for ever (two minutes at one look each 2 s).
YOUNG_LOOKS = 5
ROUNDS = 60


@dataclass(frozen=True, slots=True)
class Program:
    """What runs: the process's name, and its file ("" where the system doesn't tell: another user's)."""

    name: str
    path: str = ""


class ProcessTable(Protocol):
    """The system's list of processes."""

    def pids(self) -> Iterable[int]: ...

    def program(self, pid: int) -> Program | None:
        """None for a process that has ended, a zombie among them."""
        ...


class PsutilTable:
    """The real one."""

    def pids(self) -> Iterable[int]:
        import psutil

        return psutil.pids()

    def program(self, pid: int) -> Program | None:
        import psutil

        try:
            process = psutil.Process(pid)
            name = process.name()
            try:
                return Program(name, process.exe())
            except psutil.AccessDenied:
                if process.status() == psutil.STATUS_ZOMBIE:
                    return None
                return Program(name)
        except psutil.Error:
            return None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The owner's list, ready to compare. A folder ends with its separator."""

    lines: tuple[str, ...] = ()
    names: frozenset[str] = field(default_factory=frozenset)
    paths: frozenset[str] = field(default_factory=frozenset)
    folders: tuple[str, ...] = ()


class ListedApps:
    """Programs of the owner's list that run, by name, in alphabetical order.

    A line of the list is a program's name ("steam"), a file, or a folder that holds programs, such as a game library.
    Names are compared without regard to case and to ".exe"; files and folders as the system compares them: without
    regard to case on Windows and macOS.
    """

    name = "listed_apps"

    def __init__(
        self,
        own_pids: Callable[[], Iterable[int]] = tuple,
        *,
        table: ProcessTable | None = None,
        system: str = sys.platform,
    ) -> None:
        """`own_pids` are never listed, nor is this process: our engine's, which the owner may name for others' sake."""
        self._own_pids = own_pids
        self._table = table or PsutilTable()
        self._path: ModuleType = ntpath if system == "win32" else posixpath
        self._ignores_case = system in ("win32", "darwin")
        self._lines: tuple[str, ...] = ()
        self._wanted = _Wanted()
        self._looks = 0
        self._seen: dict[int, tuple[int, str]] = {}  # pid → the look that saw it first, and its name if it is listed

    def use_list(self, lines: Iterable[str]) -> None:
        """Look for these from the next reading on. Any thread; asks nothing of the system."""
        self._lines = tuple(line.strip() for line in lines if line.strip())

    def read(self) -> tuple[str, ...] | Unknown:
        lines = self._lines
        if not lines:
            return ()
        if self._wanted.lines != lines:
            self._wanted, self._seen = self._prepare(lines), {}
        self._looks += 1
        own = {os.getpid(), *self._own_pids()}
        self._seen = {pid: self._look_at(pid) for pid in self._table.pids() if pid not in own}
        return tuple(sorted({name for _, name in self._seen.values() if name}, key=str.lower))

    def close(self) -> None:
        """Nothing is held."""

    def _prepare(self, lines: tuple[str, ...]) -> _Wanted:
        names = frozenset(_plain_name(line) for line in lines if not self._is_path(line))
        paths = set()
        for line in lines:
            if self._is_path(line):
                path = os.path.expanduser(line)  # noqa: PTH111 (Path's raises for a user who isn't there)
                # A folder may be a link to another disk: the system tells a process's file without links.
                paths |= {self._comparable(clean(path)) for clean in (self._path.normpath, self._path.realpath)}
        separator = self._path.sep
        folders = tuple(path if path.endswith(separator) else path + separator for path in sorted(paths))
        return _Wanted(lines, names, frozenset(paths), folders)

    def _look_at(self, pid: int) -> tuple[int, str]:
        since, name = before = self._seen.get(pid, (self._looks, ""))
        is_young = self._looks - since < YOUNG_LOOKS
        if not (is_young or name or (self._looks + pid) % ROUNDS == 0):
            return before
        program = self._table.program(pid)
        return since, "" if program is None else self._listed_name(program)

    def _listed_name(self, program: Program) -> str:
        """What to call it, or "" when it isn't on the list. A process may be named otherwise than its file."""
        path = self._comparable(program.path)
        file = self._path.basename(program.path)
        is_named = _plain_name(program.name) in self._wanted.names
        if not is_named and _plain_name(file) in self._wanted.names:
            return _shown_name(file)
        is_listed = is_named or path in self._wanted.paths or path.startswith(self._wanted.folders)
        return _shown_name(program.name or file) if is_listed else ""

    def _is_path(self, line: str) -> bool:
        return self._path.sep in line or (self._path.altsep or self._path.sep) in line or line.startswith("~")

    def _comparable(self, path: str) -> str:
        return path.lower() if self._ignores_case else path


def _plain_name(name: str) -> str:
    return _shown_name(name).lower()


def _shown_name(name: str) -> str:
    return name[:-4] if name.lower().endswith(".exe") else name
