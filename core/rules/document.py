"""docs/rules.md, made from rules and reasons: scripts/generate-settings-doc writes it, a test keeps it equal."""

from __future__ import annotations

from collections.abc import Iterator

from core.reasons import CATALOGUE, KINDS, ReasonKind
from core.rules.effects import DEFAULT_EFFECTS
from core.rules.table import RULES

_INTRODUCTION = """\
# When it doesn't serve, and why

<!-- Made by scripts/generate-settings-doc from core/reasons.py and core/rules. Change it there. -->

It serves while no reason holds that blocks. The window's first line, the tray's tooltip and `titan status` name the
strongest reason, then all others; the Rules page and `titan rules` list every rule, whether it holds, and what can't be
told on this machine. The ribbon on the dashboard (`titan time`) shows which reason took how much of the last 24 hours.

What can't be told (no desktop session, no battery sensor, a desktop that doesn't say whether a window is full screen)
is shown with its cause, and never read as "nobody is there": the rule about mouse and keyboard, where you switched it
on, blocks when it can't tell; the others don't.
"""

_RULES = """
## Your rules

Looked at once a second at most, and at once when something changes. A rule begins and ends only after its time of
holding (the settings beside it), so nothing flickers. Each effect is a setting of its own, in words:
`stop after 5 s, unload`, `finish within 30 s, unload`, `finish, keep`, or `off`. *Stop* ends the running sessions after
that time, *finish* lets them end by themselves within it; *unload* gives the model's memory back and measures that it
came, *keep* leaves it.

| rule | it holds | effect as delivered | settings |
|---|---|---|---|
"""

_OTHERS = """
## Other reasons

| reason | it holds | what follows | setting |
|---|---|---|---|
"""


def rules_document() -> str:
    """The whole document, as Markdown; rules and reasons strongest first."""
    codes = {rule.code for rule in RULES}
    rules = [_rule_row(rule.code) for rule in RULES]
    return _INTRODUCTION + _RULES + "\n".join(rules) + "\n" + _OTHERS + "\n".join(_reason_rows(codes)) + "\n"


def _rule_row(code: str) -> str:
    kind = KINDS[code]
    settings = dict.fromkeys((kind.setting, f"{code}_effect"))
    return _row(kind.title, kind.meaning, f"`{DEFAULT_EFFECTS[code]}`", _names(settings))


def _reason_rows(rules: set[str]) -> Iterator[str]:
    for kind in CATALOGUE:
        if kind.code not in rules:
            yield _row(kind.title, kind.meaning, _effect(kind), _names([kind.setting]))


def _effect(kind: ReasonKind) -> str:
    return kind.effect if kind.blocks else f"{kind.effect} It blocks nobody."


def _names(settings: dict[str, None] | list[str]) -> str:
    return ", ".join(f"`{name}`" for name in settings if name)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
