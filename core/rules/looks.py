"""What each rule sees in the signals, and in which words it says so; those of memory are in `memory_looks.py`."""

from __future__ import annotations

from datetime import datetime, timedelta

from core.rules import SessionsThen
from core.rules.look import OFF, Level, Look, Scene, time_text, within_sentence
from core.rules.schedule import is_allowed, next_change
from core.signals import Unknown

BATTERY_MARGIN_PERCENT = 5.0
CRITICAL_MARGIN_C = 5.0  # below the processor's own mark, whatever the owner allows
# An end to be told only once the owner seems to have left: before, every key would move it.
QUIET_S = 15.0


def schedule(scene: Scene) -> Look:
    grid, zone, wall = scene.settings.grid, scene.settings.zone, scene.now.wall
    if is_allowed(grid, wall, zone):
        return OFF
    opens_at = next_change(grid, wall, zone)
    if opens_at is None:
        return Look(Level.ON, "Your hours say never.")
    return Look(Level.ON, f"Outside your hours until {time_text(opens_at, wall, zone)}.", opens_at)


def in_use(scene: Scene) -> Look | Unknown:
    idle_s = scene.signals.idle_s
    if isinstance(idle_s, Unknown):
        return Unknown(f"Whether somebody uses this machine can't be told: {within_sentence(idle_s.cause)}")
    limit_s = scene.settings.values.idle_minutes * 60
    if idle_s >= limit_s:
        return OFF
    ends_at = scene.now.wall + limit_s - idle_s if idle_s >= QUIET_S else None
    return Look(Level.ON, f"In use: it shares after {_minutes(limit_s)} without mouse and keyboard.", ends_at)


def listed_app(scene: Scene) -> Look | Unknown:
    apps = scene.signals.listed_apps
    if isinstance(apps, Unknown):
        return apps
    if not apps:
        return OFF
    runs = f"{_and(apps)} run{'s' if len(apps) == 1 else ''}"
    is_told_only = scene.settings.effects["listed_app"].sessions is SessionsThen.SERVE
    return Look(Level.ON, f"{runs}, and you are only told." if is_told_only else f"Paused while {runs}.")


def gpu_in_use(scene: Scene) -> Look | Unknown:
    use, values = scene.signals.gpu_use_by_others, scene.settings.values
    if isinstance(use, Unknown):
        return use
    who, uses, level = use.program or "Another program", " uses the graphics card", Level.ON
    if use.percent <= values.gpu_others_percent:
        level = Level.OFF if use.percent < values.gpu_others_resume_percent else Level.BETWEEN
        held = scene.before.holding
        who = held.sentence.partition(uses)[0] if held is not None else who  # now it may be another one, or none
    return Look(level, f"{who}{uses} (above {values.gpu_others_percent:g} %).")


def full_screen(scene: Scene) -> Look | Unknown:
    screen = scene.signals.full_screen
    if isinstance(screen, Unknown):
        return screen
    return Look(Level.ON, f"{screen.program or 'A program'} fills the screen.") if screen.is_on else OFF


def on_battery(scene: Scene) -> Look | Unknown:
    power = scene.signals.power
    if isinstance(power, Unknown):
        return power
    return OFF if power.on_mains else Look(Level.ON, "The machine runs on its battery.")


def battery_low(scene: Scene) -> Look | Unknown:
    power, low = scene.signals.power, scene.settings.values.battery_low_percent
    if isinstance(power, Unknown):
        return power
    if power.on_mains or power.battery_percent is None:
        return OFF
    level = Level.ON
    if power.battery_percent >= low:
        enough = min(100.0, low + BATTERY_MARGIN_PERCENT)
        level = Level.OFF if power.battery_percent >= enough else Level.BETWEEN
    return Look(level, f"The battery is low (below {low:g} %).")


def gpu_hot(scene: Scene) -> Look | Unknown:
    celsius, values = scene.signals.gpu_temperature_c, scene.settings.values
    if isinstance(celsius, Unknown):
        return celsius
    level = _heat_level(celsius, values.gpu_max_c, values.gpu_resume_c)
    resume = f"it shares again at {values.gpu_resume_c:g} °C"
    return Look(level, f"The graphics card is too hot ({values.gpu_max_c:g} °C or more): {resume}.")


def cpu_hot(scene: Scene) -> Look | Unknown:
    """By the mean of the last seconds, whoever heats it: serving adds to it also where the card does the work."""
    heat, values = scene.signals.processor_heat, scene.settings.values
    if isinstance(heat, Unknown):
        return heat
    limit_c, why = values.cpu_max_c, ""
    if heat.critical_c is not None and heat.critical_c - CRITICAL_MARGIN_C < limit_c:
        limit_c = heat.critical_c - CRITICAL_MARGIN_C
        why = f"; its own critical mark is {heat.critical_c:g} °C"
    resume_c = min(values.cpu_resume_c, limit_c - CRITICAL_MARGIN_C) if why else values.cpu_resume_c
    level = _heat_level(heat.mean_c, limit_c, resume_c)
    resume = f"it shares again at {resume_c:g} °C"
    return Look(level, f"The processor is too hot ({limit_c:g} °C or more{why}): {resume}.")


def cpu_busy(scene: Scene) -> Look | Unknown:
    percent, limit = scene.signals.cpu_percent_others, scene.settings.values.cpu_others_percent
    if isinstance(percent, Unknown):
        return percent
    level = Level.ON if percent > limit else Level.OFF
    return Look(level, f"Other programs keep the processor busy (above {limit:g} %).")


def metered(scene: Scene) -> Look | Unknown:
    is_metered = scene.signals.is_metered
    if isinstance(is_metered, Unknown):
        return is_metered
    return Look(Level.ON, "The network costs by its traffic.") if is_metered else OFF


def budget_spent(scene: Scene) -> Look | Unknown:
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


def gpu_lost(scene: Scene) -> Look:
    return (
        Look(Level.ON, "The graphics card is gone: its driver doesn't find it any more.")
        if (scene.signals.is_gpu_lost)
        else OFF
    )


def engine_used(scene: Scene) -> Look:
    model = scene.signals.engine_used_by_owner
    return Look(Level.ON, f"Your own work uses the engine ({model}).") if model else OFF


def _heat_level(celsius: float, limit_c: float, resume_c: float) -> Level:
    if celsius >= limit_c:
        return Level.ON
    return Level.OFF if celsius <= resume_c else Level.BETWEEN


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
