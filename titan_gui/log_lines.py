"""Lines of the agent's JSON log as the log page shows them: readable, with a level to filter by. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from core.log_format import dated_line, read_json_line

LEVELS = ("debug", "info", "warning", "error")
_RANKS = {"debug": 0, "info": 1, "warning": 2, "error": 3, "critical": 3}


@dataclass(frozen=True, slots=True)
class LogLine:
    """One event. `text` may have several lines (a traceback); no control character is in it."""

    level: str  # "" where the line was no event of ours
    text: str

    @property
    def rank(self) -> int:
        """How bad it is: 0 to 3; a line that can't be read counts as the worst, so that no filter hides it."""
        return _RANKS.get(self.level, 3)


def read_line(raw: str) -> LogLine:
    """A line of the file, with local time and date; what is no JSON event of ours is shown as it is."""
    event = read_json_line(raw)
    if event is None:
        return LogLine("", "".join(char if char.isprintable() else "�" for char in raw))
    return LogLine(event.level, dated_line(event, has_colour=False))


def matching(lines: Iterable[LogLine], least: str, words: str) -> list[LogLine]:
    """The lines at `least` or worse that hold every one of `words`, whatever their case."""
    rank, wanted = _RANKS.get(least, 0), words.casefold().split()
    return [line for line in lines if line.rank >= rank and all(word in line.text.casefold() for word in wanted)]
