"""docs/rules.md, made from rules and reasons: scripts/generate-settings-doc writes it, a test keeps it equal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from core.reasons.catalogue import CATALOGUE, KINDS, ReasonKind
from core.rules.effects import DEFAULT_EFFECTS
from core.rules.table import RULES

_INTRODUCTION = """\
# When it doesn't serve, and why

<!-- Made by scripts/generate-settings-doc from core/reasons and core/rules. Change it there. -->

It serves while no reason holds that blocks. The window's first line, the tray's tooltip and `titan status` name the
strongest reason, then all others; the Rules page and `titan rules` list every rule, whether it holds, and what can't be
told on this machine. The ribbon on the dashboard (`titan time`) shows which reason took how much of the last 24 hours.

What can't be told (no desktop session, no battery sensor, a desktop that doesn't say whether a window is full screen)
is shown with its cause, and never read as "nobody is there": the rule about mouse and keyboard, where you switched it
on, blocks when it can't tell; the others don't.

A signal that was told, and then isn't any more, is another matter: [what follows](#when-a-signal-is-lost) differs from
rule to rule.
"""

_RULES = """
## Your rules

Looked at when something changes, when a time is over, and each second while sessions run. Memory, temperature and use
of processor and card are read each 2 s; each 4 s while no model is in memory, nobody is served, no rule is about to
begin or to end, and nobody looks (the window, `titan status --watch`).

A rule begins and ends only after its time of holding (the settings beside it), so nothing flickers; one whose reason
you take away yourself, by another limit, ends at once, but for those of short memory. Each effect is a setting of its
own, in words:
`stop after 5 s, unload`, `finish within 30 s, unload`, `finish, keep`, or `off`. *Stop* ends the running sessions after
that time, *finish* lets them end by themselves within it; *unload* gives the model's memory back and measures that it
came, *keep* leaves it.

| rule | it holds | effect as delivered | settings |
|---|---|---|---|
"""

_HEAT = """
## Heat

A graphics card stops serving at 80 °C and begins again at 75 (`gpu_max_c`, `gpu_resume_c`). The processor has a limit
of its own, 90 and 85 °C (`cpu_max_c`, `cpu_resume_c`): 85 to 95 is what most laptops run at while they work hard, and a
card's 80 would close nearly every one at once; at 90 its fan is loud and it begins to slow itself down. A desktop
processor that is built to run at 95 wants 96 or more here. What counts is the mean of about 10 s, for 10 s, since a
processor jumps by 20 °C within a second; and it shares again after a minute at or below the lower figure. Where the
processor's own sensor names a critical mark, sharing ends 5 below it whatever the setting says. It counts whoever heats
it, and also where the graphics card does the serving: in a laptop both share one cooler.

With `gpu_target_c` or `cpu_target_c` fewer sessions run above that temperature, one fewer each 30 s down to a break,
and one more each 30 s from 5 below it.

The processor is read on Linux: the sensor of the processor itself (`coretemp`: the package; `k10temp`, `zenpower`:
Tdie, else Tctl), else of the chip that holds it (`cpu_thermal`), else the board's (`acpitz`). Values that can't be are
ignored. Windows and macOS don't tell other programs; the rule then holds nothing, and says so.
"""

_LOST = """
## When a signal is lost

