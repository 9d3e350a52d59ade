"""A snapshot, as the control door sends it, as text for people. Pure: the clock is a parameter."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from core.cli.durations import format_duration
from core.cli.output import as_object, plain
from core.cli.render_rules import countdown
from core.rules.table import COMFORT
from core.snapshot import DEGRADED_CPU_PERCENT

Snapshot = Mapping[str, Any]


_STATE_STYLES = {"ready": "bold green", "paused": "bold yellow", "connecting": "bold yellow", "failed": "bold red"}


def state_sentence(snapshot: Snapshot) -> str:
    """The state in one sentence: "Ready: serving 1 of 4 sessions."."""
    running, limit = snapshot["running_jobs"], snapshot["max_jobs"]
    busy = f"{running} of {limit} sessions run" if running else "no session runs"
    match snapshot["state"]:
        case "ready":
            return f"Ready: {busy}."
        case "paused":
            return f"Paused: {'finishing, ' if snapshot['is_draining'] else ''}{busy}."
        case "connecting":
            held = as_object(snapshot["coordinator"]).get("has_key")
            served = "; known tokens are served meanwhile" if held else ""
            return f"Connecting to the coordinator{served}: {busy}."
        case "starting":
            return "Starting."
        case "stopping":
            return f"Stopping: {busy}."
        case "failed":
            return "Failed: `titan logs` shows why."
        case other:
            return f"{str(other).capitalize()}."


def render_status(snapshot: Snapshot, now: float) -> RenderableType:
    """The whole of `titan status`. `now` is seconds since the epoch."""
    style = _STATE_STYLES.get(str(snapshot["state"]), "bold")
    parts: list[RenderableType] = [Text(f"● {state_sentence(snapshot)}", style=style)]
    parts += [_reason(reason, now) for reason in snapshot["reasons"]]
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(snapshot, now):
        table.add_row(name, Text(plain(value), style="red" if _is_trouble(name, snapshot) else ""))
    parts += [Text(), table]
    if snapshot["notices"]:
        parts += [Text(), *(Text(f"Note: {plain(notice)}", style="dim") for notice in snapshot["notices"])]
    if update := as_object(snapshot.get("update")):
        version = plain(str(update["version"]))
        parts.append(Text(f"Version {version} can be had: titan update (titan update --skip {version})", style="dim"))
    return Group(*parts)


def _reason(reason: Mapping[str, Any], now: float) -> RenderableType:
    ends = countdown(reason, now)
    mark, style = ("✗", "yellow") if reason["blocks"] else ("·", "")
    grid = Table.grid(padding=(0, 1))
    grid.add_row(Text(mark, style=style), Text(plain(f"{reason['sentence']}{ends}")))
    if reason["remedy"]:
        grid.add_row("", Text(f"→ {plain(reason['remedy'])}", style="cyan"))
    elif reason["setting"]:
        anyway = "; share anyway for a while: titan share-now" if reason["code"] in COMFORT and reason["blocks"] else ""
        remedy = f"→ the setting {plain(reason['setting'])}; all rules: titan rules{anyway}"
        grid.add_row("", Text(remedy, style="cyan"))
    return grid


def _rows(snapshot: Snapshot, now: float) -> list[tuple[str, str]]:
    rows = [
        ("Agent", _agent(snapshot, now)),
        ("Sessions", _sessions(snapshot)),
        ("Engine", _engine(as_object(snapshot["engine"]))),
        ("Breaker", _breaker(as_object(snapshot["engine"]), now)),
        ("Models", _models(snapshot)),
        ("Coordinator", _coordinator(as_object(snapshot["coordinator"]), now)),
        ("Address", _address(snapshot)),
        ("Capacity", _capacity(as_object(snapshot["capacity"]), str(snapshot["tier"]))),
        ("Given back", _given_back(snapshot.get("give_back"), now)),
        ("Machine", _machine(snapshot["machine"])),
        ("Processor", _processor(as_object(snapshot.get("processor_heat")))),
        ("Cards", _cards(snapshot["machine"])),
        ("Rules", _untold(snapshot["rules"])),
        ("Energy", _energy(as_object(snapshot["energy"]))),
        ("Totals", _totals(as_object(snapshot["totals"]))),
    ]
    return [(name, value) for name, value in rows if value]


def _agent(snapshot: Snapshot, now: float) -> str:
    parts = [f"{snapshot['agent_id']} (profile {snapshot['profile']})"]
    if snapshot["version"]:
        parts.append(f"version {snapshot['version']}")
    if snapshot["pid"]:
        parts.append(f"process {snapshot['pid']}")
    if snapshot["started_at"]:
        parts.append(f"up {format_duration(now - snapshot['started_at'])}")
    return ", ".join(parts)


def _sessions(snapshot: Snapshot) -> str:
    text = f"{snapshot['running_jobs']} running, {snapshot['queued_jobs']} queued, limit {snapshot['max_jobs']}"
    return f"{text}; {snapshot['tokens_per_second']:.1f} tokens/s" if snapshot["running_jobs"] else text


_BROKEN = ("fault", "attention")  # an engine's state, as the snapshot spells it


def _engine(engine: Mapping[str, Any]) -> str:
    if not engine.get("name"):
        return "none chosen yet"
    status = as_object(engine["status"])
    text = " ".join(part for part in (engine["name"], status["version"]) if part)
    text += f", {status['state']}"
    if status["device"]:
        text += f", on {status['device']}"
    if engine["chosen_because"] and status["state"] not in _BROKEN:  # "fault (Ollama answers)" says the opposite
        text += f" ({engine['chosen_because']})"
    if status["restarts"]:
        text += f"; restarted {status['restarts']} times"
    if status["detail"]:
        text += f"\n{status['detail']}"
    return text + (f"\n→ {status['hint']}" if status["hint"] else "")


def _breaker(engine: Mapping[str, Any], now: float) -> str:
    if engine.get("breaker", "closed") == "closed":
        return "closed (the engine is trusted)"
    retry = f", tried again {_until(engine['breaker_retry_at'], now)}" if engine.get("breaker_retry_at") else ""
    return f"{engine['breaker']}{retry}"


def _models(snapshot: Snapshot) -> str:
    loaded = [
        model["name"]
        + (f" ({_mb(model['total_mb'])})" if model["total_mb"] is not None else "")
        + (", by your own work" if model.get("is_owners") else "")
        for model in snapshot["loaded_models"]
    ]
    offered = ", ".join(snapshot["offered_models"]) or "none"
    return f"offered: {offered}\nloaded: {', '.join(loaded) or 'none'}"


def _coordinator(link: Mapping[str, Any], now: float) -> str:
    if not link.get("endpoint"):
        return ""
    parts = [link["endpoint"], link["link"]]
    if link["rtt_ms"] is not None:
        parts.append(f"round trip {link['rtt_ms']:.1f} ms")
    if link["heartbeat_interval_s"]:
        parts.append(f"beat each {link['heartbeat_interval_s']:g} s")
    if link["last_ack_at"]:
        parts.append(f"last answer {format_duration(now - link['last_ack_at'])} ago")
    parts.append("key held" if link["has_key"] else "no key yet")
    return ", ".join(parts) + (f"\n{link['detail']}" if link["detail"] else "")


def _address(snapshot: Snapshot) -> str:
    if not snapshot["listening_on"]:
        return ""
    tls = " (TLS)" if snapshot["tls_fingerprint"] else ""
    return f"listens on {', '.join(snapshot['listening_on'])}{tls}; clients are sent to {snapshot['endpoint']}"


def _capacity(capacity: Mapping[str, Any], tier: str) -> str:
    """What the coordinator is told: the owner's budget less what others hold (contract.md), not the raw meter."""
    if not capacity.get("total_mb"):
        return ""
    text = f"{_mb(capacity['free_mb'])} of {_mb(capacity['total_mb'])} {str(capacity['kind']).upper()} to lend"
    text += f", {capacity['cpu_percent_others']:.0f} % CPU used by others"
    if tier:
        text += f"; tier {tier}"
    if capacity["cpu_percent_others"] > DEGRADED_CPU_PERCENT:
        text += f"\nAbove {DEGRADED_CPU_PERCENT} % CPU coordinators skip a machine, until it is below 70 %."
    return text


