"""Every rule, strongest first as in core/reasons/catalogue.py: what it looks at, and in which words it says so."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from core.capacity import kept_free_mb
from core.rules import SessionsThen
from core.rules.look import BETWEEN, OFF, Level, Look, Rule, Scene, WhenLost, time_text, within_sentence
from core.rules.schedule import ALWAYS, is_allowed, next_change
from core.rules.settings import RuleSettings
from core.signals import Unknown

SETTLE_S = 10.0  # plugged in, full screen left: twice within this long is once
MEMORY_BEGINS_S = 5.0
MEMORY_ENDS_S = 30.0
METERED_BEGINS_S, METERED_ENDS_S = 5.0, 30.0
BATTERY_MARGIN_PERCENT = 5.0
# A processor cools within seconds of our leaving it alone, and its fan takes longer to get quiet: without a minute
# between, it would be warmed up again three times in that time.
CPU_HOT_BEGINS_S, CPU_HOT_ENDS_S = 10.0, 60.0
CRITICAL_MARGIN_C = 5.0  # below the processor's own mark, whatever the owner allows
# An end to be told only once the owner seems to have left: before, every key would move it.
QUIET_S = 15.0
# Of what stays the owner's, this much free is no shortage yet: engines take a little more than was planned.
MEMORY_SLACK = 0.75
MEMORY_TIGHT = 0.9  # below, no session is let in: the last step before the shortage
MEMORY_URGENT = 0.5  # below, the system may kill a program any moment
TIGHT_BEGINS_S = 1.0


def _schedule(scene: Scene) -> Look:
    grid, zone, wall = scene.settings.grid, scene.settings.zone, scene.now.wall
    if is_allowed(grid, wall, zone):
        return OFF
    opens_at = next_change(grid, wall, zone)
    if opens_at is None:
        return Look(Level.ON, "Your hours say never.")
    return Look(Level.ON, f"Outside your hours until {time_text(opens_at, wall, zone)}.", opens_at)


def _in_use(scene: Scene) -> Look | Unknown:
    idle_s = scene.signals.idle_s
    if isinstance(idle_s, Unknown):
        return Unknown(f"Whether somebody uses this machine can't be told: {within_sentence(idle_s.cause)}")
    limit_s = scene.settings.values.idle_minutes * 60
    if idle_s >= limit_s:
        return OFF
    ends_at = scene.now.wall + limit_s - idle_s if idle_s >= QUIET_S else None
    return Look(Level.ON, f"In use: it shares after {_minutes(limit_s)} without mouse and keyboard.", ends_at)


def _listed_app(scene: Scene) -> Look | Unknown:
    apps = scene.signals.listed_apps
    if isinstance(apps, Unknown):
        return apps
    if not apps:
        return OFF
    runs = f"{_and(apps)} run{'s' if len(apps) == 1 else ''}"
    is_told_only = scene.settings.effects["listed_app"].sessions is SessionsThen.SERVE
    return Look(Level.ON, f"{runs}, and you are only told." if is_told_only else f"Paused while {runs}.")


def _gpu_in_use(scene: Scene) -> Look | Unknown:
    use, values = scene.signals.gpu_use_by_others, scene.settings.values
    if isinstance(use, Unknown):
        return use
    if use.percent > values.gpu_others_percent:
        who = use.program or "Another program"
        return Look(Level.ON, f"{who} uses the graphics card (above {values.gpu_others_percent:g} %).")
    return OFF if use.percent < values.gpu_others_resume_percent else BETWEEN


def _full_screen(scene: Scene) -> Look | Unknown:
    screen = scene.signals.full_screen
    if isinstance(screen, Unknown):
        return screen
    return Look(Level.ON, f"{screen.program or 'A program'} fills the screen.") if screen.is_on else OFF


def _on_battery(scene: Scene) -> Look | Unknown:
    power = scene.signals.power
    if isinstance(power, Unknown):
        return power
    return OFF if power.on_mains else Look(Level.ON, "The machine runs on its battery.")


def _battery_low(scene: Scene) -> Look | Unknown:
    power, low = scene.signals.power, scene.settings.values.battery_low_percent
    if isinstance(power, Unknown):
        return power
    if power.on_mains or power.battery_percent is None:
        return OFF
    if power.battery_percent < low:
        return Look(Level.ON, f"The battery is low (below {low:g} %).")
    return OFF if power.battery_percent >= min(100.0, low + BATTERY_MARGIN_PERCENT) else BETWEEN


def _gpu_hot(scene: Scene) -> Look | Unknown:
    celsius, values = scene.signals.gpu_temperature_c, scene.settings.values
    if isinstance(celsius, Unknown):
        return celsius
    if celsius >= values.gpu_max_c:
        resume = f"it shares again at {values.gpu_resume_c:g} °C"
        return Look(Level.ON, f"The graphics card is too hot ({values.gpu_max_c:g} °C or more): {resume}.")
    return OFF if celsius <= values.gpu_resume_c else BETWEEN


def _cpu_hot(scene: Scene) -> Look | Unknown:
    """By the mean of the last seconds, whoever heats it: serving adds to it also where the card does the work."""
    heat, values = scene.signals.processor_heat, scene.settings.values
    if isinstance(heat, Unknown):
        return heat
    limit_c, why = values.cpu_max_c, ""
    if heat.critical_c is not None and heat.critical_c - CRITICAL_MARGIN_C < limit_c:
        limit_c = heat.critical_c - CRITICAL_MARGIN_C
        why = f"; its own critical mark is {heat.critical_c:g} °C"
    resume_c = min(values.cpu_resume_c, limit_c - CRITICAL_MARGIN_C) if why else values.cpu_resume_c
    if heat.mean_c >= limit_c:
        resume = f"it shares again at {resume_c:g} °C"
        return Look(Level.ON, f"The processor is too hot ({limit_c:g} °C or more{why}): {resume}.")
    return OFF if heat.mean_c <= resume_c else BETWEEN


def _vram_short(scene: Scene) -> Look | Unknown:
    signals, own_mb = scene.signals, scene.own.vram_mb
    return _memory(
        scene,
        total_mb=signals.total_vram_mb,
        free_mb=signals.free_vram_mb,
        own_mb=own_mb,
        reserve_mb=scene.settings.values.vram_reserve_mb,
        what="Graphics memory",
    )


def _ram_short(scene: Scene) -> Look | Unknown:
    signals, own_mb = scene.signals, scene.own.ram_mb
    return _memory(
        scene,
        total_mb=signals.total_ram_mb,
        free_mb=signals.free_ram_mb,
        own_mb=own_mb,
        reserve_mb=scene.settings.values.ram_reserve_mb,
        what="Memory",
        least_mb=scene.own.least_ram_mb,
    )


def _memory(
    scene: Scene,
    *,
    total_mb: int | Unknown,
    free_mb: int | Unknown,
    own_mb: int,
    reserve_mb: int,
    what: str,
    least_mb: int | None = None,
) -> Look | Unknown:
    """Short: less is free than what the owner's programs still have coming of the reserve, or than a small floor.

    It ends when that much and what our model held are free together, or what it takes at least where it can be loaded
    with less: else its return would begin it again.
    """
    if isinstance(total_mb, Unknown):
        return total_mb
    if isinstance(free_mb, Unknown):
        return free_mb
    kept_mb = kept_free_mb(total_mb, free_mb, own_mb=own_mb, reserve_mb=reserve_mb)
    if free_mb < kept_mb * MEMORY_SLACK:
        is_urgent = own_mb > 0 and free_mb < kept_mb * MEMORY_URGENT
        return Look(Level.ON, f"{what} is short: other programs need what stays yours.", is_urgent=is_urgent)
    if scene.before.holding is None:
        return OFF
    gone_mb = max(0, scene.before.held_mb - own_mb)
    if least_mb is not None:
        gone_mb = min(gone_mb, least_mb)
    return OFF if free_mb >= kept_mb + gone_mb else BETWEEN


def _memory_tight(scene: Scene) -> Look | Unknown:
    """Of the memories that this machine tells, the one with least to spare; the first step, before any shortage."""
    signals, own, values = scene.signals, scene.own, scene.settings.values
    memories = (
        ("Graphics memory", signals.total_vram_mb, signals.free_vram_mb, own.vram_mb, values.vram_reserve_mb),
        ("Memory", signals.total_ram_mb, signals.free_ram_mb, own.ram_mb, values.ram_reserve_mb),
    )
    spare = [
        (free_mb / max(1, kept_free_mb(total_mb, free_mb, own_mb=own_mb, reserve_mb=reserve_mb)), what)
        for what, total_mb, free_mb, own_mb, reserve_mb in memories
        if not isinstance(total_mb, Unknown) and not isinstance(free_mb, Unknown)
    ]
    if not spare:
        return signals.free_ram_mb if isinstance(signals.free_ram_mb, Unknown) else Unknown("No memory is measured.")
    held = scene.before.holding
    for what, total_mb, free_mb, _, _ in memories:  # the other one says nothing of the one that got short
        if held is not None and held.sentence.startswith(what):
            for told in (total_mb, free_mb):
                if isinstance(told, Unknown):
                    return told
    share, what = min(spare)
    if share < MEMORY_TIGHT:
        return Look(Level.ON, f"{what} is getting short: no new sessions until what stays yours is free again.")
    return OFF if share >= 1.0 else BETWEEN


def _cpu_busy(scene: Scene) -> Look | Unknown:
    percent, limit = scene.signals.cpu_percent_others, scene.settings.values.cpu_others_percent
    if isinstance(percent, Unknown):
        return percent
    return Look(Level.ON, f"Other programs keep the processor busy (above {limit:g} %).") if percent > limit else OFF


def _metered(scene: Scene) -> Look | Unknown:
    is_metered = scene.signals.is_metered
    if isinstance(is_metered, Unknown):
        return is_metered
    return Look(Level.ON, "The network costs by its traffic.") if is_metered else OFF


def _budget_spent(scene: Scene) -> Look | Unknown:
    values, own = scene.settings.values, scene.own
    hours, kwh = values.hours_per_day, values.kwh_per_day
    again = "it shares again after midnight"
    if hours and own.served_s_today >= hours * 3600:
        return Look(Level.ON, f"Today's {hours:g} h of serving are spent: {again}.", _midnight(scene), "hours_per_day")
    if not kwh:
        return OFF
    used_kwh = own.measured_kwh_today if isinstance(own.kwh_today, Unknown) else own.kwh_today
    if used_kwh >= kwh:
        return Look(Level.ON, f"Today's {kwh:g} kWh are spent: {again}.", _midnight(scene), "kwh_per_day")
    return own.kwh_today if isinstance(own.kwh_today, Unknown) else OFF


def _gpu_lost(scene: Scene) -> Look:
    return (
        Look(Level.ON, "The graphics card is gone: its driver doesn't find it any more.")
        if (scene.signals.is_gpu_lost)
        else OFF
    )


def _engine_used(scene: Scene) -> Look:
    model = scene.signals.engine_used_by_owner
    return Look(Level.ON, f"Your own work uses the engine ({model}).") if model else OFF


def _always(_: RuleSettings) -> bool:
    return True


def _seconds(value: float) -> Callable[[RuleSettings], float]:
    return lambda _: value


RULES = (
    Rule(code="schedule", signals=(), is_on=lambda rules: rules.grid != ALWAYS, look=_schedule),
    Rule(
        code="in_use",
        signals=("idle_s",),
        is_on=lambda rules: rules.values.pause_while_in_use,
        look=_in_use,
        least=lambda rules: rules.values.idle_minutes * 60,
        when_lost=WhenLost.BLOCKS,
    ),
    Rule(
        code="listed_app",
        signals=("listed_apps",),
        is_on=lambda rules: bool(rules.values.listed_apps),
        look=_listed_app,
        ends_after=lambda rules: rules.values.listed_app_hold_s,
        when_lost=WhenLost.STAYS_A_WHILE,
    ),
    Rule(
        code="gpu_in_use",
        signals=("gpu_use_by_others",),
        is_on=_always,
        look=_gpu_in_use,
        begins_after=lambda rules: rules.values.gpu_others_for_s,
        ends_after=lambda rules: rules.values.gpu_others_resume_s,
        when_lost=WhenLost.STAYS_A_WHILE,
    ),
    Rule(
        code="full_screen",
        signals=("full_screen",),
        is_on=lambda rules: rules.values.pause_in_full_screen,
        look=_full_screen,
        ends_after=_seconds(SETTLE_S),
        when_lost=WhenLost.STAYS_A_WHILE,
    ),
    Rule(
        code="on_battery",
        signals=("power",),
        is_on=lambda rules: rules.values.pause_on_battery,
        look=_on_battery,
        ends_after=_seconds(SETTLE_S),
        when_lost=WhenLost.STAYS,
    ),
    Rule(
        code="battery_low",
        signals=("power",),
        is_on=lambda rules: rules.values.battery_low_percent > 0,
        look=_battery_low,
        ends_after=_seconds(SETTLE_S),
        when_lost=WhenLost.STAYS,
    ),
    Rule(
        code="gpu_hot",
        signals=("gpu_temperature_c",),
        is_on=_always,
        look=_gpu_hot,
        ends_after=_seconds(SETTLE_S),
        when_lost=WhenLost.STAYS,  # a driver that falls silent on a hot card is no sign of a cool one
    ),
    Rule(
        code="cpu_hot",
        signals=("processor_heat",),
        is_on=_always,
        look=_cpu_hot,
        begins_after=_seconds(CPU_HOT_BEGINS_S),
        ends_after=_seconds(CPU_HOT_ENDS_S),
        when_lost=WhenLost.STAYS,
    ),
    Rule(
        code="vram_short",
        signals=("free_vram_mb", "total_vram_mb"),
        is_on=_always,
        look=_vram_short,
        begins_after=_seconds(MEMORY_BEGINS_S),
        ends_after=_seconds(MEMORY_ENDS_S),
        when_lost=WhenLost.STAYS,
    ),
    Rule(
        code="ram_short",
        signals=("free_ram_mb", "total_ram_mb"),
        is_on=_always,
        look=_ram_short,
        begins_after=_seconds(MEMORY_BEGINS_S),
        ends_after=_seconds(MEMORY_ENDS_S),
        when_lost=WhenLost.STAYS,
    ),
    Rule(
        code="memory_tight",
        signals=("free_vram_mb", "total_vram_mb", "free_ram_mb", "total_ram_mb"),
        is_on=_always,
        look=_memory_tight,
        begins_after=_seconds(TIGHT_BEGINS_S),
        ends_after=_seconds(SETTLE_S),
        when_lost=WhenLost.STAYS_A_WHILE,
    ),
    Rule(
        code="cpu_busy",
        signals=("cpu_percent_others",),
        is_on=_always,
        look=_cpu_busy,
        begins_after=lambda rules: rules.values.cpu_others_for_s,
        ends_after=lambda rules: rules.values.cpu_others_resume_s,
        when_lost=WhenLost.STAYS_A_WHILE,
    ),
    Rule(
        code="metered",
        signals=("is_metered",),
        is_on=lambda rules: rules.values.pause_on_metered,
        look=_metered,
        begins_after=_seconds(METERED_BEGINS_S),
        ends_after=_seconds(METERED_ENDS_S),
        when_lost=WhenLost.STAYS,
    ),
    Rule(
        code="budget_spent",
        signals=(),
        is_on=lambda rules: bool(rules.values.hours_per_day or rules.values.kwh_per_day),
        look=_budget_spent,
    ),
    Rule(
        code="gpu_lost",
        signals=("is_gpu_lost",),
        is_on=_always,
        look=_gpu_lost,
        begins_after=_seconds(MEMORY_BEGINS_S),
        ends_after=_seconds(SETTLE_S),
    ),
    Rule(
        code="engine_used_by_owner",
        signals=("engine_used_by_owner",),
        is_on=_always,
        look=_engine_used,
        ends_after=_seconds(SETTLE_S),
    ),
)


def _midnight(scene: Scene) -> float:
    """The next local midnight, seconds since the epoch."""
    zone = scene.settings.zone
    day = datetime.fromtimestamp(scene.now.wall, zone).date() + timedelta(days=1)
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


def _and(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _minutes(seconds: float) -> str:
    minutes = seconds / 60
    return "1 minute" if minutes == 1 else f"{minutes:g} minutes"