A battery that no longer says whether it is in use, a driver that fell silent: one failed reading changes nothing. After
30 s without a break (a rule's own time of holding where that is longer) this is what a rule does. Until then, and
afterwards, `titan rules` and the Rules page name the cause. While a rule holds on because nothing tells it that it
needn't, its own sentence says since when and why ("The machine runs on its battery. Since 14:05 that can't be told:
…"); of one that doesn't hold you are told on the dashboard and in `titan status`, for it can't begin before it is told
again. What is gone rather than lost (a card that you no longer lend) ends its rule. The way out, at any time, is the
rule's switch on the Rules page.

| rules | once their signal is lost | why |
|---|---|---|
"""
_WHY_LOST = (
    (("in_use",), "You may be there."),
    (("on_battery", "battery_low"), "Serving on a guess would empty the battery."),
    (("gpu_hot", "cpu_hot"), "A sensor that falls silent on what is hot is no sign that it has cooled."),
    (("vram_short", "ram_short"), "The model's return could take what your programs need."),
    (("metered",), "Serving on a guess would cost you money."),
    (
        ("listed_app", "gpu_in_use", "full_screen"),
        "If it still runs you are there, and are told; if not, the machine would stay closed for nobody.",
    ),
    (("memory_tight", "cpu_busy"), "It costs you little if it is wrong."),
)

_SHARING = """
## Sharing now although you are here

*Share now* for 1 hour, 4 hours or until tomorrow 8:00 (the tray's menu, a button on the dashboard where only such rules
hold it back, `titan share-now --for 1h`; 48 hours at most) lets the rules wait that are there for you alone. Those that
protect the machine, its battery's last charge or your money hold as always, and so does everything below. What waits
goes on being looked at: `titan rules` and the Rules page say which rule waits, and the first line, the tray's tooltip
and `titan status` until when.

It ends at its time, by *Follow my rules again* or `titan follow-rules`, and with any pause, *Take my GPU back now*
too; while paused it can't be begun. A rule that holds then begins as if it had just come up, with the time that its
effect leaves running sessions. It follows the clock as a timed pause does, but never lasts longer where the clock is
set back, and it survives a restart; where you share only by hand, each start is a pause, and so ends it.

| rules | while you share now | why |
|---|---|---|
"""
_WHY_SHARED = (
    (("schedule", "budget_spent"), "You made them for every day; what you say now is for today."),
    (("in_use", "full_screen", "listed_app"), "They guess that you want the machine for yourself: you just said."),
    (("gpu_in_use", "cpu_busy", "engine_used_by_owner"), "It may get slower for both, and nothing breaks."),
    (("on_battery",), "You see that it is unplugged; *Battery low* still holds."),
    (("battery_low",), "An empty battery ends your own work too."),
    (("gpu_hot", "cpu_hot"), "Heat harms the machine, whoever sits at it."),
    (("vram_short", "ram_short", "memory_tight"), "Without memory the system ends programs, yours among them."),
    (("metered",), "What it costs can't be seen here. Switch the rule off where it costs you nothing."),
    (("gpu_lost",), "There is nothing to serve with."),
)

_OTHERS = """
## Other reasons

| reason | it holds | what follows | setting |
|---|---|---|---|
"""


def rules_document() -> str:
    """The whole document, as Markdown; rules and reasons strongest first."""
    rules = {rule.code for rule in RULES}
    return "".join(
        (
            _INTRODUCTION,
            *_table(_RULES, (_rule_row(rule.code) for rule in RULES)),
            _HEAT,
            *_table(_LOST, (_lost_row(codes, why) for codes, why in _WHY_LOST)),
            *_table(_SHARING, (_shared_row(codes, why) for codes, why in _WHY_SHARED)),
            *_table(_OTHERS, _reason_rows(rules)),
        )
    )


def _table(head: str, rows: Iterable[str]) -> Iterator[str]:
    yield head
    yield from (f"{row}\n" for row in rows)


def _lost_row(codes: tuple[str, ...], why: str) -> str:
    (does,) = {rule.when_lost.value for rule in RULES if rule.code in codes}
    return _row(_titles(codes), f"{does[0].upper()}{does[1:]}.", why)


def _shared_row(codes: tuple[str, ...], why: str) -> str:
    (waits,) = {rule.is_comfort for rule in RULES if rule.code in codes}
    return _row(_titles(codes), "wait" if waits else "hold", why)


def _titles(codes: tuple[str, ...]) -> str:
    return ", ".join(f"*{KINDS[code].title}*" for code in codes)


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
