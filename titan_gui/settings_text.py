"""What stands beside each setting: its name for people, its range, where its value comes from. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from core.config import DECLARATIONS
from core.config_load import Layer, Origin
from core.config_values import BadValue, Declaration, Kind, Value, display, parse_text

TITLES: Mapping[str, str] = MappingProxyType(
    {
        "profile": "Profile",
        "agent_id": "Agent's name",
        "coordinator_endpoint": "Coordinator's address",
        "coordinator_tls": "Encrypted line to the coordinator",
        "coordinator_ca": "Coordinator's authority",
        "heartbeat_interval_s": "Heartbeat",
        "public_host": "My public address",
        "agent_port": "Port",
        "public_port": "Public port",
        "listen_address": "Listen on",
        "tls_cert": "Certificate",
        "tls_key": "Certificate's key",
        "tls_self_signed": "Make a certificate",
        "engine": "Engine",
        "ollama_host": "Ollama's address",
        "openai_base_url": "OpenAI-compatible server",
        "models_dir": "Models folder",
        "hub_endpoint": "Model hub",
        "download_limit_mb_s": "Download speed",
        "models_disk_budget_gb": "Disk for models",
        "update_index_url": "Where updates are announced",
        "supported_models": "Offered models",
        "model_names": "Other names of models",
        "context_tokens": "Context",
        "gpus": "Graphics cards",
        "max_concurrent_jobs": "Sessions at once",
        "queue_size": "Queue",
        "queue_wait_s": "Wait in the queue",
        "max_prompt_bytes": "Longest prompt",
        "max_output_tokens": "Longest answer",
        "max_session_s": "Longest session",
        "slow_client_s": "Slow client",
        "first_token_timeout_s": "Limit for the first token",
        "token_gap_timeout_s": "Limit between two tokens",
        "ram_budget_mb": "Memory to lend",
        "vram_reserve_mb": "GPU memory I keep",
        "ram_reserve_mb": "Memory I keep",
        "drain_limit_s": "Time to finish on quit",
        "finish_limit_s": "Time to finish on pause",
        "unload_after_idle_s": "Unload when idle for",
        "preload_on_resume": "Load the model on resume",
        "preload_at_start": "Load a model at the start",
        "preload_models": "Models to load",
        "keep_awake": "Stay awake while serving",
        "share": "When to share",
        "setup_done": "Set up",
        "notifications": "Notifications",
        "log_level": "Log level",
        "log_format": "Log format",
        "pause_while_in_use": "Only when I'm away",
        "idle_minutes": "Away after",
        "in_use_effect": "When I come back",
        "listed_apps": "Programs to make way for",
        "listed_app_hold_s": "Wait after such a program",
        "listed_app_effect": "When such a program runs",
        "pause_in_full_screen": "Make way for full screen",
        "full_screen_effect": "When a program fills the screen",
        "gpu_others_percent": "Graphics card used by others",
        "gpu_others_for_s": "Graphics card used for",
        "gpu_others_resume_percent": "Graphics card free below",
        "gpu_others_resume_s": "Graphics card free for",
        "gpu_look_after_s": "Look at it between sessions",
        "gpu_in_use_effect": "When others use the graphics card",
        "engine_used_by_owner_effect": "When I use the engine myself",
        "pause_on_battery": "Pause on battery",
        "on_battery_effect": "When unplugged",
        "battery_low_percent": "Battery low below",
        "battery_low_effect": "When the battery is low",
        "gpu_max_c": "Graphics card too hot at",
        "gpu_resume_c": "Graphics card cool again at",
        "gpu_hot_effect": "When the graphics card is too hot",
        "gpu_target_c": "Slow the card down above",
        "cpu_max_c": "Processor too hot at",
        "cpu_resume_c": "Processor has cooled down at",
        "cpu_hot_effect": "When the processor is too hot",
        "cpu_target_c": "Keep the processor at",
        "gpu_lost_effect": "When the graphics card is gone",
        "vram_short_effect": "When graphics memory is short",
        "ram_short_effect": "When memory is short",
        "memory_tight_effect": "When memory gets short",
        "cpu_others_percent": "Processor used by others",
        "cpu_others_for_s": "Processor used for",
        "cpu_others_resume_s": "Processor free for",
        "cpu_busy_effect": "When the processor is busy",
        "pause_on_metered": "Pause on a metered network",
        "metered_effect": "When the network is metered",
        "schedule": "My hours",
        "schedule_effect": "When my hours end",
        "hours_per_day": "Hours a day",
        "kwh_per_day": "Energy a day",
        "budget_spent_effect": "When the day's budget is spent",
        "tariff_per_kwh": "Price of a kWh",
        "serving_power_w": "Power while serving",
    }
)
SECRET_TITLES: Mapping[str, str] = MappingProxyType(
    {"openai_api_key": "API key of the OpenAI-compatible server", "enrolment_token": "Enrolment token"}
)
CHOICE_WORDS: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("engine", "auto"): "Automatic",
        ("engine", "ollama"): "Ollama",
        ("engine", "openai"): "OpenAI-compatible server",
        ("engine", "embedded"): "Embedded (llama.cpp)",
        ("share", "always"): "Always",
        ("share", "by_hand"): "Only when I resume by hand",
    }
)
# The window's own state, changed by the setup and not by hand.
HIDDEN = frozenset({"setup_done"})


def title_of(name: str) -> str:
    return TITLES.get(name) or SECRET_TITLES.get(name) or name.replace("_", " ").capitalize()


def choice_text(name: str, choice: str) -> str:
    return CHOICE_WORDS.get((name, choice), choice.capitalize())


def range_text(declaration: Declaration) -> str:
    """What may be entered, "" where the control itself says it."""
    if declaration.kind in (Kind.BOOL, Kind.CHOICE):
        return ""
    if declaration.kind in (Kind.INT, Kind.FLOAT):
        if declaration.minimum is None or declaration.maximum is None:
            return ""
        unit = f" {declaration.unit}" if declaration.unit else ""
        return f"{_grouped(declaration.minimum)} to {_grouped(declaration.maximum)}{unit}"
    return _capitalised(declaration.expectation) if declaration.kind is not Kind.TEXT or declaration.form else ""


def default_text(declaration: Declaration) -> str:
    """The default in words: "4", "Off", "agent- and 12 random hex digits, made once per profile"."""
    if declaration.default_text:
        return declaration.default_text
    if declaration.kind is Kind.BOOL:
        return "on" if declaration.default else "off"
    if declaration.kind is Kind.CHOICE:
        return choice_text(declaration.name, str(declaration.default))
    return display(declaration.default) or "empty"


def facts_text(declaration: Declaration, origin: Origin) -> str:
    """The last line under a setting: range, default, when a change counts, and whether the owner has set it."""
    when = "Counts at once" if declaration.is_live else "Applies on restart"
    default = f"Default: {default_text(declaration)}"
    source = "Set in the settings file" if origin.layer is Layer.FILE else ""
    parts = (range_text(declaration), default, when, source)
    return " · ".join(part for part in parts if part)


def is_locked(declaration: Declaration, origin: Origin) -> bool:
    """Whether the settings file cannot decide this value now."""
    return not declaration.is_in_file or origin.layer in (Layer.ENVIRONMENT, Layer.COMMAND_LINE)


def lock_text(declaration: Declaration, origin: Origin) -> str:
    """Why the field is grey, "" when it isn't."""
    if not declaration.is_in_file:  # first: a reload names the profile as the command line does
        return "Chosen when the program starts."
    is_decided = origin.layer in (Layer.ENVIRONMENT, Layer.COMMAND_LINE)
    return f"Set by {origin.source}; change it there." if is_decided else ""


