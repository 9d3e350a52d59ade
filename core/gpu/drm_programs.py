"""Which programs use the AMD and Intel cards of a Linux machine, and how much: by what /proc tells of their open files.

Every file of /dev/dri that a program has open counts for itself (core/gpu/drm_fdinfo.py). To find these files costs a
look at all files of all programs, so it is done seldom: at a program's first sight and again while it is young, since a
card is opened when a program begins, and once a minute afterwards. What is known then is one small file a client.

Not all can be seen. Programs of another person can't be read, a container shows its own programs alone, and what AMD's
compute driver (kfd: ROCm) works for a program is counted nowhere. Each makes the picture incomplete, and is said.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from core.gpu import GpuProcess
from core.gpu.drm_fdinfo import DRIVERS, MOST_BYTES, DrmClient, Engine, caught_up, percent_between, read_client

YOUNG_S = 60.0  # so long a program's files are looked at again each SOON_S, then each LATER_S
SOON_S, LATER_S = 10.0, 60.0
DEVICES_S = 60.0  # how often it is asked which cards there are
LIMIT_S = 0.02  # of looking for files in one reading: what is left comes with the next ones
MOST_PROGRAMS = 32_768
MOST_FILES = 4_096  # of one program
MOST_CLIENTS = 1_024
SHORTEST_WINDOW_S = 0.2
_FIRST_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO: the machine's own, no container's
_PEOPLE = range(1_000, 60_001)  # user ids, as /etc/login.defs has them everywhere; below are services
_COMM_LENGTH = 15  # the kernel cuts a program's name here

OTHER_USERS = "Programs of other users can't be looked at."
CONTAINER = "Inside a container only its own programs can be seen."
NOT_YET = "Not every program has been looked at yet."
HIDDEN = "This system hides other users' programs."


@dataclass(frozen=True, slots=True, kw_only=True)
class CardPrograms:
    """Who has one card open. `incomplete` is a sentence why others may use it unseen, "" where nobody can."""

    driver: str
    programs: tuple[GpuProcess, ...] = ()  # use in percent since the last reading; None: not told of this program
    incomplete: str = ""


@dataclass(slots=True)
class _Known:
    """One program, from one reading to the next."""

    seen_at: float
    look_at: float
    files: dict[tuple[str, int], int] = field(default_factory=dict)  # its clients, and one file of each
    is_looked_at: bool = False
    is_persons: bool = False  # another person's, and not to be read
    name: str | None = None


@dataclass(slots=True)
class _Counted:
    client: DrmClient
    at: float
    text: bytes  # what it was read from: most clients do nothing, and say the same again


class DrmPrograms:
    """Reads all of it. Blocking, and not thread-safe: one thread at a time. Never raises for what it finds."""

    name = "gpu_programs"

    def __init__(
        self,
        *,
        proc: Path = Path("/proc"),
        sys_root: Path = Path("/sys"),
        clock: Callable[[], float] = time.monotonic,
        stopwatch: Callable[[], float] = time.perf_counter,
        owner_of: Callable[[str], int] = lambda path: Path(path).stat().st_uid,
        own_uid: int | None = None,
        own_pid: int | None = None,
    ) -> None:
        """`owner_of` gives the user id that a folder of /proc belongs to, or raises OSError."""
        self._proc = str(proc)
        self._sys = sys_root
        self._clock = clock
        self._stopwatch = stopwatch
        self._owner_of = owner_of
        self._own_uid = os.getuid() if own_uid is None else own_uid
        self._own_pid = os.getpid() if own_pid is None else own_pid
        self._devices: Mapping[str, str] = {}  # slot → driver
        self._devices_at = float("-inf")
        self._known: dict[int, _Known] = {}
        self._counted: dict[tuple[str, int], _Counted] = {}

    def read(self) -> Mapping[str, CardPrograms]:
        """The cards of these drivers by their PCI slots. Empty where there is none: then no program is looked at.

        Use is since the last reading; a client that is new has used 0 so far.
        """
        now = self._clock()
        if now - self._devices_at >= DEVICES_S:
            self._devices, self._devices_at = _find_devices(self._sys), now
        if not self._devices:
            return {}
        pids = self._pids()
        self._look_for_files(pids, now)
        use = self._use(now)
        incomplete = self._incomplete(pids)
        return {
            slot: CardPrograms(
                driver=driver,
                programs=self._programs(use.get(slot, {}), self._computing() if driver == "amdgpu" else ()),
                incomplete=incomplete,
            )
            for slot, driver in self._devices.items()
        }

    def close(self) -> None:
        """Nothing is held open between readings."""

    def _pids(self) -> list[int]:
        try:
            return sorted(_numbers(self._proc, MOST_PROGRAMS))
        except OSError:
            return []

    # Files

    def _look_for_files(self, pids: list[int], now: float) -> None:
        """At those that are due, the longest overdue first, as far as the time goes. Our own window is nobody else."""
        for pid in self._known.keys() - set(pids):
            del self._known[pid]
        for pid in pids:
            if pid not in self._known and pid != self._own_pid:
                self._known[pid] = _Known(seen_at=now, look_at=now)
        due = sorted((known.look_at, pid) for pid, known in self._known.items() if known.look_at <= now)
        ends_at = self._stopwatch() + LIMIT_S
        for _, pid in due:
            if self._stopwatch() > ends_at:
                break
            known = self._known[pid]
            self._look_at(pid, known)
            known.look_at = now + (SOON_S if known.files or now - known.seen_at < YOUNG_S else LATER_S)
            known.is_looked_at = True

    def _look_at(self, pid: int, known: _Known) -> None:
        folder = f"{self._proc}/{pid}"
        files: dict[tuple[str, int], int] = {}
        try:
            for number in _numbers(f"{folder}/fd", MOST_FILES):
                is_card = _link(f"{folder}/fd/{number}").startswith("/dev/dri/")
                client = _read(f"{folder}/fdinfo/{number}") if is_card else None
                if client is not None:
                    files.setdefault(client.key, number)
            known.is_persons = False
        except OSError:  # another user's, or it has just ended
            known.is_persons = self._is_another_persons(folder)
        known.files, known.name = files, None  # it may have become another program

    def _is_another_persons(self, folder: str) -> bool:
        try:
            owner = self._owner_of(folder)
        except OSError:
            return False
        return owner in _PEOPLE and owner != self._own_uid

    # Figures

    def _use(self, now: float) -> dict[str, dict[int, float]]:
        """By slot and pid: the busiest of the engines of each client, added up."""
        use: dict[str, dict[int, float]] = {}
        counted: dict[tuple[str, int], _Counted] = {}
        files = [(pid, known, *file) for pid, known in self._known.items() for file in known.files.items()]
        for pid, known, key, number in islice(files, MOST_CLIENTS):
            if key in counted:  # the same opened card, held by two programs
                continue
            text = _bytes(f"{self._proc}/{pid}/fdinfo/{number}", MOST_BYTES)
            counted_client = self._count(key, text, now)
            if counted_client is None:  # closed, and the number may be another file's now
                del known.files[key]
                known.look_at = now
                continue
            percent, counted[key] = counted_client
            of_card = use.setdefault(key[0], {})
            of_card[pid] = of_card.get(pid, 0.0) + percent
        self._counted = counted
        return use

    def _count(self, key: tuple[str, int], text: bytes, now: float) -> tuple[float, _Counted] | None:
        """(percent since the last reading, what to remember); None where the file is no more this client's."""
        before = self._counted.get(key)
        if before is not None and text == before.text:
            before.at = now
            return 0.0, before
        client = read_client(text.decode("utf-8", errors="replace"))
        if client is None or client.key != key:
            return None
        if before is None:
            return 0.0, _Counted(client, now, text)
        passed_s = now - before.at
        if passed_s < SHORTEST_WINDOW_S:
            return 0.0, before
        shares = [
            percent_between(engine, client.engines[name], int(passed_s * 1e9))
            for name, engine in before.client.engines.items()
            if name in client.engines
        ]
        engines: dict[str, Engine] = {
            name: caught_up(before.client.engines.get(name, engine), engine) for name, engine in client.engines.items()
        }
        kept = DrmClient(slot=client.slot, number=client.number, engines=engines)
        return max(shares, default=0.0), _Counted(kept, now, text)

    def _programs(self, use: Mapping[int, float], computing: Iterable[int]) -> tuple[GpuProcess, ...]:
        told: dict[int, float | None] = {pid: min(100.0, percent) for pid, percent in use.items()}
        told |= dict.fromkeys(computing)  # whatever it draws, what it computes is not told
        return tuple(
            GpuProcess(pid=pid, name=self._name_of(pid), utilisation_percent=percent)
            for pid, percent in sorted(told.items())
        )

    def _computing(self) -> Iterable[int]:
        """Programs that have AMD's compute driver open."""
        try:
            return _numbers(str(self._sys / "class/kfd/kfd/proc"), MOST_PROGRAMS)
        except OSError:
            return ()

    def _incomplete(self, pids: list[int]) -> str:
        if _link(f"{self._proc}/self/ns/pid") != _FIRST_PID_NAMESPACE:
            return CONTAINER
        if 1 not in pids:  # mounted with hidepid
            return HIDDEN
        if any(known.is_persons for known in self._known.values()):
            return OTHER_USERS
        return "" if all(known.is_looked_at for known in self._known.values()) else NOT_YET

    def _name_of(self, pid: int) -> str:
        known = self._known.get(pid)
        if known is None:
            return ""
        if known.name is None:
            known.name = _program_name(f"{self._proc}/{pid}")
        return known.name


