"""What one file of /proc/<pid>/fdinfo says of a program's use of an AMD or Intel card. Pure.

Source: the kernel's documentation, "DRM client usage stats", and those of i915 and xe. amdgpu and i915 tell nanoseconds
in which an engine worked for the client; xe tells its cycles, beside all that have passed. Both grow for ever, and may
stand still or step back for a moment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

DRIVERS = frozenset({"amdgpu", "i915", "xe"})
# Drawing and computing. Video and copy engines are left out: a film is no game (full screen is a rule of its own).
ENGINES = frozenset({"gfx", "compute", "render", "rcs", "ccs"})
MOST_BYTES = 16 * 1024  # of one file: a real one has about 1 KiB

_LINE = re.compile(r"^(drm-[a-z0-9-]+):[ \t]*(\S+)(?:[ \t]+(\S+))?[ \t]*$", re.ASCII | re.MULTILINE)
_NUMBER = re.compile(r"[0-9]{1,20}", re.ASCII)
_SLOT = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One kind of engine of a card, as far as it worked for one client."""

    busy: int  # nanoseconds, or cycles where `total` is told
    total: int | None = None  # cycles that have passed
    capacity: int = 1  # how many such engines there are


@dataclass(frozen=True, slots=True, kw_only=True)
class DrmClient:
    """One opened card. Duplicates of its file, in other programs too, say the same `slot` and `number`."""

    slot: str  # the card's, "0000:03:00.0"
    number: int
    engines: Mapping[str, Engine] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, int]:
        return self.slot, self.number


def read_client(text: str) -> DrmClient | None:
    """None where the text is of no card of these drivers, or lacks what tells one client from another."""
    found = {key: (value, unit) for key, value, unit in _LINE.findall(text)}
    driver, slot, number = (found.get(f"drm-{key}", ("", ""))[0] for key in ("driver", "pdev", "client-id"))
    if driver not in DRIVERS or not _SLOT.fullmatch(slot.lower()) or not _NUMBER.fullmatch(number):
        return None
    told = ENGINES & {key.rpartition("-")[2] for key in found}
    engines = {name: engine for name in told if (engine := _engine(found, name)) is not None}
    return DrmClient(slot=slot.lower(), number=int(number), engines=engines)


def percent_between(before: Engine, after: Engine, passed_ns: int) -> float:
    """An engine's use by the client between two looks, 0 to 100. A counter that steps back stands still."""
    window = passed_ns
    if after.total is not None:
        window = after.total - before.total if before.total is not None else 0
    busy = after.busy - before.busy
    if window <= 0 or busy <= 0:
        return 0.0
    return min(100.0, 100.0 * busy / (window * after.capacity))


def caught_up(before: Engine, after: Engine) -> Engine:
    """What is remembered of two looks: the larger count, until the driver has caught up with it."""
    return before if after.busy < before.busy else after


def _engine(found: Mapping[str, tuple[str, str]], name: str) -> Engine | None:
    capacity = max(1, _number(found, f"drm-engine-capacity-{name}") or 1)
    total = _number(found, f"drm-total-cycles-{name}")
    cycles = _number(found, f"drm-cycles-{name}")
    if total is not None and cycles is not None:
        return Engine(busy=cycles, total=total, capacity=capacity)
    value, unit = found.get(f"drm-engine-{name}", ("", ""))
    if unit != "ns" or not _NUMBER.fullmatch(value):
        return None
    return Engine(busy=int(value), capacity=capacity)


def _number(found: Mapping[str, tuple[str, str]], key: str) -> int | None:
    value, unit = found.get(key, ("", ""))
    return int(value) if not unit and _NUMBER.fullmatch(value) else None
