"""How many of what, in words."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """ "1 session", "1,204 sessions": for nouns that take an s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
