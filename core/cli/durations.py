"""Lengths of time as people write and read them: 90s, 15m, 1h30m, 2d."""

from __future__ import annotations

import re

from core.errors import AgentError

_UNITS_S = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_WHOLE = re.compile(r"(?:\d{1,9}(?:\.\d{1,3})?[dhms])+", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)([dhms])", re.ASCII)


class BadDuration(AgentError):
    """Text that is no length of time."""

    title = "No length of time"


def parse_duration(text: str) -> float:
    """Seconds, more than 0. Units are d, h, m and s, each at most once and the largest first. Raises BadDuration."""
    compact = text.replace(" ", "").lower()
    parts = _PART.findall(compact) if _WHOLE.fullmatch(compact) else []
    units = [unit for _, unit in parts]
    if not parts or units != sorted(set(units), key=list(_UNITS_S).index):
        raise BadDuration(f"{text!r} is not understood", hint="Write it as 90s, 15m, 1h, 1h30m or 2d.")
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    if seconds <= 0:
        raise BadDuration(f"{text!r} is no time at all", hint="Write it as 90s, 15m, 1h, 1h30m or 2d.")
    return seconds


def format_duration(seconds: float) -> str:
    """The two largest units: "2 d 3 h", "1 h 30 min", "45 s". Below a second: "0 s"."""
    rest = max(0, int(seconds))
    names = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    counts = []
    for name, size in names:
        counts.append((rest // size, name))
        rest %= size
    first = next((index for index, (count, _) in enumerate(counts) if count), len(counts) - 1)
    shown = [f"{count} {name}" for count, name in counts[first : first + 2] if count or name == "s"]
    return " ".join(shown[:1] if shown[1:] == ["0 s"] else shown)
