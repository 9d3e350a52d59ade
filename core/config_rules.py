"""The settings of the owner's rules (core/rules): thresholds, and what each rule does. Part of `Settings`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from core.config_values import setting
from core.rules import effects, schedule


def _effect(code: str, what: str) -> Any:
    return setting(effects.DEFAULT_EFFECTS[code], f"What happens {what}.", form=effects.FORM, is_live=True)


def _number(
    default: float, help: str, *, between: tuple[float, float], unit: str, default_text: str | None = None
) -> Any:
    return setting(default, help, between=between, unit=unit, default_text=default_text or "", is_live=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFields:
    """One switch or threshold for each rule, and one effect named after its reason's code."""

    pause_while_in_use: bool = setting(
        False,
        "Share only while nobody uses mouse or keyboard. Where that can't be told, nothing is shared.",
        is_live=True,
    )
    idle_minutes: float = _number(
        3.0, "How long nobody may have used mouse or keyboard before sharing begins.", between=(0.5, 600), unit="min"
    )
    in_use_effect: str = _effect("in_use", "when you come back to mouse or keyboard")
    listed_apps: tuple[str, ...] = setting(
        (), "Programs to make way for: names, paths of programs, or folders such as a game library.", is_live=True
    )
    listed_app_hold_s: float = _number(
        15.0, "How long after the last of them has ended.", between=(2, 3600), unit="seconds"
    )
    listed_app_effect: str = _effect("listed_app", "when one of these programs runs")
    pause_in_full_screen: bool = setting(
        True, "Make way for a program that fills the screen: a game, a film, a presentation.", is_live=True
    )
    full_screen_effect: str = _effect("full_screen", "when a program fills the screen")
    gpu_others_percent: float = _number(
        20.0, "Make way above this use of the graphics card by other programs.", between=(1, 100), unit="%"
    )
    gpu_others_for_s: float = _number(10.0, "For how long it must be above.", between=(1, 3600), unit="seconds")
    gpu_others_resume_percent: float = _number(10.0, "Share again below this use.", between=(0, 100), unit="%")
    gpu_others_resume_s: float = _number(60.0, "For how long it must be below.", between=(2, 3600), unit="seconds")
    gpu_look_after_s: float = _number(
        60.0,
        "Where the driver can't tell others' use while sessions run: after so long without a gap between them let new "
        "ones wait a moment, and look.",
        between=(0, 3600),
        unit="seconds",
        default_text="60; 0 = never",
    )
    gpu_in_use_effect: str = _effect("gpu_in_use", "when other programs use the graphics card")
    engine_used_by_owner_effect: str = _effect(
        "engine_used_by_owner", "when your own work uses the engine that is shared"
    )

    pause_on_battery: bool = setting(True, "Don't share while the machine runs on its battery.", is_live=True)
    on_battery_effect: str = _effect("on_battery", "when the machine is unplugged")
    battery_low_percent: float = _number(
        20.0, "On battery, don't share below this charge.", between=(0, 100), unit="%", default_text="20; 0 = never"
    )
    battery_low_effect: str = _effect("battery_low", "when the battery gets low")
    gpu_max_c: float = _number(80.0, "The graphics card's highest temperature.", between=(40, 110), unit="°C")
    gpu_resume_c: float = _number(75.0, "Share again at this temperature.", between=(30, 110), unit="°C")
    gpu_hot_effect: str = _effect("gpu_hot", "when the graphics card is too hot")
    gpu_target_c: float = _number(
        0.0,
        "Serve fewer sessions, with gaps, to keep the graphics card at this temperature.",
        between=(0, 110),
        unit="°C",
        default_text="0 = no target",
    )
    cpu_max_c: float = _number(
        90.0,
        "The processor's highest temperature, as a mean of some seconds, and 5 below its own critical mark at most. "
        "A laptop at work runs at 85 to 95; some desktop processors are built to run at 95.",
        between=(50, 110),
        unit="°C",
    )
    cpu_resume_c: float = _number(85.0, "Share again at this temperature.", between=(30, 110), unit="°C")
    cpu_hot_effect: str = _effect("cpu_hot", "when the processor is too hot")
    cpu_target_c: float = _number(
        0.0,
        "Serve fewer sessions, with gaps, to keep the processor at this temperature.",
        between=(0, 110),
        unit="°C",
        default_text="0 = no target",
    )
    gpu_lost_effect: str = _effect("gpu_lost", "when the graphics card is gone")
    vram_short_effect: str = _effect("vram_short", "when other programs need the graphics memory")
    ram_short_effect: str = _effect("ram_short", "when other programs need the memory")
    memory_tight_effect: str = _effect("memory_tight", "when memory, or the graphics card's, gets short")
    cpu_others_percent: float = _number(
        50.0, "Make way above this use of the processor by other programs; 100 is never.", between=(1, 100), unit="%"
    )
    cpu_others_for_s: float = _number(10.0, "For how long it must be above.", between=(1, 3600), unit="seconds")
    cpu_others_resume_s: float = _number(60.0, "For how long it must be below.", between=(2, 3600), unit="seconds")
    cpu_busy_effect: str = _effect("cpu_busy", "when other programs keep the processor busy")
    pause_on_metered: bool = setting(
        True, "Don't share over a network that costs by its traffic, such as a phone's.", is_live=True
    )
    metered_effect: str = _effect("metered", "when the network is such a one")

    schedule: str = setting("always", "The hours of the week in which to share.", form=schedule.FORM, is_live=True)
    schedule_effect: str = _effect("schedule", "at the end of these hours")
    hours_per_day: float = _number(
        0.0, "Serve at most so long a day.", between=(0, 24), unit="hours", default_text="0 = no limit"
    )
    kwh_per_day: float = _number(
        0.0, "Use at most so much energy a day for serving.", between=(0, 1000), unit="kWh", default_text="0 = no limit"
    )
    budget_spent_effect: str = _effect("budget_spent", "when the day's hours or energy are spent")
    tariff_per_kwh: float = _number(
        0.0,
        "What a kWh costs you, in your own currency.",
        between=(0, 1000),
        unit="per kWh",
        default_text="0 = not known",
    )
    serving_power_w: float = _number(
        0.0,
        "What the machine draws while it serves, by your own figure; used where it can't be measured.",
        between=(0, 10_000),
        unit="watts",
        default_text="0 = not known",
    )


RULE_SETTINGS = tuple(item.name for item in fields(RuleFields))
EFFECT_SETTINGS = tuple(f"{code}_effect" for code in effects.DEFAULT_EFFECTS)
