"""Every rule, strongest first as in core/reasons/catalogue.py: what it looks at, and when it begins and ends."""

from __future__ import annotations

from collections.abc import Callable

from core.rules import looks, memory_looks
from core.rules.look import Rule, WhenLost
from core.rules.schedule import ALWAYS
from core.rules.settings import RuleSettings

SETTLE_S = 10.0  # plugged in, full screen left: twice within this long is once
MEMORY_BEGINS_S = 5.0
MEMORY_ENDS_S = 30.0
TIGHT_BEGINS_S = 1.0
METERED_BEGINS_S, METERED_ENDS_S = 5.0, 30.0
# A processor cools within seconds of our leaving it alone, and its fan takes longer to get quiet: without a minute
# between, it would be warmed up again three times in that time.
CPU_HOT_BEGINS_S, CPU_HOT_ENDS_S = 10.0, 60.0


def _always(_: RuleSettings) -> bool:
    return True


def _seconds(value: float) -> Callable[[RuleSettings], float]:
    return lambda _: value


RULES = (
    Rule(
        code="schedule",
        signals=(),
        is_on=lambda rules: rules.grid != ALWAYS,
        look=looks.schedule,
        is_comfort=True,
    ),
    Rule(
        code="in_use",
        signals=("idle_s",),
        is_on=lambda rules: rules.values.pause_while_in_use,
        look=looks.in_use,
        least=lambda rules: rules.values.idle_minutes * 60,
        when_lost=WhenLost.BLOCKS,
        is_comfort=True,
    ),
    Rule(
        code="listed_app",
        signals=("listed_apps",),
        is_on=lambda rules: bool(rules.values.listed_apps),
        look=looks.listed_app,
        ends_after=lambda rules: rules.values.listed_app_hold_s,
        when_lost=WhenLost.STAYS_A_WHILE,
        is_comfort=True,
    ),
    Rule(
        code="gpu_in_use",
        signals=("gpu_use_by_others",),
        is_on=_always,
        look=looks.gpu_in_use,
        begins_after=lambda rules: rules.values.gpu_others_for_s,
        ends_after=lambda rules: rules.values.gpu_others_resume_s,
        when_lost=WhenLost.STAYS_A_WHILE,
        is_comfort=True,
    ),
    Rule(
        code="full_screen",
        signals=("full_screen",),
        is_on=lambda rules: rules.values.pause_in_full_screen,
        look=looks.full_screen,
        ends_after=_seconds(SETTLE_S),
        when_lost=WhenLost.STAYS_A_WHILE,
        is_comfort=True,
    ),
    Rule(
        code="on_battery",
        signals=("power",),
        is_on=lambda rules: rules.values.pause_on_battery,
        look=looks.on_battery,
        ends_after=_seconds(SETTLE_S),
        when_lost=WhenLost.STAYS,
        is_comfort=True,
    ),
    Rule(
        code="battery_low",
        signals=("power",),
        is_on=lambda rules: rules.values.battery_low_percent > 0,
        look=looks.battery_low,
        ends_after=_seconds(SETTLE_S),
        when_lost=WhenLost.STAYS,
    ),
    Rule(
        code="gpu_hot",
        signals=("gpu_temperature_c",),
        is_on=_always,
        look=looks.gpu_hot,
        ends_after=_seconds(SETTLE_S),
        when_lost=WhenLost.STAYS,  # a driver that falls silent on a hot card is no sign of a cool one
    ),
    Rule(
        code="cpu_hot",
        signals=("processor_heat",),
        is_on=_always,
        look=looks.cpu_hot,
        begins_after=_seconds(CPU_HOT_BEGINS_S),
        ends_after=_seconds(CPU_HOT_ENDS_S),
        when_lost=WhenLost.STAYS,
    ),
    Rule(
        code="vram_short",
        signals=("free_vram_mb", "total_vram_mb"),
        is_on=_always,
        look=memory_looks.vram_short,
        begins_after=_seconds(MEMORY_BEGINS_S),
        ends_after=_seconds(MEMORY_ENDS_S),
        when_lost=WhenLost.STAYS,
    ),
    Rule(
        code="ram_short",
        signals=("free_ram_mb", "total_ram_mb"),
        is_on=_always,
        look=memory_looks.ram_short,
        begins_after=_seconds(MEMORY_BEGINS_S),
        ends_after=_seconds(MEMORY_ENDS_S),
        when_lost=WhenLost.STAYS,
    ),
    Rule(
        code="memory_tight",
        signals=("free_vram_mb", "total_vram_mb", "free_ram_mb", "total_ram_mb"),
        is_on=_always,
        look=memory_looks.memory_tight,
        begins_after=_seconds(TIGHT_BEGINS_S),
        ends_after=_seconds(SETTLE_S),
        when_lost=WhenLost.STAYS_A_WHILE,
    ),
    Rule(
        code="cpu_busy",
        signals=("cpu_percent_others",),
        is_on=_always,
        look=looks.cpu_busy,
        begins_after=lambda rules: rules.values.cpu_others_for_s,
        ends_after=lambda rules: rules.values.cpu_others_resume_s,
        when_lost=WhenLost.STAYS_A_WHILE,
        is_comfort=True,
    ),
    Rule(
        code="metered",
        signals=("is_metered",),
        is_on=lambda rules: rules.values.pause_on_metered,
        look=looks.metered,
        begins_after=_seconds(METERED_BEGINS_S),
        ends_after=_seconds(METERED_ENDS_S),
        when_lost=WhenLost.STAYS,
    ),
    Rule(
        code="budget_spent",
        signals=(),
        is_on=lambda rules: bool(rules.values.hours_per_day or rules.values.kwh_per_day),
        look=looks.budget_spent,
        is_comfort=True,
    ),
    Rule(
        code="gpu_lost",
        signals=("is_gpu_lost",),
        is_on=_always,
        look=looks.gpu_lost,
        begins_after=_seconds(MEMORY_BEGINS_S),
        ends_after=_seconds(SETTLE_S),
    ),
    Rule(
        code="engine_used_by_owner",
        signals=("engine_used_by_owner",),
        is_on=_always,
        look=looks.engine_used,
        ends_after=_seconds(SETTLE_S),
        is_comfort=True,
    ),
)
COMFORT = frozenset(rule.code for rule in RULES if rule.is_comfort)
