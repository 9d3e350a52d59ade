"""Whether a model fits this machine's memory: a verdict with its numbers in words.

The rule is a first one (the file's size and a fifth more, for the context and the engine's own buffers); the window
and the command line only know `judge`, so a finer rule can take its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from core.snapshot import AgentSnapshot

OVERHEAD = 1.2  # memory over file size, from issue 4
_MIB = 1 << 20


class Fit(StrEnum):
    FITS = "fits"
    TIGHT = "tight"  # not now: other programs hold the memory
    TOO_BIG = "too big"  # not even with everything else closed
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The memory that models live in, MiB. None means "not measured"."""

    kind: str = "ram"  # "vram" or "ram"
    free_mb: int | None = None  # now, what our own loaded models hold counted as free
    budget_mb: int | None = None  # what the owner lends at most: everything but the reserve


@dataclass(frozen=True, slots=True, kw_only=True)
class FitVerdict:
    fit: Fit
    sentence: str
    needed_mb: int | None = None


class FitRule(Protocol):
    def __call__(self, size_bytes: int | None, room: Room) -> FitVerdict: ...


def judge(size_bytes: int | None, room: Room) -> FitVerdict:
    """The verdict on a model file of this size (all its parts), None where the engine doesn't say."""
    if size_bytes is None or size_bytes <= 0:
        return FitVerdict(fit=Fit.UNKNOWN, sentence="The engine does not say how big it is.")
    needed_mb = -int(-size_bytes * OVERHEAD // _MIB)
    where = "graphics memory" if room.kind == "vram" else "memory"
    needs = f"Needs about {_gigabytes(needed_mb)} of {where}"
    if room.free_mb is None or room.budget_mb is None:
        return FitVerdict(fit=Fit.UNKNOWN, sentence=f"{needs}; how much there is isn't known.", needed_mb=needed_mb)
    lent = f"you lend {_gigabytes(room.budget_mb)}"
    free = f"{_gigabytes(min(room.free_mb, room.budget_mb))} is free"
    if needed_mb > room.budget_mb:
        return FitVerdict(fit=Fit.TOO_BIG, sentence=f"{needs}; {lent}.", needed_mb=needed_mb)
    if needed_mb > room.free_mb:
        sentence = f"{needs}; {free} now, {lent}. Close other programs first."
        return FitVerdict(fit=Fit.TIGHT, sentence=sentence, needed_mb=needed_mb)
    return FitVerdict(fit=Fit.FITS, sentence=f"{needs}; {free}.", needed_mb=needed_mb)


def room_of(snapshot: AgentSnapshot) -> Room:
    """The room as the running agent sees it."""
    machine, kind = snapshot.machine, snapshot.capacity.kind
    budget_mb = snapshot.capacity.total_mb or None
    if machine is None:
        return Room(kind=kind, budget_mb=budget_mb)
    if kind == "vram":
        free_mb = machine.free_vram_mb
        own_mb = sum(model.vram_mb or 0 for model in snapshot.loaded_models)
    else:
        free_mb, own_mb = machine.free_ram_mb, machine.own_ram_mb or 0
    return Room(kind=kind, free_mb=None if free_mb is None else free_mb + own_mb, budget_mb=budget_mb)


def _gigabytes(megabytes: int) -> str:
    return f"{megabytes} MB" if megabytes < 1024 else f"{megabytes / 1024:.1f} GB"