def shown_text(declaration: Declaration, value: Value) -> str:
    """The value as the field shows it; empty for a default that is worked out at the start."""
    is_worked_out = bool(declaration.default_text) and value == declaration.default
    if is_worked_out and declaration.kind in (Kind.TEXT, Kind.PATH):
        return ""
    return display(value)


def problem_of(declaration: Declaration, text: str) -> str:
    """The declaration's own message for text that it doesn't allow, "" for text that it does. Never raises."""
    try:
        parse_text(declaration, text)
    except BadValue as error:
        return f"{title_of(declaration.name)} {error}."
    return ""


def place_problems(problems: Iterable[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Problems (as "key = value (source): ...") sorted to their fields, and those that name none."""
    by_field: dict[str, str] = {}
    elsewhere: list[str] = []
    for problem in problems:
        name = problem.partition(" = ")[0] if " = " in problem else problem.partition(":")[0]
        if name in DECLARATIONS and name not in HIDDEN:
            said = problem.partition("): ")[2] or problem
            by_field[name] = f"{title_of(name)} {said}." if said.startswith("must ") else f"{_capitalised(said)}"
        else:
            elsewhere.append(problem)
    return by_field, tuple(elsewhere)


def names_text(names: Iterable[str]) -> str:
    """Settings' names for people: "Port, Engine"."""
    return ", ".join(title_of(name) for name in names)


def as_sentence(text: str) -> str:
    """With a capital letter and a full stop, where it hasn't got them."""
    end = "" if not text or text[-1] in ".!?" else "."
    return f"{_capitalised(text)}{end}"


def _grouped(number: float) -> str:
    return f"{int(number):,}" if float(number).is_integer() else f"{number:g}"


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
