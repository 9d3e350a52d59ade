"""Which settings make up each of the owner's rules on the rules page, and how they are read and written. Pure.

Texts are English source strings; whoever shows them passes them through `tr()`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from core.config import Settings
from core.reasons.catalogue import KINDS
from core.rules import Effect, MemoryThen, SessionsThen
from core.rules.effects import DEFAULT_EFFECTS, OFF, BadEffect, format_effect, parse_effect
from core.rules.schedule import ALWAYS, BadSchedule, Grid, parse_schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleForm:
    """One row. `switch` is its setting for yes and no; "" where the effect "off" is the switch."""

    code: str
    title: str  # what the switch turns on
    switch: str = ""
    fields: tuple[str, ...] = ()  # numbers
    extra: str = ""  # a setting with an editor of its own: "listed_apps", "schedule"

    @property
    def meaning(self) -> str:
        return KINDS[self.code].meaning

    @property
    def effect(self) -> str:
        """The setting that says what it does."""
        return f"{self.code}_effect"

    @property
    def settings(self) -> tuple[str, ...]:
        """Every setting of the row."""
        return tuple(filter(None, (self.switch, *self.fields, self.extra, self.effect)))


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleGroup:
    title: str
    forms: tuple[RuleForm, ...]


GROUPS = (
    RuleGroup(
        title="While you use this computer",
        forms=(
            RuleForm(
                code="in_use",
                title="Share only when I'm away",
                switch="pause_while_in_use",
                fields=("idle_minutes",),
            ),
            RuleForm(
                code="listed_app",
                title="Make way for my programs",
                fields=("listed_app_hold_s",),
                extra="listed_apps",
            ),
            RuleForm(code="full_screen", title="Make way for full screen", switch="pause_in_full_screen"),
            RuleForm(
                code="gpu_in_use",
                title="Make way when others use the graphics card",
                fields=(
                    "gpu_others_percent",
                    "gpu_others_for_s",
                    "gpu_others_resume_percent",
                    "gpu_others_resume_s",
                    "gpu_look_after_s",
                ),
            ),
            RuleForm(
                code="cpu_busy",
                title="Make way when others use the processor",
                fields=("cpu_others_percent", "cpu_others_for_s", "cpu_others_resume_s"),
            ),
            RuleForm(code="vram_short", title="Keep graphics memory for me", fields=("vram_reserve_mb",)),
            RuleForm(code="ram_short", title="Keep memory for me", fields=("ram_reserve_mb",)),
            RuleForm(code="memory_tight", title="Let nobody in while memory gets short"),
            RuleForm(code="engine_used_by_owner", title="Make way when I use the engine myself"),
        ),
    ),
    RuleGroup(
        title="Hours and budget",
        forms=(
            RuleForm(code="schedule", title="Share only in my hours", extra="schedule"),
            RuleForm(
                code="budget_spent",
                title="Keep to a budget each day",
                fields=("hours_per_day", "kwh_per_day", "tariff_per_kwh", "serving_power_w"),
            ),
        ),
    ),
    RuleGroup(
        title="Power, heat and network",
        forms=(
            RuleForm(code="on_battery", title="Don't share on battery", switch="pause_on_battery"),
            RuleForm(
                code="battery_low",
                title="Don't share when the battery is low",
                fields=("battery_low_percent",),
            ),
            RuleForm(
                code="gpu_hot",
                title="Let the graphics card cool down",
                fields=("gpu_max_c", "gpu_resume_c", "gpu_target_c"),
            ),
            RuleForm(
                code="cpu_hot",
                title="Let the processor cool down",
                fields=("cpu_max_c", "cpu_resume_c", "cpu_target_c"),
            ),
            RuleForm(code="gpu_lost", title="Stop when the graphics card is gone"),
            RuleForm(code="metered", title="Don't share over a metered network", switch="pause_on_metered"),
        ),
    ),
)
FORMS: Mapping[str, RuleForm] = MappingProxyType({form.code: form for group in GROUPS for form in group.forms})
FORM_OF_SETTING: Mapping[str, RuleForm] = MappingProxyType(
    {name: form for form in FORMS.values() for name in form.settings}
)

SESSIONS_WORDS = {
    SessionsThen.STOP: "Running sessions are stopped after",
    SessionsThen.FINISH: "Running sessions may finish within",
    SessionsThen.SERVE: "Sessions go on: I'm only told",
}
MEMORY_WORDS = {MemoryThen.UNLOAD: "Give the model's memory back", MemoryThen.KEEP: "Keep the model in memory"}


def is_switched_on(form: RuleForm, settings: Settings) -> bool:
    return getattr(settings, form.effect) != OFF and (not form.switch or bool(getattr(settings, form.switch)))


def switch_changes(form: RuleForm, settings: Settings, is_on: bool, effect_before: str) -> dict[str, str | None]:
    """What to write to turn a rule on or off. `effect_before` is what it did when it was last on, "" when unknown."""
    if not is_on:
        return {form.switch: "false"} if form.switch else {form.effect: OFF}
    changes: dict[str, str | None] = {form.switch: "true"} if form.switch else {}
    if getattr(settings, form.effect) == OFF:
        changes[form.effect] = effect_before or None
    return changes


def effect_of(text: str) -> Effect:
    """The effect that a setting says; for "off", or a text that is none, the one it would have by itself."""
    try:
        effect = parse_effect(text)
    except BadEffect:
        effect = None
    return effect or Effect(sessions=SessionsThen.FINISH, limit_s=None, memory=MemoryThen.KEEP)


def default_effect_of(form: RuleForm) -> str:
    return DEFAULT_EFFECTS[form.code]


def effect_text(sessions: SessionsThen, seconds: str, memory: MemoryThen) -> tuple[str, str]:
    """The setting's text, and what is wrong with the seconds ("" when nothing is). No seconds: no limit, or at once."""
    words = seconds.strip().removesuffix("s").strip().replace(",", ".")
    if sessions is SessionsThen.SERVE:
        return format_effect(Effect(sessions=sessions, limit_s=None, memory=MemoryThen.KEEP)), ""
    if not words:
        return format_effect(Effect(sessions=sessions, limit_s=None, memory=memory)), ""
    verb = "stop after" if sessions is SessionsThen.STOP else "finish within"
    try:
        return format_effect(parse_effect(f"{verb} {words} s, {memory}")), ""
    except BadEffect:
        return "", "Type seconds from 0 to 86,400, or nothing."


def seconds_text(effect: Effect) -> str:
    return "" if effect.limit_s is None else f"{effect.limit_s:g}"


def grid_of(text: str) -> Grid:
    """The hours that a setting says; all of them where the text is none (the settings' own check has said so)."""
    try:
        return parse_schedule(text)
    except BadSchedule:
        return ALWAYS


def added_apps(apps: tuple[str, ...], new: str) -> tuple[tuple[str, ...], str]:
    """The list with one more entry, and why it can't be added ("" when it was)."""
    name = new.strip()
    if not name:
        return apps, ""
    if "," in name:
        return apps, "A name with a comma can't stand in this list. Take its folder instead."
    if not name.isprintable():
        return apps, "This name has characters that can't be written."
    return (apps if name in apps else (*apps, name)), ""