def _given_back(given: object, now: float) -> str:
    """What came back when our models were last unloaded, and how long that takes as a rule."""
    if not isinstance(given, Mapping):
        return ""
    text = f"{given['sentence']}, {format_duration(now - given['last']['at'])} ago"
    return f"{text}; median of {given['count']}: {given['median_s']:.1f} s" if given["median_s"] is not None else text


def _is_trouble(name: str, snapshot: Snapshot) -> bool:
    """Whether a row tells of what failed: memory that didn't come back."""
    given = snapshot.get("give_back")
    return name == "Given back" and isinstance(given, Mapping) and not given["last"]["ok"]


def _machine(machine: object) -> str:
    """The raw meter. "?" where something isn't measured."""
    if not isinstance(machine, Mapping):
        return "not measured yet"
    parts = [f"{_mb(machine['free_ram_mb'])} of {_mb(machine['total_ram_mb'])} RAM free"]
    if machine["total_vram_mb"] is not None:
        parts.append(f"{_mb(machine['free_vram_mb'])} of {_mb(machine['total_vram_mb'])} VRAM free")
    cpu, ours = machine["cpu_percent"], machine["cpu_percent_ours"]
    parts.append(f"CPU {_number(cpu, 0)} %" + (f" (ours {ours:.0f} %)" if ours is not None else ""))
    if machine["gpu_temperature"] is not None:
        parts.append(f"GPU {machine['gpu_temperature']:.0f} °C")
    if machine["gpu_utilisation_percent"] is not None:
        parts.append(f"GPU use {machine['gpu_utilisation_percent']:.0f} %")
    if machine["gpu_power_w"] is not None:
        parts.append(f"{machine['gpu_power_w']:.0f} W")
    return ", ".join(parts)


