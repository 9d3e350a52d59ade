"""What the rules page says of a rule: its figures, what it does, how it stands now, and what serving took. Pure.

Texts are English source strings; whoever shows them passes them through `tr()`.
"""

from __future__ import annotations

from core.config import Settings
from core.rules import Effect, MemoryThen, SessionsThen
from core.rules.schedule import ALWAYS, Grid
from core.snapshot import EnergyView, RuleView
from titan_gui.plain_text import plain, sentences
from titan_gui.rule_forms import RuleForm, effect_of, grid_of, is_switched_on
from titan_gui.rules_view import what_to_do
from titan_gui.view_model import clock_text, duration_text, memory_text


def summary_of_rule(form: RuleForm, settings: Settings) -> str:
    """What the rule does, with its figures, in sentences; "" while it is off."""
    if not is_switched_on(form, settings):
        return ""
    return sentences(figures_text(form.code, settings), _effect_words(effect_of(getattr(settings, form.effect))))


def figures_text(code: str, settings: Settings) -> str:
    """When the rule holds, with the owner's figures; "" where it has none."""
    s = settings
    match code:
        case "in_use":
            return f"After {s.idle_minutes:g} min without mouse and keyboard."
        case "listed_app":
            return (
                f"{_apps_text(s.listed_apps)}; shares again {s.listed_app_hold_s:g} s later." if s.listed_apps else ""
            )
        case "gpu_in_use":
            begins = f"Above {s.gpu_others_percent:g} % for {s.gpu_others_for_s:g} s"
            return f"{begins}; shares again below {s.gpu_others_resume_percent:g} % for {s.gpu_others_resume_s:g} s."
        case "cpu_busy":
            begins = f"Above {s.cpu_others_percent:g} % for {s.cpu_others_for_s:g} s"
            return f"{begins}; shares again after {s.cpu_others_resume_s:g} s below."
        case "vram_short":
            return f"{_reserve_text(s.vram_reserve_mb)} of the graphics memory stays yours."
        case "ram_short":
            return f"{_reserve_text(s.ram_reserve_mb)} of the memory stays yours."
        case "battery_low":
            return f"Below {s.battery_low_percent:g} %." if s.battery_low_percent else ""
        case "gpu_hot":
            return _heat_text(s.gpu_max_c, s.gpu_resume_c, s.gpu_target_c)
        case "cpu_hot":
            return _heat_text(s.cpu_max_c, s.cpu_resume_c, s.cpu_target_c)
        case "schedule":
            return hours_text(grid_of(s.schedule))
        case "budget_spent":
            parts = (
                f"{s.hours_per_day:g} hours" if s.hours_per_day else "",
                f"{s.kwh_per_day:g} kWh" if s.kwh_per_day else "",
            )
            limits = " and ".join(filter(None, parts))
            return f"At most {limits} a day." if limits else ""
    return ""


def state_of_rule(form: RuleForm, settings: Settings, view: RuleView | None) -> tuple[str, str]:
    """One word of state and the sentence behind it: ("Holds now", "Paused while Steam runs. Ends at 14:00.")."""
    if not is_switched_on(form, settings):
        return "Off", ""
    if form.extra == "listed_apps" and not settings.listed_apps:
        return "Nothing listed yet", ""
    if form.extra == "schedule" and grid_of(settings.schedule) == ALWAYS:
        return "All hours", ""
    if form.code == "budget_spent" and not (settings.hours_per_day or settings.kwh_per_day):
        return "No limit yet", ""
    if form.code == "battery_low" and not settings.battery_low_percent:
        return "Never", ""
    if view is None or not view.is_on:
        return "", ""
    if view.holds:
        said = plain(view.sentence)
        if view.waits_until is not None:
            return f"Waits until {clock_text(view.waits_until)}", sentences(said, "You share now all the same.")
        return "Holds now", sentences(said, what_to_do(said, "", view.ends_at))
    if view.unknown:
        return "Can't be told here", sentences(plain(view.unknown))
    return "Not now", ""


def hours_text(grid: Grid) -> str:
    hours = sum(map(sum, grid))
    return "" if grid == ALWAYS else f"Shared in {hours} of the week's 168 hours"


def energy_text(energy: EnergyView) -> str:
    """What serving took today, in sentences; "" before anything was served."""
    if not energy.served_s and energy.kwh is None:
        return sentences(energy.source)
    parts = [f"Served today: {duration_text(energy.served_s)}"]
    if energy.kwh is not None:
        parts.append(f"{energy.kwh:.2f} kWh")
    if energy.cost is not None:
        parts.append(f"costs {energy.cost:.2f}")
    each = []
    if energy.wh_per_1000_tokens is not None:
        each.append(f"{energy.wh_per_1000_tokens:.2f} Wh")
    if energy.cost_per_1000_tokens is not None:
        each.append(f"costs {energy.cost_per_1000_tokens:.4f}")
    return sentences(", ".join(parts), f"Per 1,000 tokens: {', '.join(each)}" if each else "", energy.source)


def _effect_words(effect: Effect) -> str:
    """Short, because every row says it: "Stops sessions after 5 s, gives the memory back"."""
    limit = f"{effect.limit_s:g} s" if effect.limit_s else ""
    match effect.sessions:
        case SessionsThen.SERVE:
            return "Only tells you"
        case SessionsThen.STOP:
            sessions = f"Stops sessions after {limit}" if limit else "Stops sessions at once"
        case SessionsThen.FINISH:
            sessions = f"Lets sessions finish within {limit}" if limit else "Lets sessions finish"
    memory = "gives the memory back" if effect.memory is MemoryThen.UNLOAD else "keeps the model in memory"
    return f"{sessions}, {memory}"


def _heat_text(most_c: float, resume_c: float, target_c: float) -> str:
    target = f" Slows down above {target_c:g} °C." if target_c else ""
    return f"From {most_c:g} °C; shares again at {resume_c:g} °C.{target}"


def _apps_text(apps: tuple[str, ...]) -> str:
    if len(apps) > 3:
        return f"{len(apps)} programs and folders"
    return ", ".join(app.replace("\\", "/").rstrip("/").rpartition("/")[2] or app for app in apps)


def _reserve_text(mb: int) -> str:
    return memory_text(mb) if mb else "A tenth, at least 1 GB,"