def _find_devices(sys_root: Path) -> dict[str, str]:
    """PCI slot → driver, of each card of these drivers."""
    found = {}
    for node in sys_root.glob("class/drm/card*"):
        if node.name.removeprefix("card").isdigit():
            driver = (node / "device/driver").resolve().name
            if driver in DRIVERS:
                found[(node / "device").resolve().name.lower()] = driver
    return found


def _program_name(folder: str) -> str:
    """As psutil has it: the kernel's short name, in full where the command line has the rest of it."""
    name = _text(f"{folder}/comm", 64).strip()
    if len(name.encode()) >= _COMM_LENGTH:
        first = _text(f"{folder}/cmdline", 4_096).partition("\0")[0].rpartition("/")[2]
        name = first if first.startswith(name) else name
    return re.sub(r"[\x00-\x1f\x7f]", "", name)[:100]


def _read(path: str) -> DrmClient | None:
    return read_client(_text(path, MOST_BYTES))


def _text(path: str, most: int) -> str:
    return _bytes(path, most).decode("utf-8", errors="replace")


def _bytes(path: str, most: int) -> bytes:
    """The first of a file's bytes; b"" where it can't be read."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(file, most)
    except OSError:
        return b""
    finally:
        os.close(file)


def _link(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115 - thousands of them: a Path each takes as long again
    except (OSError, ValueError):
        return ""


def _numbers(folder: str, most: int) -> list[int]:
    """Those of a folder's first entries whose names are numbers. Raises OSError."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in islice(entries, most)]
    return [int(name) for name in names if name.isascii() and name.isdigit() and len(name) < 10]