def _processor(heat: Mapping[str, Any]) -> str:
    """Its temperature, or why nothing tells it; with the sensor, and the marks that the sensor names itself."""
    if heat.get("celsius") is None:
        return str(heat.get("problem", ""))
    marks = (("high", heat["high_c"]), ("critical", heat["critical_c"]))
    said = "".join(f"; {name} at {celsius:.0f}" for name, celsius in marks if celsius is not None)
    return f"{heat['celsius']:.0f} °C ({heat['sensor']}{said})"


def _cards(machine: object) -> str:
    """Each graphics card where there are several, or where one is kept: the sums above are of the lent ones."""
    cards = machine.get("gpus", ()) if isinstance(machine, Mapping) else ()
    if len(cards) < 2 and not any(card.get("kept_because") for card in cards):
        return ""
    return "\n".join(_card(card) for card in cards)


def _card(card: Mapping[str, Any]) -> str:
    kept = card.get("kept_because")
    parts = [f"{card['name']}: {'kept for you, ' + kept if kept else 'lent'}"]
    if card.get("is_lost"):
        return f"{parts[0]}; gone: its driver doesn't find it any more"
    if card["total_mb"] is not None:
        parts.append(f"{_mb(card['free_mb'])} of {_mb(card['total_mb'])} free")
    if card["temperature_c"] is not None:
        parts.append(f"{card['temperature_c']:.0f} °C")
    if card["utilisation_percent"] is not None:
        parts.append(f"use {card['utilisation_percent']:.0f} %")
    return f"{', '.join(parts)} ({card['uuid']})"


def _untold(rules: Sequence[Mapping[str, Any]]) -> str:
    """How many rules are on, and how many of them this machine can't tell: those never hold."""
    on = [rule for rule in rules if rule["is_on"]]
    untold = [rule for rule in on if rule["unknown"] and not rule["holds"]]
    if not on:
        return ""
    return f"{len(on)} on" + (f", of which {len(untold)} can't be told here (titan rules)" if untold else "")


def _energy(energy: Mapping[str, Any]) -> str:
    served = f"served {format_duration(energy['served_s'])} today"
    if energy["kwh"] is None:
        return f"{served}; {energy['source']}" if energy["served_s"] else ""
    text = f"{energy['kwh']:.3f} kWh today" + (f", cost {energy['cost']:.2f}" if energy["cost"] is not None else "")
    if energy["wh_per_1000_tokens"] is not None:
        text += f"; {energy['wh_per_1000_tokens']:.2f} Wh per 1,000 tokens"
    if energy["cost_per_1000_tokens"] is not None:
        text += f" ({energy['cost_per_1000_tokens']:.4f})"
    return f"{text}; {served}\n{energy['source']}"


def _totals(totals: Mapping[str, Any]) -> str:
    return (
        f"{totals['sessions_served']:,} sessions served, {totals['requests_failed']:,} failed, "
        f"{totals['requests_refused']:,} refused; {totals['tokens']:,} tokens"
    )


def _until(moment: float, now: float) -> str:
    clock = time.strftime("%H:%M", time.localtime(moment))
    return f"at {clock}, in {format_duration(moment - now)}" if moment > now else f"at {clock}"


def _mb(value: float | None) -> str:
    return "?" if value is None else f"{value:,.0f} MB"


def _number(value: float | None, digits: int) -> str:
    return "?" if value is None else f"{value:.{digits}f}"
