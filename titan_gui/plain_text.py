"""The core's texts as a window may show them: without what is for a terminal, and without gRPC's own words. Pure."""

from __future__ import annotations

import re
from functools import lru_cache

from core.config import DECLARATIONS
from titan_gui.settings_text import title_of

_FOREIGN = re.compile(
    r"`|\btitan [a-z]"  # commands of ours
    r"|\b(?:ollama (?:pull|serve|run|list)|pip install|chmod|sudo|systemctl)\b"
    r"|(?<![\w-])--[a-z]"
    r"|\b[A-Z][A-Z0-9_]*=|\bTITAN_HOME\b"  # NAME=value; the one name that is no setting's
    r"|\b(?:UNKNOWN|UNAVAILABLE|INTERNAL|CANCELLED|ABORTED|UNIMPLEMENTED|UNAUTHENTICATED|INVALID_ARGUMENT|NOT_FOUND"
    r"|ALREADY_EXISTS|DEADLINE_EXCEEDED|PERMISSION_DENIED|RESOURCE_EXHAUSTED|FAILED_PRECONDITION|OUT_OF_RANGE|DATA_LOSS)\b"
    r"|\b[Gg][Rr][Pp][Cc]|\bipv[46]:|\bGOAWAY\b|\bRST_STREAM\b|\b(?:RegisterAgent|ReportHealth|GetPublicKey)\b"
)
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+(?=[A-Z“])")
_IN_BRACKETS = re.compile(r"\s*\([^()]*\)")
_BOUNDARY = re.compile(r"(?:,? or)?(?:[:;,](?=\s|$)|\s\()(?:\s*or:?)?")
_FEWEST_WORDS = 2  # of what is left: "First" says nothing

_SETTING_OF = {
    name: declaration.name
    for declaration in DECLARATIONS.values()
    for name in (declaration.name, *declaration.environment_names)
    if "_" in name  # "engine" and "share" are words of their own
}
_LONGEST_FIRST = "|".join(sorted(map(re.escape, _SETTING_OF), key=len, reverse=True))
_NAMES = re.compile(rf"(?<!environment )(?<![\w/\\.-])(?:{_LONGEST_FIRST})(?![\w/\\])")
_TWICE = re.compile(r"(“[^”]+”) \(\1\)")


def sentences(*parts: str) -> str:
    """The parts that say something, one after the other, each ended by a full stop where it has no end of its own."""
    said = [part.strip() for part in parts if part.strip()]
    return " ".join(part if part[-1] in ".!?…" else f"{part}." for part in said)


@lru_cache(maxsize=256)  # the same few sentences come with every snapshot
def plain(text: str) -> str:
    """The core's text without what is for a terminal or from gRPC; settings by their names for people.

    A sentence is cut where the foreign part begins, back to the last colon, comma or bracket; nothing is left of one
    that has no such place.
    """
    if not (_FOREIGN.search(text) or _NAMES.search(text)):
        return text
    lines = []
    for line in text.splitlines():
        kept = (_cut(part) for part in _SENTENCE_END.split(_IN_BRACKETS.sub(_without_foreign, line)))
        lines.append(" ".join(part for part in kept if part))
    said = _NAMES.sub(lambda found: f"“{title_of(_SETTING_OF[found.group()])}”", "\n".join(lines))
    return _TWICE.sub(r"\1", said).strip()


def _without_foreign(found: re.Match[str]) -> str:
    return "" if _FOREIGN.search(found.group()) else found.group()


def _cut(sentence: str) -> str:
    foreign = _FOREIGN.search(sentence)
    if foreign is None:
        return sentence
    before = sentence[: foreign.start()].rstrip()
    ends = [found.start() for found in _BOUNDARY.finditer(before)]
    kept = before[: ends[-1]].rstrip(" ,;:") if ends else ""
    return f"{kept}." if len(kept.split()) >= _FEWEST_WORDS else ""
